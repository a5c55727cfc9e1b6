"""The verdict: did the emulation hold? `faithful`, or `degraded` with reasons.

Each reason is one small function from evidence to a sentence or None. To add one, write it and list it in REASONS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from mnbed.results.collect import Collected
from mnbed.units import parse_duration

FAITHFUL, DEGRADED = "faithful", "degraded"

# Up to one step in twenty may overrun its slot: the agent catches up by shorter waits within the next two steps, so the
# pace holds; more than that and the machine, not the experiment, sets the pace.
MAX_OVERRUN_SHARE = 0.05
# Overruns add up to this share of the duration: compute took visibly longer than the experiment asked.
MAX_LATENESS_SHARE = 0.02
# An agent ends at the end of the experiment, plus what it takes to wake up and close its connections.
MAX_LATE_END_SHARE = 0.02
MIN_LATE_END_S = 0.5
# Where the machine keeps up, delays are exact to 0.4 ms; one packet in a hundred beyond 1 ms is no longer the odd
# wake-up that came late, and TCP sees a path whose delay is not the one asked for.
MAX_LATE_PACKET_SHARE = 0.01
# Names in a sentence before it says "and 7 more".
_MAX_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class NodeEvidence:
    """What one node's journal says of its pace."""

    name: str
    steps: int
    overruns: int
    late_s: float
    """Sum of all overruns, emulated seconds."""
    frames_rejected: int
    ended_s: float | None
    """Emulated time at which it ended by itself; None: it did not."""


@dataclass(frozen=True, kw_only=True)
class DelayEvidence:
    """What the NFQUEUE delay says of itself; None: it left no such figure."""

    packets: int | None
    late_over_1ms: int | None
    """Packets released more than 1 ms of wall time after they were due."""
    late_max_s: float | None
    """Wall seconds."""
    lost: int | None
    """Packets that the kernel dropped for want of room in a queue or a socket."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the verdict looks at."""

    status: str
    duration_s: float | None
    """As the experiment asks."""
    nodes: Sequence[NodeEvidence]
    died: Mapping[str, str]
    """Agent that died -> cause, which names the agent."""
    delay: DelayEvidence | None
    """None: there was no such delay, or the controller broke off before it could tell."""
    problems: Sequence[str]
    """Journals that are missing or damaged."""
    reported: Sequence[str]
    """Reasons that the controller gave."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`verdict` is "faithful" or "degraded"."""

    verdict: str
    reasons: list[str]


def overruns(evidence: Evidence) -> str | None:
    """Too many local steps took longer than their slot."""
    steps = sum(node.steps for node in evidence.nodes)
    late = sum(node.overruns for node in evidence.nodes)
    if steps == 0 or late / steps <= MAX_OVERRUN_SHARE:
        return None
    return (
        f"{late / steps:.1%} of the local steps took longer than step_time ({late:,} of {steps:,}; "
        f"at most {MAX_OVERRUN_SHARE:.0%}): raise time.dilation"
    )


def lateness(evidence: Evidence) -> str | None:
    """Overruns add up to too much time."""
    if not evidence.duration_s or not evidence.nodes:
        return None
    share = fmean(node.late_s for node in evidence.nodes) / evidence.duration_s
    if share <= MAX_LATENESS_SHARE:
        return None
    worst = max(evidence.nodes, key=lambda node: node.late_s)
    return (
        f"late steps add up to {share:.1%} of the duration, {worst.late_s:.2f} emulated s on {worst.name} "
        f"(at most {MAX_LATENESS_SHARE:.0%}): raise time.dilation"
    )


def died(evidence: Evidence) -> str | None:
    """Agents are gone before the end."""
    untold = [cause for cause in evidence.died.values() if cause not in evidence.reported]
    if not untold:
        return None
    return f"{_count(evidence.died, 'agent')} died: {_names(untold, '; ')}"


def rejected(evidence: Evidence) -> str | None:
    """Bytes on the emulated network that no agent of this run sent, or that changed on their way."""
    bad = [node for node in evidence.nodes if node.frames_rejected > 0]
    if not bad:
        return None
    total = sum(node.frames_rejected for node in bad)
    frames = "1 frame was" if total == 1 else f"{total:,} frames were"
    return f"{frames} rejected as foreign, torn or corrupt, by {_names([node.name for node in bad])}"


def late_end(evidence: Evidence) -> str | None:
    """Nodes still worked when the experiment was over."""
    if evidence.duration_s is None:
        return None
    allowed = evidence.duration_s + max(MIN_LATE_END_S, MAX_LATE_END_SHARE * evidence.duration_s)
    late = [node for node in evidence.nodes if node.ended_s is not None and node.ended_s > allowed]
    if not late:
        return None
    last = max(node.ended_s - evidence.duration_s for node in late if node.ended_s is not None)
    return (
        f"{_count(late, 'node')} ended late, up to {last:.2f} emulated s after the duration: "
        f"{_names([node.name for node in late])}"
    )


