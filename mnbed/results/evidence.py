"""The evidence for the verdict, taken from a run's journals without judging it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any, cast

from mnbed.records import controller as records
from mnbed.results.collect import Collected
from mnbed.results.progress import NodeProgress, node_progress, with_stalls
from mnbed.results.round_trips import RoundTrip, round_trips
from mnbed.units import parse_duration
from node_agent.records import Rejected, Snapshot


@dataclass(frozen=True, kw_only=True)
class NodeEvidence:
    """How well a node kept its pace, from its journal."""

    name: str
    steps: int
    overruns: int
    late_s: float
    """Sum of all overruns, emulated seconds."""
    frames_rejected: int
    ended_s: float | None
    """Emulated time at which it ended normally; None if it did not."""
    step_time_s: float | None = None
    descriptor_shortages: int = 0
    not_finite_from: tuple[str, ...] = ()
    """Sender of each frame that was refused because its values were not finite."""
    snapshots_late: tuple[tuple[float, float], ...] = ()
    """(instant, time of the model in it), for snapshots where these are far apart."""
    timer_waits: int = 0
    timer_late_s: float = 0.0
    """Total lateness of all wake-ups, emulated seconds."""


@dataclass(frozen=True, kw_only=True)
class DelayEvidence:
    """Statistics of the NFQUEUE delay; None: not recorded."""

    packets: int | None
    late_over_1ms: int | None
    """Packets released more than 1 ms of wall time after they were due."""
    late_max_s: float | None
    """Wall seconds."""
    lost: int | None
    """Packets that the kernel dropped because a queue or a socket was full."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A result of the probe before training, in emulated units."""

    where: str
    asked: float
    measured: float


@dataclass(frozen=True, kw_only=True)
class LateFrame:
    """How much later than asked the slowest small frame of the probe came, over one direction of a link."""

    where: str
    late_s: float
    """Emulated seconds."""


@dataclass(frozen=True, kw_only=True)
class MachineEvidence:
    """The machine during training, sampled about once per wall second. None: unknown."""

    cpu_busy: Sequence[float] = ()
    """Busy share of all cores, per sample."""
    run_delay: float | None = None
    """Mean share of the time that agents were runnable but waited for a core."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """An event of the experiment that was applied."""

    text: str
    planned_s: float
    late_s: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the verdict is based on."""

    status: str
    duration_s: float | None
    """As set in the experiment."""
    nodes: Sequence[NodeEvidence]
    died: Mapping[str, str]
    """Agent that died -> cause, including its name."""
    delay: DelayEvidence | None
    """None if there was no such delay, or the controller ended before it could record it."""
    problems: Sequence[str]
    """Missing or damaged journals."""
    reported: Sequence[str]
    """Reasons given by the controller."""
    dilation: float = 1.0
    bandwidths: Sequence[Probed] = ()
    """Bandwidth of directions of links, bit/s."""
    delays: Sequence[Probed] = ()
    """One-way delay of links or whole paths, seconds."""
    late_frames: Sequence[LateFrame] = ()
    """Of the probed directions whose delay is not meant to vary."""
    differences: Sequence[str] = ()
    """Where the kernel's shaping at the end was not as it should have been."""
    machine: MachineEvidence = field(default_factory=MachineEvidence)
    applied: Sequence[Applied] = ()
    slept_wall_s: Sequence[float] = ()
    """How long the controller was suspended, each time, during training."""
    round_trips: Sequence[RoundTrip] = ()
    """Empty if events changed the links' delays."""
    progress: Sequence[NodeProgress] = ()


def evidence_of(collected: Collected, status: str) -> Evidence:
    """The evidence in the journals; `status` is the run's."""
    finished = collected.last("finished")
    checked = collected.last("shaping_checked")
    return Evidence(
        status=status,
        duration_s=duration_s(collected),
        nodes=[_node_evidence(collected, name) for name in collected.nodes],
        # The last cause is the best: an agent's own message may arrive after its exit status.
        died={
            str(record.get("agent")): str(record.get("cause") or f"{record.get('agent')}: cause unknown")
            for record in collected.controller
            if record["event"] == "agent_died"
        },
        delay=_delay_evidence(collected),
        problems=collected.problems,
        dilation=float(collected.environment.get("dilation") or 1.0),
        bandwidths=probed_bandwidths(collected.last("probe")),
        delays=probed_delays(collected.last("probe")),
        late_frames=late_frames(collected.last("probe")),
        differences=[str(text) for text in (checked.get("differences") or () if checked else ())],
        machine=_machine_evidence(collected),
        applied=applied(collected),
        slept_wall_s=[
            record["wall_s"]
            for record in collected.controller
            if record["event"] == "slept" and isinstance(record.get("wall_s"), (int, float))
        ],
        round_trips=_steady_round_trips(collected),
        reported=[str(reason) for reason in (finished.get("reasons") or () if finished else ())],
        progress=progress_of(collected),
    )


