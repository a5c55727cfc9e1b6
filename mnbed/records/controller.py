"""What the controller's journal, nodes/controller.jsonl, holds: one type for each event, as in `node_agent/records.py`.

Times are emulated seconds unless the name says wall. The first reading of a journal is also where its damaged lines
become records, `Unreadable`.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from node_agent.records import AgentRecord, Stamped


class Phase(Stamped):
    """Something new is begun."""

    event: NotRequired[Literal["phase"]]
    name: str
    wall_s: float
    """Since the controller began."""


class ProbedDirection(TypedDict):
    """One direction of a link in `probe`."""

    source: str
    target: str
    asked_bps: float
    measured_bps: float | None
    asked_delay_s: float
    measured_delay_s: float | None
    """Null where no interface holds the delay, or where it could not be told."""
    late_s: float | None
    """How much longer than asked the slowest small frame took; null if delays are meant to vary."""
    limited_by_machine: bool
    """`measured_bps` says what this machine can do, and nothing of the link."""


class ProbedPath(TypedDict):
    """The way from one host to another in `probe`."""

    source: str
    target: str
    asked_s: float
    """One way."""
    measured_s: float | None


class Probe(Stamped):
    """The links as measured before training; emulated units."""

    event: NotRequired[Literal["probe"]]
    directions: list[ProbedDirection]
    paths: list[ProbedPath]
    """Between some pairs of hosts."""
    skipped: int
    """Directions that were not probed, as there are too many."""
    took_wall_s: float


class MachineSample(TypedDict):
    """Means since the last sample; null: not known."""

    cpu_busy: float | None
    """Share of all cores."""
    agents_cpu: float | None
    """Cores that the agents kept busy."""
    delay_cpu: float | None
    """Cores that the NFQUEUE delay kept busy."""
    run_delay: float | None
    """Share of the time that an agent was ready to run but had no core."""
    pressure: float | None
    """Share of the time that any process was."""


class Machine(MachineSample, Stamped):
    """The machine while agents train, each wall second."""

    event: NotRequired[Literal["machine"]]


class Slept(Stamped):
    """The controller was suspended while agents trained."""

    event: NotRequired[Literal["slept"]]
    wall_s: float


class Change(TypedDict):
    """What an event of the experiment was done to, by its kind."""

    kind: Literal["reshape", "link", "partition", "node"]
    directions: NotRequired[list[list[str]]]
    """reshape: [source, target] of each direction."""
    link: NotRequired[list[str]]
    """link: its two ends."""
    up: NotRequired[bool]
    """link: whether it came up, or went down."""
    groups: NotRequired[list[list[str]]]
    """partition: hosts that still reach each other; none: it has healed."""
    host: NotRequired[str]
    """node: whose agent."""
    action: NotRequired[Literal["kill", "pause", "resume", "restart"]]
    """node: what was done to it."""


class Applied(Change, Stamped):
    """An event of the experiment has happened."""

    event: NotRequired[Literal["applied"]]
    text: str
    """As plots and logs show it."""
    entry: int | None
    """Number in `network.events`, from 0; null: done by hand."""
    planned_s: float
    late_s: float
    by_hand: NotRequired[bool]
    """At the prompt."""


class AgentDied(Stamped):
    """An agent ended, and nobody had asked for it."""

    event: NotRequired[Literal["agent_died"]]
    agent: str
    cause: str


class LinkCounts(TypedDict):
    """One link in `link_counters`: what left interface a and interface b while agents trained."""

    a: str
    b: str
    a_bytes: int
    b_bytes: int
    a_drops: int
    """Packets that its queue dropped."""
    b_drops: int
    a_backlog_peak_bytes: int
    """The most that was found waiting."""
    b_backlog_peak_bytes: int
    a_peak_bps: float | None
    """The highest rate in one sampling interval, emulated bit/s; null: not sampled."""
    b_peak_bps: float | None


class LinkCounters(Stamped):
    """The links' totals."""

    event: NotRequired[Literal["link_counters"]]
    links: list[LinkCounts]


class ShapingChecked(Stamped):
    """Differences between the qdiscs at the end and what they should be then."""

    event: NotRequired[Literal["shaping_checked"]]
    differences: list[str]


class DelayStatistics(TypedDict, total=False):
    """What the NFQUEUE delay did; nothing where its process has ended by itself."""

    packets: int
    late_max_s: float
    """The longest that a packet waited beyond its time, wall seconds."""
    late_over_1ms: int
    """Packets released more than 1 ms of wall time late."""
    lost: int
    """Packets that the kernel dropped, as a queue or a socket was full."""
    dropped_on_request: int
    """Packets that were to be lost."""
    processor_of_its_own: bool
    """The network's packets were kept off the processor that the process ran on."""
    cpu_s: float
    """Its processor time, wall seconds."""
    cpu_system_s: float
    """Of this, in the kernel."""


class DelayQueue(DelayStatistics, Stamped):
    """Statistics of the NFQUEUE delay, where that is the backend."""

    event: NotRequired[Literal["delay_queue"]]


Status = Literal["completed", "interrupted", "failed"]


class Finished(Stamped):
    """Training is over, however it ended."""

    event: NotRequired[Literal["finished"]]
    status: Status
    reasons: list[str]
    """What broke the run off."""
    error: str | None
    emulated_s: float
    """How long it ran."""
    startup_s: float | None
    """Wall seconds until the common start; null: it never came."""
    agent_memory_mb: float | None
    """Mean proportional memory (PSS) of an agent at the start, MB."""
    wall_s: float
    """Since the controller began."""


class TornDown(Stamped):
    """The network is gone; the last record but for those of the evaluation."""

    event: NotRequired[Literal["torn_down"]]
    teardown_s: float
    """Wall seconds that it took."""
    wall_s: float
    """Since the controller began."""


class Unreadable(Stamped):
    """A line of a journal that is no record, in events.jsonl alone."""

    event: NotRequired[Literal["unreadable"]]
    line: int
    """Its number, from 1."""
    text: str
    """Its beginning."""


ControllerRecord = (
    Phase
    | Probe
    | Machine
    | Slept
    | Applied
    | AgentDied
    | LinkCounters
    | ShapingChecked
    | DelayQueue
    | Finished
    | TornDown
)
Record = AgentRecord | ControllerRecord | Unreadable
