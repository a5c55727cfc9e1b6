"""SWIFT: Bornstein, Rabbani, Wang, Bedi, Huang, "SWIFT: Rapid Decentralized Federated Learning via Wait-Free Model
Communication", ICLR 2023, arXiv 2210.14026, algorithm 1.

`variant: paper`. Node i with neighbours N(i), m_ij the newest model that j has sent to i, in i's mailbox for good:

    x_i  <-  H local SGD steps from x_i                         send x_i to all of N(i)
    every (s + 1)-th round:   x_i  <-  w_ii x_i + sum over N(i) of w_ij m_ij

Asynchronous throughout: no node waits, and a neighbour that sent nothing new is averaged in again as it was. The
weights are Metropolis-Hastings weights of the overlay; the paper's client-communication selection gives the same on
regular graphs with equal client influence. Before a neighbour's first model comes, its weight stays with the node: all
nodes begin with the same model. The gradient is taken at the averaged model, as in the paper's algorithm 1 for s = 0.

`variant: artifact` is what the DivShare artifact compares with: each round the model to J random peers instead of a
fixed graph, a plain mean over own and what came since the last aggregation, newest of each sender.

Neither variant flushes anything: what is still unsent when a newer model exists is sent all the same (`stale: keep`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import (
    Aggregated,
    Algorithm,
    AlgorithmSettings,
    Context,
    Outbox,
    degree_problem,
)
from node_agent.fragments import FragmentLayout, FragmentStore
from node_agent.mixing import LatestModels, metropolis_hastings, mix_into
from node_agent.wire import Fragment


class Swift(Algorithm):
    """Wait-free averaging with the newest models that neighbours have sent."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        """How often to average, and with whom."""

        stale: Literal["drop", "keep"] = "keep"
        """What happens to models still unsent when newer ones exist: `keep` sends them all, `drop` replaces them."""
        variant: Literal["paper", "artifact"] = "paper"
        """paper: all overlay neighbours, mailbox, weights; artifact: random peers, plain mean, as in DivShare's."""
        communication_period: int = 0
        """s of the paper: number of rounds between two that communicate; 0: every round does."""
        degree: int = 6
        """J, for the artifact's variant only: to how many random peers each model goes."""

        def __post_init__(self) -> None:
            if self.communication_period < 0:
                raise ValueError(f"communication_period must be 0 or more, not {self.communication_period}")
            if self.degree < 1:
                raise ValueError(f"degree must be at least 1, not {self.degree}")

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._layout = FragmentLayout(context.num_parameters, 1, 0)
        self._mailbox = LatestModels()
        self._store = FragmentStore(self._layout)
        degrees = {peer: len(context.neighbours_of(peer)) for peer in context.peers}
        self._weights = metropolis_hastings(len(context.peers), degrees)
        self._round = -1

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:
        to = num_peers if settings.variant == "paper" else min(settings.degree, num_peers)
        return to / (settings.communication_period + 1), 1

    @classmethod
    def check_settings(cls, settings: Any, num_peers: int) -> str | None:
        return degree_problem(settings, num_peers) if settings.variant == "artifact" else None

    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:
        if not self._communicates(self._round):
            return Aggregated(of=[], mean_age_s=None)
        if self.settings.variant == "artifact":
            fragments = self._store.take_all()
            self._layout.average_into(values, fragments)
            return Aggregated.from_fragments(fragments, now_s)
        models, fresh = self._mailbox.look()
        mix_into(values, models, self._weights)
        return Aggregated.from_fragments(fresh, now_s)

    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:
        self._round = round
        if not self._communicates(round):
            return Outbox.whole_model(round, [], [], replace_unsent=False)
        replace = self.settings.stale == "drop"
        return Outbox.whole_model(round, self._layout.cut(values), self._receivers(), replace_unsent=replace)

    def on_fragment(self, fragment: Fragment) -> None:
        if self.settings.variant == "artifact":
            self._store.put(fragment)
        else:
            self._mailbox.put(fragment)

    def peer_joined(self, peer: int) -> None:
        self._store.forget(peer)
        self._mailbox.forget_rounds(peer)

    def _communicates(self, round: int) -> bool:
        return round >= 0 and (round + 1) % (self.settings.communication_period + 1) == 0

    def _receivers(self) -> list[int]:
        peers = self.context.peers
        if self.settings.variant == "paper":
            return list(peers)
        chosen = self.context.rng.choice(len(peers), self.settings.degree, replace=False)
        return [peers[place] for place in chosen.tolist()]
