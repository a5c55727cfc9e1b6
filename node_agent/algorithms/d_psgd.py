"""D-PSGD: Lian, Zhang, Zhang, Hsieh, Zhang, Liu, "Can Decentralized Algorithms Outperform Centralized Algorithms?",
NeurIPS 2017, arXiv 1705.09056, algorithm 1.

Node i with neighbours N(i) in round t, W symmetric and doubly stochastic:

    x_i  <-  H local SGD steps from x_i                         send x_i to all of N(i)
    wait for x_j of round t from every j in N(i)
    x_i  <-  W_ii x_i + sum over N(i) of W_ij x_j

Nothing is asynchronous: a round begins once every neighbour's model of the last one has arrived, so the slowest link
sets the pace of all. W are Metropolis-Hastings weights of the overlay. The paper averages and steps at once, on the
same x; here, as in decentralizepy, steps come first, and there may be several (H). A neighbour whose connection broke
is not waited for, and its weight stays with the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import Aggregated, AlgorithmSettings, Context, Outbox
from node_agent.mixing import RoundAlgorithm, metropolis_hastings, mix_into


class DPsgd(RoundAlgorithm):
    """Synchronous averaging with all neighbours, by Metropolis-Hastings weights."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        """No settings of its own."""

        stale: Literal["drop", "keep"] = "keep"
        """`keep`: neighbours wait for every model. With `drop`, a model that a newer one replaces may never arrive."""

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        degrees = {peer: len(context.neighbours_of(peer)) for peer in context.peers}
        self._weights = metropolis_hastings(len(context.peers), degrees)

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:  # noqa: ARG003
        return float(num_peers), 1

    def waits_for(self) -> list[int]:
        return [] if self._sent_round < 0 else self._models.missing(self._sent_round, self.context.peers)

    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:
        if self._sent_round < 0:
            return Aggregated(of=[], mean_age_s=None)
        fragments = self._models.take(self._sent_round)
        mix_into(values, {fragment.sender: fragment.values for fragment in fragments}, self._weights)
        return Aggregated.from_fragments(fragments, now_s)

    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:
        return self._send_model(round, values, self.context.peers)
