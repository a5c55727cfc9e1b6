"""What the controller's journal, nodes/controller.jsonl, holds: one type for each event, as in `node_agent/records.py`.

Times are emulated seconds unless the name says wall. When a journal is first read, its damaged lines become records
too: `Unreadable`.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from mnbed.records.outcome import Status
from node_agent.records import AgentRecord, Stamped


class Phase(Stamped):
    """A phase of the run begins."""

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
    """Null if no interface holds the delay, or if it could not be measured."""
    late_s: float | None
    """How much longer than asked the slowest small frame took; null if delays are meant to vary."""
    limited_by_machine: bool
    """Whether `measured_bps` is what this machine can do, so that it says nothing about the link."""


class ProbedPath(TypedDict):
    """The path from one host to another in `probe`."""

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
    """Directions that were not probed, because there are too many."""
    took_wall_s: float


class MachineSample(TypedDict):
    """Means since the last sample; null: unknown."""

    cpu_busy: float | None
    """Share of all cores."""
    agents_cpu: float | None
    """Cores that the agents kept busy."""
    delay_cpu: float | None
    """Cores that the NFQUEUE delay kept busy."""
    run_delay: float | None
    """Mean share of the time that an agent was ready to run but had no core."""
    pressure: float | None
    """Share of the time in which at least one process was ready to run but had no core."""


class Machine(MachineSample, Stamped):
    """The machine while agents train, each wall second."""

    event: NotRequired[Literal["machine"]]


class Slept(Stamped):
    """The controller was suspended while agents trained."""

    event: NotRequired[Literal["slept"]]
    wall_s: float


class Change(TypedDict):
    """What an event of the experiment changed, by its kind."""

    kind: Literal["reshape", "link", "partition", "node"]
    directions: NotRequired[list[list[str]]]
    """reshape: [source, target] of each direction."""
    link: NotRequired[list[str]]
    """link: its two ends."""
    up: NotRequired[bool]
    """link: true if it came up, false if it went down."""
    groups: NotRequired[list[list[str]]]
    """partition: groups of hosts that can still reach each other; empty: the partition has healed."""
    host: NotRequired[str]
    """node: whose agent."""
    action: NotRequired[Literal["kill", "pause", "resume", "restart"]]
    """node: what was done to it."""


class Applied(Change, Stamped):
    """An event of the experiment was applied."""

    event: NotRequired[Literal["applied"]]
    text: str
    """What figures and logs call it."""
    entry: int | None
    """Its number in `network.events`, from 0; null: it was given at the prompt."""
    planned_s: float
    late_s: float
    by_hand: NotRequired[bool]
    """Whether it was given at the prompt."""


class AgentDied(Stamped):
    """An agent ended without being asked to."""

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
    """Packets that the queue of interface a dropped."""
    b_drops: int
    a_backlog_peak_bytes: int
    """The most bytes seen waiting in the queue of interface a."""
    b_backlog_peak_bytes: int
    a_peak_bps: float | None
    """The highest rate in one sampling interval, emulated bit/s; null: not sampled."""
    b_peak_bps: float | None


class LinkCounters(Stamped):
    """Totals of all links."""

    event: NotRequired[Literal["link_counters"]]
    links: list[LinkCounts]


class ShapingChecked(Stamped):
    """Differences between the qdiscs at the end of the run and what they should be."""

    event: NotRequired[Literal["shaping_checked"]]
    differences: list[str]


class DelayStatistics(TypedDict, total=False):
    """What the NFQUEUE delay did; empty if its process ended by itself."""

    packets: int
    late_max_s: float
    """The largest lateness of a packet, wall seconds."""
    late_over_1ms: int
    """Packets released more than 1 ms of wall time late."""
    lost: int
    """Packets that the kernel dropped because a queue or a socket was full."""
    dropped_on_request: int
    """Packets dropped because the link is set to lose them."""
    processor_of_its_own: bool
    """Whether the network's packets were kept off the processor that the process ran on."""
    cpu_s: float
    """Processor time of the process, wall seconds."""
    cpu_system_s: float
    """The part of this spent in the kernel."""


class DelayQueue(DelayStatistics, Stamped):
    """Statistics of the NFQUEUE delay, if that is the delay backend."""

    event: NotRequired[Literal["delay_queue"]]


class Finished(Stamped):
    """Training is over, whether or not the run succeeded."""

    event: NotRequired[Literal["finished"]]
    status: Status
    reasons: list[str]
    """What ended the run early."""
    error: str | None
    emulated_s: float
    """How long training ran."""
    startup_s: float | None
    """Wall seconds until the common start; null: it was never reached."""
    agent_memory_mb: float | None
    """Mean proportional memory (PSS) of an agent at the start, MB."""
    wall_s: float
    """Since the controller began."""


class TornDown(Stamped):
    """The network has been taken down; only records of the evaluation follow."""

    event: NotRequired[Literal["torn_down"]]
    teardown_s: float
    """How long that took, wall seconds."""
    wall_s: float
    """Since the controller began."""


class Unreadable(Stamped):
    """A line of a journal that is not a record; only in events.jsonl."""

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
