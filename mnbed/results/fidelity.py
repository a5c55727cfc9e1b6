"""The verdict on the emulation: `faithful`, or `degraded` with reasons.

Each reason is a small function from evidence to a sentence or None. To add one, write it and list it in REASONS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from mnbed.records.outcome import DEGRADED, FAILED, FAITHFUL
from mnbed.results.evidence import Evidence, Probed
from mnbed.results.progress import NodeProgress
from mnbed.units import format_bandwidth
from topologies.rules import natural_order

# One step in twenty may overrun its slot: the agent catches up with shorter waits within the next two steps and keeps
# its pace; beyond that the machine, not the experiment, sets the pace.
MAX_OVERRUN_SHARE = 0.05
# If overruns add up to this share of the duration, computing took visibly longer than the experiment asked for.
MAX_LATENESS_SHARE = 0.02
# An agent ends when the experiment does, plus the time to wake up and close its connections.
MAX_LATE_END_SHARE = 0.02
MIN_LATE_END_S = 0.5
# A node that does not wait for others computes continuously; overruns that are caught up cost nothing. Fewer rounds
# than this say little, because the first and the last are incomplete.
MIN_STEP_SHARE = 0.8
MIN_ROUNDS = 5
# When the machine keeps up, delays are exact to 0.4 ms. One packet in a hundred beyond 1 ms is no longer the occasional
# late wake-up, and TCP sees a path with a different delay than asked for.
MAX_LATE_PACKET_SHARE = 0.01
# Normally a link's rate is exact to 1 %, and the probe to 2 % (bench/fidelity.py).
MAX_BANDWIDTH_ERROR = 0.05
# Delays are exact to 0.5 ms of wall time on a machine that is not busy; a wrong delay is off by more than twice that,
# or by more than the inaccuracy of a long delay (1 %) explains.
MAX_DELAY_ERROR_WALL_S = 1.5e-3
MAX_DELAY_ERROR_SHARE = 0.05
# The shortest of a probe's times is exact even where many of them are not: VirtualBox with several processors holds
# packets back for up to hundreds of milliseconds (mininet/mininet issue 1138). On a sound machine the slowest of seven
# frames is a millisecond or two late, and the best of three trials counts.
MAX_FRAME_LATE_WALL_S = 20e-3
# The share of time that agents were runnable but waited for a core: beyond a third, the scheduler rather than the
# experiment decides who computes. Below that, pacing absorbs the waits, and overruns show where it does not.
MAX_RUN_DELAY = 0.33
# Cores that are almost never idle leave no room for packets and timers to be on time.
SATURATED = 0.95
MAX_SATURATED_SHARE = 0.2
# A late wake-up delays the next step; up to a tenth of a step, the next wait makes up for it.
MAX_TIMER_LATE_SHARE = 0.1
# The accuracy promised for events, in emulated time.
MAX_EVENT_LATE_S = 0.05
# Names listed in a sentence before "and 7 more".
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
        f"late steps add up to {mean_s:.2f} emulated s per node on average, {share:.1%} of the duration (at most "
        f"{MAX_LATENESS_SHARE:.0%}); most on {worst.name}, {worst.late_s:.2f} s, "
        f"{worst.late_s / evidence.duration_s:.1%}: raise time.dilation"
    )


def snapshots_late(evidence: Evidence) -> str | None:
    """Snapshots that show the model at a later time than they claim."""
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
    """Nodes stopped making rounds long before the end."""
    still = [node for node in _trained_to_the_end(evidence) if node.stands_still]
    if not still:
        return None
    shown = [
        f"{node.name} since {node.last_round_s or 0.0:.1f} s, "
        + (f"waiting for {_names(list(node.waiting_for))}" if node.waiting_for else "for no recorded reason")
        for node in still
    ]
    nodes = _count(still, "node")
    return f"{nodes} of {len(evidence.progress)} stopped making rounds long before the end: {_names(shown, '; ')}"


def too_few_steps(evidence: Evidence) -> str | None:
    """Nodes trained less than the experiment says, in the time when they were not waiting for others."""
    slow = []
    for node in _trained_to_the_end(evidence):
        if node.stands_still or not node.records_waits or not node.step_time_s or not node.round_s:
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
        f"{nodes} did less than {MIN_STEP_SHARE:.0%} of the local steps that step_time allows, not counting waits for "
        f"peers: {_names(shown)}: raise time.dilation"
    )


def _trained_to_the_end(evidence: Evidence) -> list[NodeProgress]:
    """The nodes that could train until the end; failed runs and dead agents are reported elsewhere."""
    if evidence.status == FAILED:
        return []
    return [node for node in evidence.progress if node.name not in evidence.died]


def died(evidence: Evidence) -> str | None:
    """Agents died before the end."""
    unreported = [cause for cause in evidence.died.values() if cause not in evidence.reported]
    if not unreported:
        return None
    return f"{_count(evidence.died, 'agent')} died: {_names(unreported, '; ')}"


def rejected(evidence: Evidence) -> str | None:
    """Frames that no agent of this run sent, or that were corrupted on the way."""
    bad = [node for node in evidence.nodes if node.frames_rejected > 0]
    if not bad:
        return None
    frames = _frames_were(sum(node.frames_rejected for node in bad))
    return f"{frames} rejected as foreign, torn or corrupt, by {_names([node.name for node in bad])}"


def not_finite(evidence: Evidence) -> str | None:
    """Frames of nodes whose training diverged."""
    senders = [sender for node in evidence.nodes for sender in node.not_finite_from]
    if not senders:
        return None
    diverged = sorted(set(senders), key=natural_order)
    return (
        f"{_frames_were(len(senders))} refused because values were infinite or NaN: training diverged on "
        f"{_names(diverged)}: lower task.lr"
    )


def descriptors_short(evidence: Evidence) -> str | None:
    """Connections waited for the machine, not for the network."""
    short = [node for node in evidence.nodes if node.descriptor_shortages > 0]
    if not short:
        return None
    total = sum(node.descriptor_shortages for node in short)
    times = "once" if total == 1 else f"{total:,} times"
    return (
        f"connections had to wait {times} for a file descriptor, on {_names([node.name for node in short])}: raise the "
        "limit of open files, `ulimit -Hn`"
    )


def late_end(evidence: Evidence) -> str | None:
    """Nodes were still running when the experiment was over."""
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


def delay_unknown(evidence: Evidence) -> str | None:
    """The delay process ended without leaving statistics."""
    delay = evidence.delay
    if delay is None or None not in (delay.packets, delay.late_over_1ms, delay.lost):
        return None
    return "the NFQUEUE delay left no statistics: it is unknown whether packets had their delays"


def delayed_late(evidence: Evidence) -> str | None:
    """Packets were held longer than their link's delay."""
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
    """Packets were lost by the delay process instead of by a link."""
    lost = evidence.delay.lost if evidence.delay is not None else None
    if not lost:
        return None
    packets = "1 packet" if lost == 1 else f"{lost:,} packets"
    return f"the NFQUEUE delay lost {packets} because its queue was full: raise time.dilation"


