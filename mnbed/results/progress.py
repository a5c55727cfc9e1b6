"""How far each node got, how long it waited and for whom: from its journal and from what events did to it.

Waiting is what a synchronous algorithm does on a slow link, and no fault of the emulation. A node that stands still is
another matter: `stands_still` tells the two apart by the pace that the node, or the run, had kept before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mnbed.results.collect import NodeRecords
from mnbed.results.journals import time_of
from node_agent.records import Round

# A wait that lasts this many times the longest that went before has no end in sight.
PACES = 5.0
# And shorter than this share of the run it is nothing to speak of.
MIN_SHARE = 0.1
_ROUNDS_OF_A_PACE = 3


@dataclass(frozen=True, kw_only=True)
class NodeProgress:
    """One node's rounds and waits; emulated seconds."""

    name: str
    rounds: int
    steps: int
    present_s: float
    """How long it was there: not killed, not paused, not on its way back."""
    last_round_s: float | None
    """When its last round ended; None: it finished none."""
    idle_s: float
    """From then, or from its start or return, to the end of the run."""
    pace_s: float
    """The longest time that a round of it took, the wait included; at least what a round computes."""
    step_time_s: float | None
    round_s: float | None
    """What a round computes, local steps times step time."""
    waited_s: float
    tells_waits: bool = True
    """False: its journal is of an older version, and says nothing of waits."""
    cut_rounds: int = 0
    """Rounds that events or the run's end cut short: what they had computed may not be recorded."""
    waited_for: Mapping[str, float] = field(default_factory=dict)
    """Peer -> seconds of waits that it ended, or has not ended yet; a wait counts for all whom it was for last."""
    waiting_since_s: float | None = None
    """Of a wait that had not ended when the run did."""
    waiting_for: Sequence[str] = ()
    excused: bool = False
    """An event had killed or paused it when the run ended, or changed links since its last round."""
    stands_still: bool = False
    """Its last round lies so long before the end of the run that no other could be expected."""

    @property
    def waited_share(self) -> float:
        return min(1.0, self.waited_s / self.present_s) if self.present_s > 0 else 0.0

    @property
    def held_up_by(self) -> list[str]:
        """Whom it waits for or, where no wait is open, those for whom it waited longest."""
        if self.waiting_for:
            return list(self.waiting_for)
        return [name for name, _ in sorted(self.waited_for.items(), key=lambda item: -item[1])]

    def expected_rounds(self) -> float | None:
        """What it would have done in its time, had it waited for nobody."""
        return self.present_s / self.round_s if self.round_s else None


def with_stalls(nodes: Sequence[NodeProgress], end_s: float) -> list[NodeProgress]:
    """The same nodes, those marked that stand still when the run ends.

    Whoever has not yet done a few rounds shows no pace of its own: the slowest of the others' is taken. Where nobody
    has, a first model may well be under way still.
    """
    known = [node.pace_s for node in nodes if node.rounds >= _ROUNDS_OF_A_PACE]

    def still(node: NodeProgress) -> bool:
        if node.excused or node.idle_s <= MIN_SHARE * end_s:
            return False
        if node.rounds >= _ROUNDS_OF_A_PACE or node.waiting_since_s is None:
            return node.idle_s > PACES * node.pace_s
        return bool(known) and node.idle_s > PACES * max(known)

    return [replace(node, stands_still=still(node)) for node in nodes]


def node_progress(
    node: NodeRecords,
    *,
    end_s: float,
    step_time_s: float | None,
    local_steps: int,
    events: Sequence[tuple[float, str]],
    reshaped_s: Sequence[float] = (),
) -> NodeProgress:
    """`end_s`: when the run ended; `events`: (when, kill | pause | resume | restart) of this node, in order.

    `reshaped_s`: when events changed links.
    """
    times = [t for record in node.rounds if (t := time_of(record)) is not None]
    round_s = None if step_time_s is None else local_steps * step_time_s
    absent_s, back_s, gone = _absence(events, times, round_s or 0.0, end_s)
    last_s = max([*times[-1:], back_s])
    waited_for = _waited_for(node.rounds)
    since_s, missing = _open_wait(node, last_s)
    open_s = 0.0 if since_s is None or gone else max(0.0, end_s - since_s)
    for name in missing:
        waited_for[name] = waited_for.get(name, 0.0) + open_s
    counters = node.counters()
    waited_s = sum(record.get("waited_s") or 0.0 for record in node.rounds) + open_s
    return NodeProgress(
        name=node.name,
        rounds=len(node.rounds),
        steps=node.steps(),
        present_s=max(0.0, end_s - absent_s),
        last_round_s=times[-1] if times else None,
        idle_s=max(0.0, end_s - last_s),
        pace_s=max([round_s or 0.0, *_gaps(times, events)]),
        step_time_s=step_time_s,
        round_s=round_s,
        waited_s=max(waited_s, counters.waited_s if counters else 0.0),
        tells_waits=not node.rounds or any("waited_s" in record for record in node.rounds),
        cut_rounds=1 + sum(action == "kill" for _, action in events),
        waited_for=waited_for,
        waiting_since_s=since_s,
        waiting_for=missing,
        excused=gone or any(t >= last_s - (round_s or 0.0) for t in reshaped_s),
    )


def _absence(
    events: Sequence[tuple[float, str]], rounds: Sequence[float], round_s: float, end_s: float
) -> tuple[float, float, bool]:
    """(seconds for which it was away, when it came back last, whether it was away at the end)"""
    total_s, back_s, since_s = 0.0, 0.0, None
    for t, action in events:
        if action in ("kill", "pause"):
            since_s = t if since_s is None else since_s
        elif since_s is not None:
            back_s = t
            if action == "restart":  # a new agent takes a while until it trains
                first = next((ended for ended in rounds if ended > t), t)
                back_s = max(t, first - round_s)
            total_s, since_s = total_s + back_s - since_s, None
    if since_s is not None:
        total_s += max(0.0, end_s - since_s)
    return total_s, back_s, since_s is not None


def _gaps(rounds: Sequence[float], events: Sequence[tuple[float, str]]) -> list[float]:
    """Times between rounds, and before the first, in which no event touched the node."""
    starts = [0.0, *rounds]
    return [
        end - start
        for start, end in zip(starts, rounds, strict=False)
        if not any(start <= t <= end for t, _ in events)
    ]


def _waited_for(rounds: Sequence[Round]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for record in rounds:
        for name in record.get("waited_for") or ():
            total[str(name)] += float(record.get("waited_s") or 0.0)
    return dict(total)


def _open_wait(node: NodeRecords, last_s: float) -> tuple[float | None, list[str]]:
    """(since when, for whom) of a wait after the last round."""
    record = node.waiting
    if record is None or not isinstance(record.get("since"), (int, float)) or record["since"] < last_s - 1e-3:
        return None, []
    return float(record["since"]), [str(name) for name in record.get("of") or ()]
