"""What an algorithm is: what to send after a local phase, what to do with what arrived, when to wait.

An algorithm is one public file in this folder with exactly one Algorithm subclass; the file's name is its
name in the experiment. It knows no sockets, no clock and no training: it returns what it wants done, and the
agent does it.

One round of an agent, on its training thread:

    while waits_for(): wait                    asked again after each arrival and each lost or joined peer
    before_local_phase(values, now)            averages in place
    ... local steps change values ...
    after_local_phase(round, values)           -> Outbox

Meanwhile the I/O thread calls on_fragment, peer_lost and peer_joined, so what they share with the round needs
a lock (FragmentStore has one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from node_agent import wire


@dataclass(frozen=True, slots=True)
class Send:
    """One fragment to one peer."""

    peer: int
    """The peer's node index."""
    fragment: int
    """Index into the Outbox's payloads."""


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """What to send now; this order is kept for each peer, and with `exchange: sequential` over all of them."""

    round: int
    """The sender's last finished round."""
    permutation_seed: int
    num_fragments: int
    payloads: Sequence[memoryview]
    """payloads[i] is fragment i: read-only bytes, little-endian float32, valid while anyone holds them."""
    sends: Sequence[Send]
    replace_unsent: bool
    """True (`stale: drop`): frames none of whose bytes has been sent are dropped first. False: they stay."""
    reply_wanted: bool = False
    """Marks the frames, so that the receiver's on_fragment knows a request from an answer."""

    @classmethod
    def whole_model(
        cls,
        round: int,
        payloads: Sequence[memoryview],
        peers: Sequence[int],
        *,
        replace_unsent: bool,
        reply_wanted: bool = False,
    ) -> Outbox:
        """The model as one fragment, to each of the peers. `payloads`: that fragment; none if there are no peers."""
        return cls(
            round=round,
            permutation_seed=0,
            num_fragments=1,
            payloads=payloads,
            sends=[Send(peer, 0) for peer in peers],
            replace_unsent=replace_unsent,
            reply_wanted=reply_wanted,
        )

    def frames(self, sender: int) -> wire.RoundFrames:
        """The frames of this outbox, as `sender` sends them."""
        return wire.RoundFrames(
            sender=sender,
            round=self.round,
            permutation_seed=self.permutation_seed,
            payloads=self.payloads,
            reply_wanted=self.reply_wanted,
        )


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """What went into the average at the start of a round."""

    of: list[tuple[int, int, int]]
    """(sender, the sender's round, fragment index), sorted by fragment and sender."""
    mean_age_s: float | None
    """Mean emulated time since the copies were sent; None if there were none."""

    @classmethod
    def from_fragments(cls, fragments: Sequence[wire.Fragment], now_s: float) -> Aggregated:
        """The record of averaging those copies in at `now_s`."""
        return cls(
            of=[(fragment.sender, fragment.round, fragment.index) for fragment in fragments],
            mean_age_s=sum(now_s - fragment.sent_s for fragment in fragments) / len(fragments)
            if fragments
            else None,
        )


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an algorithm knows about the run."""

    index: int
    """This node."""
    peers: tuple[int, ...]
    """Overlay neighbours, by node index; never this node itself."""
    num_parameters: int
    rng: np.random.Generator
    """This node's own stream, for the training thread only: with two threads, the order of draws would be random."""
    permutation_seed: int
    """The run's shared seed for cutting models and for draws that all nodes must know; 0..2**63-1."""
    num_nodes: int = 0
    """Number of nodes of the run; 0: this node and its peers."""
    overlay: Mapping[int, tuple[int, ...]] | None = None
    """Node -> its overlay neighbours, for this node and its peers; None: all nodes are neighbours."""
    restarted: bool = False
    """Whether this node was in the run before, so that its peers are in the middle of their rounds."""

    def neighbours_of(self, node: int) -> tuple[int, ...]:
        """The overlay neighbours of this node or of one of its peers."""
        if node == self.index:
            return self.peers
        if self.overlay is not None:
            return self.overlay[node]
        return tuple(other for other in range(self.num_nodes or len(self.peers) + 1) if other != node)