def bandwidth_off(evidence: Evidence) -> str | None:
    """Links are faster or slower than asked for, as measured before training."""
    wrong = [probed for probed in evidence.bandwidths if abs(_error(probed)) > MAX_BANDWIDTH_ERROR]
    if not wrong:
        return None
    wrong.sort(key=lambda probed: -abs(_error(probed)))
    shown = [
        f"{probed.where} {format_bandwidth(float(f'{probed.measured:.3g}'))} instead of "
        f"{format_bandwidth(float(f'{probed.asked:.3g}'))} ({_error(probed):+.0%})"
        for probed in wrong
    ]
    return (
        f"{len(wrong)} of {len(evidence.bandwidths)} probed directions do not have the bandwidth asked for "
        f"(at most {MAX_BANDWIDTH_ERROR:.0%} off): {_names(shown)}"
    )


def delay_off(evidence: Evidence) -> str | None:
    """Links or paths have a longer or shorter delay than asked for, as measured before training."""
    wall = MAX_DELAY_ERROR_WALL_S / evidence.dilation
    wrong = [
        probed
        for probed in evidence.delays
        if abs(probed.measured - probed.asked) > max(wall, MAX_DELAY_ERROR_SHARE * probed.asked)
    ]
    if not wrong:
        return None
    wrong.sort(key=lambda probed: -abs(probed.measured - probed.asked))
    shown = [
        f"{probed.where} {1e3 * probed.measured:.2f} ms instead of {1e3 * probed.asked:.2f} ms"
        for probed in wrong
    ]
    return (
        f"{len(wrong)} of {len(evidence.delays)} probed delays are not as asked for (at most {1e3 * wall:.2g} ms or "
        f"{MAX_DELAY_ERROR_SHARE:.0%} off): {_names(shown)}"
    )


