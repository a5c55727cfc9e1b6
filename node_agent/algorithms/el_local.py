"""Epidemic Learning, the local variant: De Vos, Farhadkhani, Guerraoui, Kermarrec, Pires, Sharma, "Epidemic Learning:
Boosting Decentralized Learning with Randomized Communication", NeurIPS 2023, arXiv 2310.01972, algorithm 1 (EL-Local).

Node i in round t:

    x_i  <-  H local SGD steps from x_i
    send x_i to s other nodes, drawn uniformly for this round
    x_i  <-  (x_i + sum over R_i of x_j) / (1 + |R_i|)          R_i: those who drew i in this round

Rounds are synchronous in the paper: all models are delivered before the next round. Here every node can work out the
others' draws, since they come from the run's seed, and so knows whose model to wait for (`wait: true`); with
`wait: false` it takes what has arrived and goes on. A node whose connection broke is not waited for. A complete overlay
is the paper's case; on others, a node draws among its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import Aggregated, AlgorithmSettings, Context, Outbox, degree_problem
from node_agent.mixing import RoundAlgorithm
from node_agent.streams import stream


class ElLocal(RoundAlgorithm):
    """Each round, send the whole model to a few random nodes, and take a plain mean of what has arrived."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        """s of the paper, and how rounds proceed."""

        stale: Literal["drop", "keep"] = "keep"
        """`keep`: others wait for every model. With `drop` a model that a newer one replaces may never arrive."""
        degree: int = 6
        """s: to how many random nodes each model goes, at least 1 and at most the number of peers."""
        redraw: bool = True
        """Draw again for each round; false: keep the first round's draws, a fixed random directed graph."""
        wait: bool = True
        """Wait for the models of this round; false: go on with those that have arrived."""

        def __post_init__(self) -> None:
            if self.degree < 1:
                raise ValueError(f"degree must be at least 1, not {self.degree}")
            if self.wait and self.stale == "drop":
                raise ValueError("stale: drop drops models that others wait for: choose keep, or wait: false")

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._expected: tuple[int, list[int]] = (-1, [])

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:
        return float(min(settings.degree, num_peers)), 1

    @classmethod
    def check_settings(cls, settings: Any, num_peers: int) -> str | None:
        return degree_problem(settings, num_peers)

    def waits_for(self) -> list[int]:
        if self._sent_round < 0 or not self.settings.wait:
            return []
        return self._models.missing(self._sent_round, self._senders(self._sent_round))

    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:
        if self._sent_round < 0:
            return Aggregated(of=[], mean_age_s=None)
        models = self._models
        fragments = models.take(self._sent_round) if self.settings.wait else models.take_newest()
        for fragment in fragments:
            values += fragment.values
        values /= np.float32(len(fragments) + 1)
        return Aggregated.from_fragments(fragments, now_s)

    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:
        return self._send_model(round, values, self._drawn(self.context.index, round))

    def _drawn(self, node: int, round: int) -> list[int]:
        """Whom that node draws in that round; every node comes to the same answer."""
        peers = self.context.neighbours_of(node)
        rng = stream(self.context.permutation_seed, "el-local", node, round if self.settings.redraw else 0)
        chosen = rng.choice(len(peers), min(self.settings.degree, len(peers)), replace=False)
        return [peers[place] for place in sorted(chosen.tolist())]

    def _senders(self, round: int) -> list[int]:
        """Who drew this node in that round."""
        if self._expected[0] != round:
            mine = self.context.index
            self._expected = (
                round,
                [peer for peer in self.context.peers if mine in self._drawn(peer, round)],
            )
        return self._expected[1]
