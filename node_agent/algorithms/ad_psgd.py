"""AD-PSGD: Lian, Zhang, Zhang, Liu, "Asynchronous Decentralized Parallel Stochastic Gradient Descent", ICML 2018,
arXiv 1710.06952, algorithm 1.

`variant: paper`. Every node holds a model x_i that two things change, at the same time and without waiting:

    exchange   draw a neighbour j;  x_i and x_j  <-  (x_i + x_j) / 2, both at once
    training   g  <-  H local SGD steps from a copy of x_i, and what they changed;   x_i  <-  x_i + g

The copy that training began with may be old by the time its steps are added: that is the algorithm's asynchrony. Over
a network nothing happens at once, so i sends s_i = x_i; j on its arrival answers with its own x_j = s_j, and takes
x_j <- x_j + (s_i - s_j) / 2; i on the answer takes x_i <- x_i + (s_j - s_i) / 2. Both move by the same amount in
opposite directions, whatever training added meanwhile: an exchange keeps the mean over all nodes exactly, as in the
paper. A node has one exchange of its own under way; while it waits for the answer, further rounds begin no other (with
`stale: drop` a new round gives up on the last one's). Two nodes may draw each other without a deadlock, so no bipartite
graph is needed.

`variant: artifact` is what the DivShare artifact compares with: each round J/2 exchanges with random neighbours, each
answered with the model of the other's last finished round, and a plain mean over own and received models, the newest
of each sender, at the end of the round. Nothing is flushed.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import Aggregated, Algorithm, AlgorithmSettings, Context, Outbox
from node_agent.fragments import FragmentLayout, FragmentStore
from node_agent.wire import Fragment


class AdPsgd(Algorithm):
    """Asynchronous pairwise averaging with random neighbours."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        """Which of the two variants to run."""

        stale: Literal["drop", "keep"] = "keep"
        """What happens to models still unsent when a round begins an exchange: `keep` sends, `drop` discards them."""
        variant: Literal["paper", "artifact"] = "paper"
        """paper: one pairwise average at a time; artifact: J/2 exchanges a round and a plain mean, as in DivShare's."""
        degree: int = 6
        """J, for the artifact's variant only: each round begins J/2 exchanges."""

        def __post_init__(self) -> None:
            if self.degree < 2:
                raise ValueError(
                    f"degree must be at least 2, not {self.degree}: a round begins degree/2 exchanges"
                )

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._layout = FragmentLayout(context.num_parameters, 1, 0)
        self._lock = Lock()
        self._round = 0
        # The paper's variant: the model that exchanges change, what training began with, and the exchange under way.
        self._model: NDArray[np.float32] | None = None
        self._began: NDArray[np.float32] = np.zeros(0, np.float32)
        self._asked: int | None = None
        self._sent: NDArray[np.float32] = np.zeros(0, np.float32)
        self._answered: dict[int, int] = {}
        """Sender -> the round of its last request that was answered."""
        self._merged: list[Fragment] = []
        # The artifact's variant: what has arrived, and the model of the last finished round.
        self._store = FragmentStore(self._layout)
        self._latest: list[memoryview] | None = None

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:  # noqa: ARG003
        # As many answers as requests, over all nodes.
        return (2.0 if settings.variant == "paper" else 2.0 * (settings.degree // 2)), 1

    @property
    def _paper(self) -> bool:
        return bool(self.settings.variant == "paper")

    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:
        if not self._paper:
            fragments = self._store.take_all()
            self._layout.average_into(values, fragments)
            return Aggregated.from_fragments(fragments, now_s)
        with self._lock:
            if self._model is None:
                self._model = values.copy()
            np.copyto(values, self._model)
            self._began = values.copy()
            merged, self._merged = self._merged, []
        return Aggregated.from_fragments(merged, now_s)

    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:
        if not self._paper:
            payloads = self._layout.cut(values)
            with self._lock:
                self._round, self._latest = round, payloads
            return self._outbox(round, payloads, [self._draw() for _ in range(self.settings.degree // 2)])
        with self._lock:
            self._round = round
            if self._model is None:  # nobody has averaged yet
                self._model, self._began = values.copy(), values.copy()
            self._model += values - self._began
            np.copyto(values, self._model)
            self._began = values.copy()
            if self._asked is not None and self.settings.stale == "keep":
                return self._outbox(round, [], [])
            self._asked, self._sent = self._draw(), self._model.copy()
            return self._outbox(round, self._layout.cut(self._sent), [self._asked])

    def on_fragment(self, fragment: Fragment) -> Outbox | None:
        return self._exchange(fragment) if self._paper else self._keep(fragment)

    def _exchange(self, fragment: Fragment) -> Outbox | None:
        with self._lock:
            if self._model is None:
                # Before our first round: neither model moves, and the other node need not wait for ever.
                payload = self._layout.cut(fragment.values)
                sends = [fragment.sender] if fragment.reply_wanted else []
                return self._outbox(self._round, payload, sends, reply=True)
            if fragment.reply_wanted:
                if fragment.round <= self._answered.get(fragment.sender, -1):
                    return None
                self._answered[fragment.sender] = fragment.round
                mine = self._model.copy()
                self._model += (fragment.values - mine) * np.float32(0.5)
                self._merged.append(fragment)
                return self._outbox(self._round, self._layout.cut(mine), [fragment.sender], reply=True)
            if fragment.sender == self._asked:
                self._model += (fragment.values - self._sent) * np.float32(0.5)
                self._asked = None
                self._merged.append(fragment)
        return None

    def _keep(self, fragment: Fragment) -> Outbox | None:
        self._store.put(fragment)
        with self._lock:
            if not fragment.reply_wanted or self._latest is None:
                return None
            return self._outbox(self._round, self._latest, [fragment.sender], reply=True)

    def peer_lost(self, peer: int) -> None:
        with self._lock:
            if self._asked == peer:
                self._asked = None

    def peer_joined(self, peer: int) -> None:
        self._store.forget(peer)
        with self._lock:
            self._answered.pop(peer, None)

    def _draw(self) -> int:
        peers = self.context.peers
        return peers[int(self.context.rng.integers(len(peers)))]

    def _outbox(
        self, round: int, payloads: list[memoryview], peers: list[int], *, reply: bool = False
    ) -> Outbox:
        replace = not reply and bool(peers) and self.settings.stale == "drop"
        return Outbox.whole_model(round, payloads, peers, replace_unsent=replace, reply_wanted=not reply)