def frames_late(evidence: Evidence) -> str | None:
    """Frames of the probe came late, in a network in which nothing else was sent."""
    wall = MAX_FRAME_LATE_WALL_S / evidence.dilation
    late = sorted(
        (frame for frame in evidence.late_frames if frame.late_s > wall), key=lambda frame: -frame.late_s
    )
    if not late:
        return None
    shown = [f"{frame.where} by {1e3 * frame.late_s:.0f} ms" for frame in late]
    return (
        f"{len(late)} of {len(evidence.late_frames)} probed links held a frame back for longer than asked (at most "
        f"{1e3 * wall:.2g} ms): {_names(shown)}: end other programs; in VirtualBox, give the machine one processor"
    )


def delay_missing(evidence: Evidence) -> str | None:
    """Connections with a round trip shorter than their links' delays: some delay was missing."""
    wall = MAX_DELAY_ERROR_WALL_S / evidence.dilation
    wrong = [
        trip
        for trip in evidence.round_trips
        if trip.asked_s - trip.measured_s > max(wall, MAX_DELAY_ERROR_SHARE * trip.asked_s)
    ]
    if not wrong:
        return None
    shown = [
        f"{trip.node} - {trip.peer} {1e3 * trip.measured_s:.2f} ms instead of {1e3 * trip.asked_s:.2f} ms"
        for trip in wrong
    ]
    return f"{_count(wrong, 'connection')} had round trips shorter than the links' delays: {_names(shown)}"


def shaping_changed(evidence: Evidence) -> str | None:
    """Someone else changed a qdisc."""
    if not evidence.differences:
        return None
    return f"the shaping was changed from outside during the run: {_names(list(evidence.differences), '; ')}"


def waited_for_cores(evidence: Evidence) -> str | None:
    """Agents spent too much time in the run queue."""
    share = evidence.machine.run_delay
    if share is None or share <= MAX_RUN_DELAY:
        return None
    return (
        f"agents waited for a core {share:.0%} of the time (at most {MAX_RUN_DELAY:.0%}): end other programs, or "
        "raise time.dilation"
    )


def saturated(evidence: Evidence) -> str | None:
    """All cores were busy too often."""
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
    """Events of the experiment were applied later than promised."""
    late = [event for event in evidence.applied if event.late_s > MAX_EVENT_LATE_S]
    if not late:
        return None
    shown = [f"{event.text} at {event.planned_s:g} s by {event.late_s:.2f} s" for event in late]
    return (
        f"{_count(late, 'event')} came more than {MAX_EVENT_LATE_S:g} emulated s late: {_names(shown, '; ')}: raise "
        "time.dilation"
    )


def slept(evidence: Evidence) -> str | None:
    """The controller was suspended."""
    if not evidence.slept_wall_s:
        return None
    times = "once" if len(evidence.slept_wall_s) == 1 else f"{len(evidence.slept_wall_s)} times"
    return (
        f"the controller was suspended {times}, for {sum(evidence.slept_wall_s):.1f} s in total, as by Ctrl-Z: nothing "
        "was sampled meanwhile, and whatever was due came late"
    )


def _error(probed: Probed) -> float:
    return probed.measured / probed.asked - 1


def failed(evidence: Evidence) -> str | None:
    """The run failed."""
    return "the run failed: see the error" if evidence.status == FAILED and not evidence.reported else None


def no_evidence(evidence: Evidence) -> str | None:
    """Nothing was recorded that could be judged."""
    return None if any(node.steps for node in evidence.nodes) else "no node recorded a single local step"


REASONS: tuple[Callable[[Evidence], str | None], ...] = (
    no_evidence,
    failed,
    died,
    overruns,
    lateness,
    rejected,
    not_finite,
    descriptors_short,
    late_end,
    snapshots_late,
    stood_still,
    too_few_steps,
    bandwidth_off,
    delay_off,
    frames_late,
    delay_missing,
    shaping_changed,
    waited_for_cores,
    saturated,
    timers_late,
    events_late,
    slept,
    delay_unknown,
    delayed_late,
    delayed_lost,
)


def judge(evidence: Evidence) -> Verdict:
    """The verdict, with every reason; the controller's own come first."""
    texts = (reason(evidence) for reason in REASONS)
    reasons = [*evidence.reported, *(text for text in texts if text is not None), *evidence.problems]
    return Verdict(verdict=DEGRADED if reasons else FAITHFUL, reasons=reasons)


def _count(things: Collection[object], noun: str) -> str:
    return f"1 {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def _frames_were(count: int) -> str:
    return "1 frame was" if count == 1 else f"{count:,} frames were"


def _names(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
