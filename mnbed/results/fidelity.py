"""The verdict: did the emulation hold? `faithful`, or `degraded` with reasons.

Each reason is one small function from evidence to a sentence or None. To add one, write it and list it in REASONS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from mnbed.results.evidence import Evidence, Probed
from mnbed.results.progress import NodeProgress
from mnbed.units import format_bandwidth

FAITHFUL, DEGRADED = "faithful", "degraded"

# Up to one step in twenty may overrun its slot: the agent catches up by shorter waits within the next two steps, so the
# pace holds; more than that and the machine, not the experiment, sets the pace.
MAX_OVERRUN_SHARE = 0.05
# Overruns add up to this share of the duration: compute took visibly longer than the experiment asked.
MAX_LATENESS_SHARE = 0.02
# An agent ends at the end of the experiment, plus what it takes to wake up and close its connections.
MAX_LATE_END_SHARE = 0.02
MIN_LATE_END_S = 0.5
# A node that waits for nobody computes without a pause; overruns that are caught up cost nothing. Fewer than so many
# rounds say little, as the first and the last one are cut.
MIN_STEP_SHARE = 0.8
MIN_ROUNDS = 5
# Where the machine keeps up, delays are exact to 0.4 ms; one packet in a hundred beyond 1 ms is no longer the odd
# wake-up that came late, and TCP sees a path whose delay is not the one asked for.
MAX_LATE_PACKET_SHARE = 0.01
# A link's rate is exact to 1 % where nothing is wrong, and the probe to 2 % (bench/fidelity.py).
MAX_BANDWIDTH_ERROR = 0.05
# Delays are exact to 0.5 ms of wall time on a machine that has time for them; what is wrong is off by more than twice
# that, or by a share that a long delay's own inaccuracy (1 %) does not explain.
MAX_DELAY_ERROR_WALL_S = 1.5e-3
MAX_DELAY_ERROR_SHARE = 0.05
# How long agents stood ready and waited for a core: beyond a third of the time the scheduler, not the experiment, says
# who computes. Below that, pacing hides the waits, and overruns tell where it does not.
MAX_RUN_DELAY = 0.33
# Cores that next to never rest leave no room for a packet or a timer to be in time.
SATURATED = 0.95
MAX_SATURATED_SHARE = 0.2
# A wake-up that is late delays the step that follows it; up to a tenth of a step the next wait makes up for it.
MAX_TIMER_LATE_SHARE = 0.1
# What users are promised for events (emulated time).
MAX_EVENT_LATE_S = 0.05
# Names in a sentence before it says "and 7 more".
_MAX_NAMES = 4


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
    mean_s = fmean(node.late_s for node in evidence.nodes)
    share = mean_s / evidence.duration_s
    if share <= MAX_LATENESS_SHARE:
        return None
    worst = max(evidence.nodes, key=lambda node: node.late_s)
    return (
        f"late steps add up to {mean_s:.2f} emulated s a node on average, {share:.1%} of the duration (at most "
        f"{MAX_LATENESS_SHARE:.0%}); most on {worst.name}, {worst.late_s:.2f} s, "
        f"{worst.late_s / evidence.duration_s:.1%}: raise time.dilation"
    )


def snapshots_late(evidence: Evidence) -> str | None:
    """Snapshots that show the model of another time than they say."""
    late = [
        (at - instant, instant, at, node.name)
        for node in evidence.nodes
        for instant, at in node.snapshots_late
    ]
    if not late:
        return None
    _, instant, at, name = max(late)
    return (
        f"{_count(late, 'snapshot')} came late, that of {instant:g} s on {name} shows the model of {at:.2f} s "
        "(taken_s in metrics.csv): raise time.dilation"
    )


def stood_still(evidence: Evidence) -> str | None:
    """Nodes made no round any more, long before the end."""
    still = [node for node in _trained_to_the_end(evidence) if node.stands_still]
    if not still:
        return None
    shown = [
        f"{node.name} since {node.last_round_s or 0.0:.1f} s, "
        + (f"waiting for {_names(list(node.waiting_for))}" if node.waiting_for else "for no recorded reason")
        for node in still
    ]
    nodes = _count(still, "node")
    return f"{nodes} of {len(evidence.progress)} made no round any more, long before the end: {_names(shown, '; ')}"


def too_few_steps(evidence: Evidence) -> str | None:
    """Nodes trained less than the experiment says, in the time in which they waited for nobody."""
    slow = []
    for node in _trained_to_the_end(evidence):
        if node.stands_still or not node.tells_waits or not node.step_time_s or not node.round_s:
            continue
        computed_s = node.present_s - node.waited_s - node.cut_rounds * node.round_s
        share = node.steps * node.step_time_s / computed_s if computed_s > 0 else 1.0
        if computed_s >= MIN_ROUNDS * node.round_s and share < MIN_STEP_SHARE:
            slow.append((share, node.name))
    if not slow:
        return None
    shown = [f"{name} {share:.0%}" for share, name in sorted(slow)]
    nodes = _count(slow, "node")
    return (
        f"{nodes} did less than {MIN_STEP_SHARE:.0%} of the local steps that step_time allows, waits for peers not "
        f"counted: {_names(shown)}: raise time.dilation"
    )


def _trained_to_the_end(evidence: Evidence) -> list[NodeProgress]:
    """A run that failed, or an agent that died, has said so itself."""
    if evidence.status == "failed":
        return []
    return [node for node in evidence.progress if node.name not in evidence.died]


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


def bandwidth_off(evidence: Evidence) -> str | None:
    """Links that are faster or slower than asked, before anything was sent on them."""
    wrong = [one for one in evidence.bandwidths if abs(_error(one)) > MAX_BANDWIDTH_ERROR]
    if not wrong:
        return None
    wrong.sort(key=lambda one: -abs(_error(one)))
    shown = [
        f"{one.where} {format_bandwidth(float(f'{one.measured:.3g}'))} instead of "
        f"{format_bandwidth(float(f'{one.asked:.3g}'))} ({_error(one):+.0%})"
        for one in wrong
    ]
    return (
        f"{len(wrong)} of {len(evidence.bandwidths)} probed directions have another bandwidth than asked "
        f"(at most {MAX_BANDWIDTH_ERROR:.0%} off): {_names(shown)}"
    )


def delay_off(evidence: Evidence) -> str | None:
    """Links or paths that take longer or shorter than asked, before anything else was sent on them."""
    wall = MAX_DELAY_ERROR_WALL_S / evidence.dilation
    wrong = [
        one
        for one in evidence.delays
        if abs(one.measured - one.asked) > max(wall, MAX_DELAY_ERROR_SHARE * one.asked)
    ]
    if not wrong:
        return None
    wrong.sort(key=lambda one: -abs(one.measured - one.asked))
    shown = [f"{one.where} {1e3 * one.measured:.2f} ms instead of {1e3 * one.asked:.2f} ms" for one in wrong]
    return (
        f"{len(wrong)} of {len(evidence.delays)} probed delays are not as asked (at most {1e3 * wall:.2g} ms or "
        f"{MAX_DELAY_ERROR_SHARE:.0%} off): {_names(shown)}"
    )


def delay_missing(evidence: Evidence) -> str | None:
    """Connections whose least round trip is shorter than their links' delays: somewhere a delay was not there."""
    wall = MAX_DELAY_ERROR_WALL_S / evidence.dilation
    wrong = [
        one
        for one in evidence.round_trips
        if one.asked_s - one.measured_s > max(wall, MAX_DELAY_ERROR_SHARE * one.asked_s)
    ]
    if not wrong:
        return None
    shown = [
        f"{one.node} - {one.peer} {1e3 * one.measured_s:.2f} ms instead of {1e3 * one.asked_s:.2f} ms"
        for one in wrong
    ]
    return f"{_count(wrong, 'connection')} had round trips shorter than the links' delays: {_names(shown)}"


