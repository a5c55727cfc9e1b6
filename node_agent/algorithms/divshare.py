"""DivShare: Biswas, Kermarrec, Marouani, Pires, Sharma, de Vos, "Boosting Asynchronous Decentralized Learning
with Model Fragmentation", WWW 2025, arXiv 2410.12918, section 3.

Node i in its round, for every parameter p, with R_i(p) the copies of p that arrived since its last aggregation (the
latest of each sender):

    x_i[p]  <-  (x_i[p] + sum over R_i(p)) / (1 + |R_i(p)|)          uniform, own value included
    x_i     <-  H local SGD steps from x_i
    cut x_i into ceil(1/Omega) fragments, draw J random peers for each, shuffle the pairs, replace the out-queue

Asynchronous throughout: no node waits, a round takes what has arrived, and a slow link delivers at least some
fragments of each model. All fragments of a run are cut by one permutation, drawn once from the seed
(`fragmentation: shared`), or those of each round by one of its own (`redrawn`). `stale: keep` does not flush what
is unsent, which tells the effects of fragmentation and flushing apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import (
    Aggregated,
    Algorithm,
    AlgorithmSettings,
    Context,
    Outbox,
    Send,
    degree_problem,
)
from node_agent.fragments import (
    FragmentLayout,
    FragmentStore,
    RedrawnStore,
    average_redrawn,
    num_fragments_for,
)
from node_agent.streams import stream_seed
from node_agent.wire import Fragment


class DivShare(Algorithm):
    """Wait-free exchange of model fragments with random peers."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        """Omega and J of the paper."""

        fragment_fraction: float = 0.1
        """Omega: a fragment's share of the model, above 0 and at most 1; there are ceil(1/Omega) of them."""
        fragmentation: Literal["shared", "redrawn"] = "shared"
        """shared: one cut of the parameters for the whole run; redrawn: a new random cut for every round."""
        degree: int = 6
        """J: to how many random peers each fragment goes, at least 1 and at most the number of peers."""

        def __post_init__(self) -> None:
            problems = []
            if not 0 < self.fragment_fraction <= 1:
                problems.append(
                    f"fragment_fraction must be above 0 and at most 1, not {self.fragment_fraction}"
                )
            if self.degree < 1:
                problems.append(f"degree must be at least 1, not {self.degree}")
            if problems:
                raise ValueError("; ".join(problems))

    def __init__(self, settings: Settings, context: Context) -> None:
        """Raises ValueError if fragments outnumber parameters."""
        super().__init__(settings, context)
        self._degree = settings.degree
        num_fragments = num_fragments_for(settings.fragment_fraction)
        # A single fragment is the whole model, which needs no permutation.
        seed = context.permutation_seed if num_fragments > 1 else 0
        self._layout = FragmentLayout(context.num_parameters, num_fragments, seed)
        self._redrawn = settings.fragmentation == "redrawn" and num_fragments > 1
        self._store: FragmentStore | RedrawnStore = (
            RedrawnStore() if self._redrawn else FragmentStore(self._layout)
        )
        # Fragments of a few rounds are on their way at a time.
        self._layout_of = lru_cache(maxsize=16)(
            lambda seed: FragmentLayout(context.num_parameters, num_fragments, seed)
        )

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:
        return float(min(settings.degree, num_peers)), num_fragments_for(settings.fragment_fraction)

    @classmethod
    def check_settings(cls, settings: Any, num_peers: int) -> str | None:
        return degree_problem(settings, num_peers)

    @property
    def num_fragments(self) -> int:
        return self._layout.num_fragments

    @property
    def permutation_seed(self) -> int | None:
        return None if self._redrawn else self._layout.permutation_seed

    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:
        fragments = self._store.take_all()
        if self._redrawn:
            average_redrawn(values, fragments, self._layout_of)
        else:
            self._layout.average_into(values, fragments)
        return Aggregated.from_fragments(fragments, now_s)

    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:
        layout = self._layout
        if self._redrawn:
            # The same for all nodes, so that fragments of one round fit together.
            layout = self._layout_of(stream_seed(self.context.permutation_seed, "cut", round))
        return Outbox(
            round=round,
            permutation_seed=layout.permutation_seed,
            num_fragments=self.num_fragments,
            payloads=layout.cut(values),
            sends=self._draw_sends(),
            replace_unsent=self.settings.stale == "drop",
        )

    def on_fragment(self, fragment: Fragment) -> None:
        self._store.put(fragment)

    def peer_joined(self, peer: int) -> None:
        self._store.forget(peer)

    def _draw_sends(self) -> list[Send]:
        """J peers without replacement for each fragment, all pairs in random order.

        Lost peers are drawn like the others, so that who is drawn depends on the seed alone.
        """
        rng, peers = self.context.rng, self.context.peers
        # The J smallest of a row of independent uniform numbers are a uniform sample without replacement.
        ranks = rng.random((self.num_fragments, len(peers)))
        chosen = np.argpartition(ranks, self._degree - 1, axis=1)[:, : self._degree].ravel()
        pairs = rng.permutation(chosen.size)
        return [
            Send(peers[peer], pair // self._degree)
            for pair, peer in zip(pairs.tolist(), chosen[pairs].tolist(), strict=True)
        ]