def progress_of(collected: Collected) -> list[NodeProgress]:
    """The progress of each node, in the order of the nodes."""
    end_s = emulated_s(collected)
    if end_s is None:
        return []
    reshaped_s = [
        record["planned_s"] + record["late_s"]
        for record in collected.controller
        if record["event"] == "applied" and record.get("kind") == "reshape"
    ]
    task = collected.experiment.get("task")
    local_steps = task.get("local_steps") if isinstance(task, Mapping) else None
    nodes = [
        node_progress(
            node,
            end_s=end_s,
            step_time_s=_step_time_s(collected, name),
            local_steps=local_steps if isinstance(local_steps, int) else 1,
            events=[
                (record["planned_s"] + record["late_s"], str(record["action"]))
                for record in node_events(collected)
                if record["host"] == name
            ],
            reshaped_s=reshaped_s,
        )
        for name, node in collected.nodes.items()
        if node.ready is not None or node.rounds
    ]
    return with_stalls(nodes, end_s)


def emulated_s(collected: Collected) -> float | None:
    """Emulated time of the run's end: the controller's or, if that was killed, the last one that an agent recorded."""
    finished = collected.last("finished")
    if finished is not None:
        return finished.get("emulated_s")
    last = [t for node in collected.nodes.values() if (t := node.last_s()) is not None]
    # Agents close their connections after the end, which does not belong to the experiment.
    return min(max(last), duration_s(collected) or math.inf) if last else None


def duration_s(collected: Collected) -> float | None:
    """The experiment's duration, emulated seconds; None if it cannot be read."""
    try:
        return parse_duration(collected.experiment["time"]["duration"])
    except (KeyError, TypeError, ValueError):
        return None


def _node_evidence(collected: Collected, name: str) -> NodeEvidence:
    node = collected.nodes[name]
    counters = node.counters()
    ended_s = node.end.get("t") if node.end and node.end.get("reason") == "finished" else None
    paused_s, at_the_end = _paused(collected, name)
    step_time_s = _step_time_s(collected, name)
    if ended_s is not None and at_the_end:
        ended_s = min(ended_s, duration_s(collected) or ended_s)
    return NodeEvidence(
        name=name,
        steps=node.steps(),
        # Rounds are recorded more often than totals, so they know more about a killed agent.
        overruns=max(
            counters.overruns if counters else 0, sum(item.get("overruns", 0) for item in node.rounds)
        ),
        # A pause also lengthens the step or the wait that it interrupted.
        late_s=max(0.0, counters.late_s - paused_s) if counters else 0.0,
        frames_rejected=max(counters.frames_rejected if counters else 0, len(node.rejected))
        - sum(_cut_by_an_event(collected, record) for record in node.rejected),
        descriptor_shortages=counters.descriptor_shortages if counters else 0,
        not_finite_from=tuple(str(record.get("peer")) for record in node.not_finite),
        ended_s=ended_s,
        step_time_s=step_time_s,
        snapshots_late=_late_snapshots(collected, node.snapshots, step_time_s),
        timer_waits=counters.timer_waits if counters else 0,
        timer_late_s=max(0.0, counters.timer_late_s - paused_s) if counters else 0.0,
    )


def node_events(collected: Collected) -> Iterator[records.Applied]:
    """The experiment's events about nodes, in the order in which they were applied."""
    for record in collected.controller:
        if record["event"] == "applied" and record.get("kind") == "node":
            yield record