def shaping_changed(evidence: Evidence) -> str | None:
    """Somebody else has changed a qdisc."""
    if not evidence.differences:
        return None
    return f"the shaping was changed from outside during the run: {_names(list(evidence.differences), '; ')}"


def waited_for_cores(evidence: Evidence) -> str | None:
    """Agents stood in the run queue."""
    share = evidence.machine.run_delay
    if share is None or share <= MAX_RUN_DELAY:
        return None
    return (
        f"agents waited for a core {share:.0%} of the time (at most {MAX_RUN_DELAY:.0%}): end other programs, or "
        "raise time.dilation"
    )


def saturated(evidence: Evidence) -> str | None:
    """No core was ever idle."""
    samples = evidence.machine.cpu_busy
    full = sum(1 for busy in samples if busy >= SATURATED)
    if not samples or full / len(samples) <= MAX_SATURATED_SHARE:
        return None
    return (
        f"all cores were busy in {full / len(samples):.0%} of the samples (at most {MAX_SATURATED_SHARE:.0%}): end "
        "other programs, or raise time.dilation"
    )


def timers_late(evidence: Evidence) -> str | None:
    """Waits ended too late."""
    waits = sum(node.timer_waits for node in evidence.nodes)
    steps = [node.step_time_s for node in evidence.nodes if node.step_time_s]
    if not waits or not steps:
        return None
    late_s = sum(node.timer_late_s for node in evidence.nodes) / waits
    if late_s <= MAX_TIMER_LATE_SHARE * fmean(steps):
        return None
    return (
        f"agents woke up {1e3 * late_s:.2f} emulated ms late on average, {late_s / fmean(steps):.0%} of a step "
        f"(at most {MAX_TIMER_LATE_SHARE:.0%}): raise time.dilation"
    )


def events_late(evidence: Evidence) -> str | None:
    """Events of the experiment came later than promised."""
    late = [one for one in evidence.applied if one.late_s > MAX_EVENT_LATE_S]
    if not late:
        return None
    shown = [f"{one.text} at {one.planned_s:g} s by {one.late_s:.2f} s" for one in late]
    return (
        f"{_count(late, 'event')} came more than {MAX_EVENT_LATE_S:g} emulated s late: {_names(shown, '; ')}: raise "
        "time.dilation"
    )


def slept(evidence: Evidence) -> str | None:
    """Nobody looked after the run."""
    if not evidence.slept_wall_s:
        return None
    times = "once" if len(evidence.slept_wall_s) == 1 else f"{len(evidence.slept_wall_s)} times"
    return (
        f"the controller stood still {times}, {sum(evidence.slept_wall_s):.1f} s in all, as after Ctrl-Z: nothing was "
        "sampled meanwhile, and what was due came late"
    )


def _error(one: Probed) -> float:
    return one.measured / one.asked - 1


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
    snapshots_late,
    stood_still,
    too_few_steps,
    bandwidth_off,
    delay_off,
    delay_missing,
    shaping_changed,
    waited_for_cores,
    saturated,
    timers_late,
    events_late,
    slept,
    delay_untold,
    delayed_late,
    delayed_lost,
)


def judge(evidence: Evidence) -> Verdict:
    """Every reason to doubt the run, the controller's own first."""
    found = (reason(evidence) for reason in REASONS)
    reasons = [*evidence.reported, *(text for text in found if text is not None), *evidence.problems]
    return Verdict(verdict=DEGRADED if reasons else FAITHFUL, reasons=reasons)


def _count(things: Collection[object], noun: str) -> str:
    return f"1 {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def _names(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