def delay_untold(evidence: Evidence) -> str | None:
    """The delay process ended without an account."""
    delay = evidence.delay
    if delay is None or None not in (delay.packets, delay.late_over_1ms, delay.lost):
        return None
    return "the NFQUEUE delay left no statistics: whether packets kept their delays is not known"


def delayed_late(evidence: Evidence) -> str | None:
    """Packets waited longer than their link's delay."""
    delay = evidence.delay
    if delay is None or not delay.packets or delay.late_over_1ms is None:
        return None
    share = delay.late_over_1ms / delay.packets
    if share <= MAX_LATE_PACKET_SHARE:
        return None
    worst = "" if delay.late_max_s is None else f", the worst {1e3 * delay.late_max_s:.1f} ms"
    return (
        f"{share:.1%} of the packets left the NFQUEUE delay more than 1 ms late ({delay.late_over_1ms:,} of "
        f"{delay.packets:,}{worst}; at most {MAX_LATE_PACKET_SHARE:.0%}): raise time.dilation"
    )


def delayed_lost(evidence: Evidence) -> str | None:
    """Packets were lost that no link lost."""
    lost = evidence.delay.lost if evidence.delay is not None else None
    if not lost:
        return None
    packets = "1 packet" if lost == 1 else f"{lost:,} packets"
    return f"the NFQUEUE delay lost {packets} for want of room: raise time.dilation"


def failed(evidence: Evidence) -> str | None:
    """A run that broke off shows nothing about its end."""
    return "the run failed: see the error" if evidence.status == "failed" and not evidence.reported else None


def no_evidence(evidence: Evidence) -> str | None:
    """Silence is no proof."""
    return None if any(node.steps for node in evidence.nodes) else "no node has recorded a single local step"


REASONS: tuple[Callable[[Evidence], str | None], ...] = (
    no_evidence,
    failed,
    died,
    overruns,
    lateness,
    rejected,
    late_end,
    delay_untold,
    delayed_late,
    delayed_lost,
)


def judge(evidence: Evidence) -> Verdict:
    """Every reason to doubt the run, the controller's own first."""
    found = (reason(evidence) for reason in REASONS)
    reasons = [*evidence.reported, *(text for text in found if text is not None), *evidence.problems]
    return Verdict(verdict=DEGRADED if reasons else FAITHFUL, reasons=reasons)


def evidence_of(collected: Collected, status: str) -> Evidence:
    """What the journals hold for the verdict; `status` is the run's."""
    finished = collected.last("finished") or {}
    return Evidence(
        status=status,
        duration_s=duration_s(collected),
        nodes=[_node_evidence(collected, name) for name in collected.nodes],
        # The last cause is the best known: an agent's own words may come after its exit status.
        died={
            str(record.get("agent")): str(record.get("cause") or f"{record.get('agent')}: cause unknown")
            for record in collected.controller
            if record["event"] == "agent_died"
        },
        delay=_delay_evidence(collected),
        problems=collected.problems,
        reported=[str(reason) for reason in finished.get("reasons") or ()],
    )


def duration_s(collected: Collected) -> float | None:
    """The experiment's duration, emulated seconds; None where it cannot be read."""
    try:
        return parse_duration(collected.experiment["time"]["duration"])
    except (KeyError, TypeError, ValueError):
        return None


def _node_evidence(collected: Collected, name: str) -> NodeEvidence:
    node = collected.nodes[name]
    counters = node.counters()
    end = node.end or {}
    return NodeEvidence(
        name=name,
        steps=node.steps(),
        # Rounds are recorded more often than totals: of a killed agent they know more.
        overruns=max(
            counters.overruns if counters else 0, sum(item.get("overruns", 0) for item in node.rounds)
        ),
        late_s=counters.late_s if counters else 0.0,
        frames_rejected=max(counters.frames_rejected if counters else 0, len(node.rejected)),
        ended_s=end.get("t") if end.get("reason") == "finished" else None,
    )


def _delay_evidence(collected: Collected) -> DelayEvidence | None:
    record = collected.last("delay_queue")
    if record is None:
        return None
    found: dict[str, Any] = {
        item.name: value if isinstance(value := record.get(item.name), (int, float)) else None
        for item in fields(DelayEvidence)
    }
    return DelayEvidence(**found)


def _count(things: Collection[object], noun: str) -> str:
    return f"1 {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def _names(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