@dataclass(frozen=True, kw_only=True)
class AlgorithmSettings:
    """Settings every algorithm has; an algorithm's own `Settings` extends this class."""

    # Read by pydantic, which this package does not import: unknown keys are refused, docstrings become help.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}

    name: str
    """Which algorithm: a file in node_agent/algorithms."""
    stale: Literal["drop", "keep"] = "drop"
    """What becomes of data still unsent when newer data exists: `drop` replaces it, `keep` sends it all."""
    exchange: Literal["parallel", "sequential"] = "parallel"
    """How frames leave: `parallel` to all peers at once, `sequential` one after the other in the order of the draws."""
    module: str | None = None
    """A Python file of yours that holds the algorithm of that name; relative to the experiment's folder."""


def degree_problem(settings: Any, num_peers: int) -> str | None:
    """What is wrong with a `degree` if each node needs that many peers, in the form that `check_settings` returns."""
    if settings.degree <= num_peers:
        return None
    default = " (the default)" if settings.degree == type(settings).degree else ""
    return (
        f"degree: got {settings.degree}{default}, and a node has only {num_peers} peers to choose from; set "
        f"algorithm.degree to at most {num_peers}, or use more nodes"
    )


class Algorithm(ABC):
    """One node's side of a decentralized learning algorithm.

    `values` is always the model's flat parameter vector: float32, contiguous, shape (num_parameters,).
    """

    Settings: ClassVar[type[AlgorithmSettings]]

    def __init__(self, settings: Any, context: Context) -> None:
        """`settings`: an instance of this class's Settings. Raises ValueError if `check_settings` has an objection."""
        problem = self.check_settings(settings, len(context.peers))
        if problem is not None:
            raise ValueError(problem)
        self.settings = settings
        self.context = context

    @classmethod
    def check_settings(cls, settings: Any, num_peers: int) -> str | None:  # noqa: ARG003
        """What is wrong, beginning with the key, if a node with `num_peers` peers cannot do this; else None.

        The planner asks for every node before anything starts; nothing is capped silently at run time.
        """
        return None

    @classmethod
    def planned_sends(cls, settings: Any, num_peers: int) -> tuple[float, int]:  # noqa: ARG003
        """(the most models that a node sends in a round, fragments of each), for the planner's budget."""
        return float(num_peers), 1

    @property
    def num_fragments(self) -> int:
        """Fragments a model is cut into; the wire refuses frames with another count."""
        return 1

    @property
    def permutation_seed(self) -> int | None:
        """Seed of the cut's permutation, 0 for whole models; the wire refuses frames with another. None: it varies."""
        return 0

    def waits_for(self) -> Collection[int]:
        """The peers that the next round has to wait for; wait-free algorithms leave this as it is.

        Training thread. The agent keeps a connection with each of them, so that a dead one is noticed, and journals
        how long the node waited, and for whom. Must become empty at the latest when each of them has sent or is
        lost.
        """
        return ()

    def may_start_round(self) -> bool:
        """False while the next round has to wait. An algorithm that says whom it waits for leaves this as it is."""
        return not self.waits_for()

    @abstractmethod
    def before_local_phase(self, values: NDArray[np.float32], now_s: float) -> Aggregated:
        """Training thread, at the start of every round: average what arrived into `values`, in place."""

    @abstractmethod
    def after_local_phase(self, round: int, values: NDArray[np.float32]) -> Outbox:
        """Training thread, at the end of every round (0, 1, ...): what to send.

        The payloads are copies: training goes on while they are sent.
        """

    @abstractmethod
    def on_fragment(self, fragment: wire.Fragment) -> Outbox | None:
        """I/O thread, on every arrival: keep it, and return what to send at once in reply, if anything."""

    def peer_lost(self, peer: int) -> None:  # noqa: B027
        """I/O thread: a connection to or from that peer broke, or it has ended. It may come back.

        What was on its way, in either direction, may be gone.
        """

    def peer_joined(self, peer: int) -> None:  # noqa: B027
        """I/O thread: that peer said HELLO on a new connection; its rounds may begin at 0 again.

        For a restarted peer, peer_lost is called first, as its end may have gone unnoticed.
        """
