"""What an agent's journal holds: one type for each event, and every field with its meaning and unit.

Writers pass these fields to `Journal.write`, readers take them from its lines, and the tables of docs/run-directory.md
are made from the docstrings here, so each field is described once. Times are emulated seconds unless the name says
wall; sizes are bytes. `t`, `node` and `event` are added when a record is written.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from node_agent.counters import CounterTotals


class Stamped(TypedDict, total=False):
    """What the journal adds to every record."""

    t: float | None
    """Time since the common start; null before it."""
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
    """The peers that were still missing at the last check."""


class Waiting(Stamped):
    """A wait has lasted longer than the steps of a round, or until the end."""

    event: NotRequired[Literal["waiting"]]
    round: int
    since: float
    """When it began."""
    of: list[str]
    """The peers it waits for."""


class Snapshot(CounterTotals, Stamped):
    """The model was saved for evaluation; with the value of every counter at that time."""

    event: NotRequired[Literal["snapshot"]]
    instant: int
    """From 0."""
    file: str
    """Flat float32 parameters; relative to the run directory."""
    instant_s: float
    """The time whose model it should hold."""
    taken_s: float
    """The time of the model that it holds: `instant_s` or later."""
    round: int
    steps: int
    train_loss: float | None
    """Of the last finished round."""
    staleness_s: float | None
    """As in `round`, for the round in progress."""


class PeerLost(Stamped):
    """A connection to or from a peer broke, or could not be made."""

    event: NotRequired[Literal["peer_lost"]]
    peer: str
    reason: str


class PeerEnded(Stamped):
    """A peer sent BYE: its part of the experiment is over."""

    event: NotRequired[Literal["peer_ended"]]
    peer: str


class Strangers(Stamped):
    """Connections were closed because they had not identified themselves."""

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
    """The agent ended in an orderly way; with the final totals of its counters."""

    event: NotRequired[Literal["end"]]
    reason: Literal["finished", "stopped"]
    cpu_s: float
    """Processor time of the process, wall seconds."""
    rtt_s: dict[str, float]
    """Peer -> smallest round-trip time that the kernel measured."""
    one_way_s: dict[str, list[float]]
    """Sender -> smallest, mean and largest transit time of its frames, from first byte sent to last byte received."""


class Error(Stamped):
    """The agent cannot continue."""

    event: NotRequired[Literal["error"]]
    message: str
    traceback: str


class Created(Stamped):
    """Ledger: fragments were put into the out-queue."""

    event: NotRequired[Literal["created"]]
    round: int
    sends: list[tuple[int, str]]
    """[fragment, peer] of each."""


class Sent(Stamped):
    """Ledger: the last byte of a fragment was sent."""

    event: NotRequired[Literal["sent"]]
    round: int
    fragment: int
    peer: str
    begun: float
    """When its first byte was handed to the kernel."""
    bytes: int
    """Size of the frame, header included."""


class Dropped(Stamped):
    """Ledger: newer data replaced a fragment before it was sent."""

    event: NotRequired[Literal["dropped"]]
    round: int
    fragment: int
    peer: str


class Arrived(Stamped):
    """Ledger: a whole fragment was received."""

    event: NotRequired[Literal["arrived"]]
    round: int
    """The sender's round."""
    fragment: int
    sender: str
    sent: float
    """The send time in the frame's header."""
    bytes: int
    """Size of the frame, header included."""


class Aggregated(Stamped):
    """Ledger: fragments were averaged into the model."""

    event: NotRequired[Literal["aggregated"]]
    round: int
    """The receiver's own round."""
    at: float
    """When the average was computed: at the start of the round; the record is written at its end."""
    of: list[tuple[str, int, int]]
    """[sender, the sender's round, fragment] of each."""


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