def _paused(collected: Collected, name: str) -> tuple[float, bool]:
    """(emulated seconds for which events had paused that node, whether it was paused when the run ended)."""
    total, since = 0.0, None
    for record in node_events(collected):
        if record["host"] == name:
            t = record["planned_s"] + record["late_s"]
            if since is not None:
                total, since = total + t - since, None
            if record["action"] == "pause":
                since = t
    if since is not None:
        total += max(0.0, (duration_s(collected) or since) - since)
    return total, since is not None


def _cut_by_an_event(collected: Collected, rejected: Rejected) -> bool:
    """Whether a frame was truncated because an event had killed its sender."""
    killed = {record["host"] for record in node_events(collected) if record["action"] == "kill"}
    return rejected.get("peer") in killed and "torn" in str(rejected.get("reason"))


def _late_snapshots(
    collected: Collected, snapshots: Sequence[Snapshot], step_time_s: float | None
) -> tuple[tuple[float, float], ...]:
    try:
        every_s = parse_duration(collected.experiment["evaluate"]["every"])
    except (KeyError, TypeError, ValueError):
        return ()
    allowed_s = max(2 * (step_time_s or 0.0), 0.1 * every_s)
    return tuple(
        (instant, taken)
        for record in snapshots
        if (instant := record.get("instant_s")) is not None
        and (taken := record.get("taken_s")) is not None
        and taken - instant > allowed_s
    )


def _step_time_s(collected: Collected, name: str) -> float | None:
    hosts = collected.environment.get("hosts") or ()
    return next((host.get("step_time_s") for host in hosts if host.get("name") == name), None)


def probed_bandwidths(probe: records.Probe | None) -> list[Probed]:
    """The bandwidths that the probe measured, where it could."""
    return [
        Probed(where=f"{row['source']} -> {row['target']}", asked=row["asked_bps"], measured=measured_bps)
        for row in (probe.get("directions") or () if probe else ())
        # Where this machine was the limit, the result says nothing about the link.
        if (measured_bps := row.get("measured_bps")) is not None and not row.get("limited_by_machine")
    ]


def probed_delays(probe: records.Probe | None) -> list[Probed]:
    """The delays that the probe measured, of links and of whole paths."""
    if probe is None:
        return []
    links = [
        Probed(
            where=f"{row['source']} -> {row['target']}",
            asked=row["asked_delay_s"],
            measured=measured_s,
        )
        for row in probe.get("directions") or ()
        if (measured_s := row.get("measured_delay_s")) is not None
    ]
    paths = [
        Probed(where=f"path {row['source']} -> {row['target']}", asked=row["asked_s"], measured=measured_s)
        for row in probe.get("paths") or ()
        if (measured_s := row.get("measured_s")) is not None
    ]
    return links + paths


def late_frames(probe: records.Probe | None) -> list[LateFrame]:
    """How late frames of the probe were, by direction."""
    return [
        LateFrame(where=f"{row['source']} -> {row['target']}", late_s=late_s)
        for row in (probe.get("directions") or () if probe else ())
        if (late_s := row.get("late_s")) is not None
    ]


def _machine_evidence(collected: Collected) -> MachineEvidence:
    samples = machine_samples(collected)
    busy = [share for record in samples if (share := record.get("cpu_busy")) is not None]
    waited = [share for record in samples if (share := record.get("run_delay")) is not None]
    return MachineEvidence(cpu_busy=busy, run_delay=fmean(waited) if waited else None)


def machine_samples(collected: Collected) -> list[records.Machine]:
    """The controller's samples of the machine during training."""
    return [record for record in collected.controller if record["event"] == "machine"]


def applied(collected: Collected) -> list[Applied]:
    """The experiment's events, in the order in which they were applied."""
    return [
        Applied(text=str(record["text"]), planned_s=record["planned_s"], late_s=record["late_s"])
        for record in collected.controller
        if record["event"] == "applied"
    ]


def _steady_round_trips(collected: Collected) -> list[RoundTrip]:
    changed = any(
        record["event"] == "applied" and record.get("kind") == "reshape" for record in collected.controller
    )
    return [] if changed else list(round_trips(collected))


def _delay_evidence(collected: Collected) -> DelayEvidence | None:
    record = collected.last("delay_queue")
    if record is None:
        return None
    known = cast("dict[str, Any]", record)
    values: dict[str, Any] = {
        item.name: value if isinstance(value := known.get(item.name), (int, float)) else None
        for item in fields(DelayEvidence)
    }
    return DelayEvidence(**values)
