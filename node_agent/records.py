"""What an agent's journal holds: one type for each event, and every field with its meaning and unit.

Writers pass these fields to `Journal.write`, readers take them from its lines, and the tables of docs/run-directory.md
are made from the docstrings here; nobody else spells them. Times are emulated seconds unless the name says wall, sizes
bytes. `t`, `node` and `event` are added as a record is written.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from node_agent.counters import CounterTotals


class Stamped(TypedDict, total=False):
    """What the journal adds to every record."""

    t: float | None
    """Since the common start; null before it."""
    node: str
    """Who wrote it: a host's name, or `controller`."""


class Ready(Stamped):
    """The agent is at the start barrier."""

    event: NotRequired[Literal["ready"]]
    pid: int
    life: int
    """How often it has been restarted."""


class Round(Stamped):
    """A local phase is finished."""

    event: NotRequired[Literal["round"]]
    round: int
    """From 0."""
    steps: int
    """Local steps done so far."""
    train_loss: float | None
    """Mean over the round."""
    aggregated: int
    """Fragments averaged in when the round began."""
    staleness_s: float | None
    """Their mean age since they were sent."""
    overruns: int
    """Steps that overran their slot."""
    late_s: float
    """The largest overrun."""
    waited_s: float
    """The wait before the round."""
    waited_for: list[str]
    """The peers still missing at the last check."""


class Waiting(Stamped):
    """A wait has lasted longer than a round's steps, or to the end."""

    event: NotRequired[Literal["waiting"]]
    round: int
    since: float
    """When it began."""
    of: list[str]
    """The peers it waits for."""


class Snapshot(CounterTotals, Stamped):
    """The model is kept for evaluation, with every counter of the agent as it was then."""

    event: NotRequired[Literal["snapshot"]]
    instant: int
    """From 0."""
    file: str
    """Flat float32 parameters; relative to the run directory."""
    instant_s: float
    """The time that it is to show."""
    taken_s: float
    """When the model was current: `instant_s` or later."""
    round: int
    steps: int
    train_loss: float | None
    """Of the last finished round."""
    staleness_s: float | None
    """As in `round`, of the running one."""


class PeerLost(Stamped):
    """A connection to or from a peer broke, or could not be made."""

    event: NotRequired[Literal["peer_lost"]]
    peer: str
    reason: str


class PeerEnded(Stamped):
    """A peer said BYE: its part of the experiment is over."""

    event: NotRequired[Literal["peer_ended"]]
    peer: str


class Strangers(Stamped):
    """Connections were closed before they had said who they were."""

    event: NotRequired[Literal["strangers"]]
    address: str
    connections: int
    """How many."""
    reason: str


class Rejected(Stamped):
    """A foreign, torn or corrupt frame closed a connection."""

    event: NotRequired[Literal["rejected"]]
    peer: str
    reason: str


class NotFinite(Stamped):
    """A frame with infinite values or NaN closed a connection: training diverged on the peer that sent it."""

    event: NotRequired[Literal["not_finite"]]
    peer: str


class End(CounterTotals, Stamped):
    """The agent has ended in good order; with its counters' last totals."""

    event: NotRequired[Literal["end"]]
    reason: Literal["finished", "stopped"]
    cpu_s: float
    """Processor time of the process, wall seconds."""
    rtt_s: dict[str, float]
    """Peer -> smallest round-trip time the kernel has measured."""
    one_way_s: dict[str, list[float]]
    """Sender -> smallest, mean and largest time of its frames, first byte to last."""


class Error(Stamped):
    """The agent cannot go on."""

    event: NotRequired[Literal["error"]]
    message: str
    traceback: str


class Created(Stamped):
    """Ledger: fragments were put in the out-queue."""

    event: NotRequired[Literal["created"]]
    round: int
    sends: list[tuple[int, str]]
    """[fragment, peer] each."""


class Sent(Stamped):
    """Ledger: a fragment was sent, to its last byte."""

    event: NotRequired[Literal["sent"]]
    round: int
    fragment: int
    peer: str
    begun: float
    """When its first byte went to the kernel."""
    bytes: int
    """Of the frame, header included."""


class Dropped(Stamped):
    """Ledger: newer data replaced a fragment while it was still unsent."""

    event: NotRequired[Literal["dropped"]]
    round: int
    fragment: int
    peer: str


class Arrived(Stamped):
    """Ledger: a fragment was received whole."""

    event: NotRequired[Literal["arrived"]]
    round: int
    """The sender's."""
    fragment: int
    sender: str
    sent: float
    """The send time in the frame's header."""
    bytes: int
    """Of the frame, header included."""


class Aggregated(Stamped):
    """Ledger: fragments were averaged into the model."""

    event: NotRequired[Literal["aggregated"]]
    round: int
    """The receiver's own."""
    at: float
    """When the average was made: at the start of the round at whose end this is written."""
    of: list[tuple[str, int, int]]
    """[sender, the sender's round, fragment] each."""


AgentRecord = (
    Ready
    | Round
    | Waiting
    | Snapshot
    | PeerLost
    | PeerEnded
    | Strangers
    | Rejected
    | NotFinite
    | End
    | Error
    | Created
    | Sent
    | Dropped
    | Arrived
    | Aggregated
)
