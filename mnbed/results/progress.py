"""How far each node got, how long it waited and for whom: from its journal and from what events did to it.

Waiting is what a synchronous algorithm does on a slow link, and not a fault of the emulation. A node that is stuck is
different: `stands_still` distinguishes the two by the earlier pace of the node, or of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mnbed.results.collect import NodeRecords
from mnbed.results.journals import time_of
from node_agent.records import Round

# A wait that lasts this many times the longest one before counts as stuck.
PACES = 5.0
# A wait shorter than this share of the run does not matter.
MIN_SHARE = 0.1
_ROUNDS_OF_A_PACE = 3


@dataclass(frozen=True, kw_only=True)
class NodeProgress:
    """A node's rounds and waits; emulated seconds."""

    name: str
    rounds: int
    steps: int
    present_s: float
    """How long it was present: not killed, paused or restarting."""
    last_round_s: float | None
    """When its last round ended; None if it finished none."""
    idle_s: float
    """Time from then, or from its start or return, to the end of the run."""
    pace_s: float
    """The longest time that one of its rounds took, waits included; at least the computing time of a round."""
    step_time_s: float | None
    round_s: float | None
    """Computing time of a round: local steps times step time."""
    waited_s: float
    records_waits: bool = True
    """False if its journal is from an older version that does not record waits."""
    cut_rounds: int = 0
    """Rounds cut short by events or the end of the run: their computation may not be recorded."""
    waited_for: Mapping[str, float] = field(default_factory=dict)
    """Peer -> seconds of waits for it; a wait counts for every peer that was still missing at its end."""
    waiting_since_s: float | None = None
    """Start of a wait that was still going on at the end of the run."""
    waiting_for: Sequence[str] = ()
    excused: bool = False
    """Whether an event had killed or paused it at the end, or changed links since its last round."""
    stands_still: bool = False
    """Whether its last round was so long before the end of the run that it must have been stuck."""

    @property
    def waited_share(self) -> float:
        return min(1.0, self.waited_s / self.present_s) if self.present_s > 0 else 0.0

    @property
    def held_up_by(self) -> list[str]:
        """The peers it waits for or, if it does not, those it waited for, longest first."""
        if self.waiting_for:
            return list(self.waiting_for)
        return [name for name, _ in sorted(self.waited_for.items(), key=lambda item: -item[1])]

    def expected_rounds(self) -> float | None:
        """Rounds it would have finished in its time without waiting for others."""
        return self.present_s / self.round_s if self.round_s else None


def with_stalls(nodes: Sequence[NodeProgress], end_s: float) -> list[NodeProgress]:
    """The same nodes, with those marked that are stuck at the end of the run.

    A node that has done only a few rounds has no pace of its own: that of the slowest other node is used. If no node
    has one, a first model may still be on its way.
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
        records_waits=not node.rounds or any("waited_s" in record for record in node.rounds),
        cut_rounds=1 + sum(action == "kill" for _, action in events),
        waited_for=waited_for,
        waiting_since_s=since_s,
        waiting_for=missing,
        excused=gone or any(t >= last_s - (round_s or 0.0) for t in reshaped_s),
    )


def _absence(
    events: Sequence[tuple[float, str]], rounds: Sequence[float], round_s: float, end_s: float
) -> tuple[float, float, bool]:
    """(seconds it was absent, when it last came back, whether it was absent at the end)"""
    total_s, back_s, since_s = 0.0, 0.0, None
    for t, action in events:
        if action in ("kill", "pause"):
            since_s = t if since_s is None else since_s
        elif since_s is not None:
            back_s = t
            if action == "restart":  # a new agent needs a while before it trains
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
