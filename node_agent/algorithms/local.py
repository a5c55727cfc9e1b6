"""No communication: every node trains on its own data alone. The floor that any exchange has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import Aggregated, Algorithm, AlgorithmSettings, Outbox
from node_agent.wire import Fragment


class Local(Algorithm):
    """Sends nothing and leaves the model alone."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        """No settings of its own; `stale` has no effect, since nothing is sent."""

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:  # noqa: ARG003
        return 0.0, 1

    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:  # noqa: ARG002
        return Aggregated(of=[], mean_age_s=None)

    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:  # noqa: ARG002
        return Outbox.whole_model(round, [], [], replace_unsent=False)

    def on_fragment(self, fragment: Fragment) -> None:
        """Nothing is expected, and nothing enters the model."""
