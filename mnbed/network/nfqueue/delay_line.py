"""The packets that wait at a host: ids and deadlines, and which verdicts release them in the fewest messages.

A batch verdict releases every waiting packet up to an id. It can be used for due packets as long as no packet with a
smaller id still has to wait; the others get a verdict each.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Released:
    """What to tell the kernel."""

    up_to: int | None = None
    """Release every packet with this id or a smaller one."""
    single: list[int] = field(default_factory=list)
    count: int = 0
    """Number of packets in all."""
    longest_late_s: float = 0.0
    late: int = 0
    """How many of them were more than a millisecond late."""


class DelayLine:
    """All packets of one host, in the order of their ids."""

    def __init__(self) -> None:
        # One line for each delay: the packet that arrives later leaves later.
        self._lines: dict[float, deque[tuple[float, int]]] = {}
        # If delays vary, a later packet may overtake an earlier one.
        self._spread: list[tuple[float, int]] = []
        self._waiting: deque[int] = deque()
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting) - len(self._gone)

    def add(self, number: int, arrived_s: float, delay_s: float) -> None:
        """Add a packet with a delay that it shares with others."""
        line = self._lines.get(delay_s)
        if line is None:
            line = self._lines[delay_s] = deque()
        line.append((arrived_s + delay_s, number))
        self._waiting.append(number)

    def add_spread(self, number: int, deadline_s: float) -> None:
        """Add a packet with a deadline of its own."""
        heapq.heappush(self._spread, (deadline_s, number))
        self._waiting.append(number)

    def next_deadline(self) -> float | None:
        """When the first packet is due; None: none waits."""
        deadlines = [line[0][0] for line in self._lines.values() if line]
        if self._spread:
            deadlines.append(self._spread[0][0])
        return min(deadlines, default=None)

    def release(self, horizon_s: float, now_s: float) -> Released | None:
        """Every packet with a deadline of at most `horizon_s`; None: there is none."""
        released = Released()
        due: list[int] = []
        for delay_s, line in list(self._lines.items()):
            if line and line[0][0] <= horizon_s:
                self._note_late(released, now_s - line[0][0])
                while line and line[0][0] <= horizon_s:
                    deadline, number = line.popleft()
                    due.append(number)
                    released.late += now_s - deadline > 1e-3
            if not line:
                # A delay that events have made obsolete must not stay for ever.
                del self._lines[delay_s]
        while self._spread and self._spread[0][0] <= horizon_s:
            deadline, number = heapq.heappop(self._spread)
            self._note_late(released, now_s - deadline)
            due.append(number)
            released.late += now_s - deadline > 1e-3
        if not due:
            return None
        released.count = len(due)
        self._sort_out(due, released)
        return released

    def _note_late(self, released: Released, late_s: float) -> None:
        released.longest_late_s = max(released.longest_late_s, late_s)

    def _sort_out(self, due: list[int], released: Released) -> None:
        """Decide which of them the batch verdict releases."""
        waiting, gone = self._waiting, self._gone
        if len(due) == len(waiting) - len(gone):
            released.up_to = max(due)
            waiting.clear()
            gone.clear()
            return
        gone.update(due)
        while waiting and waiting[0] in gone:
            released.up_to = waiting.popleft()
            gone.discard(released.up_to)
        if gone:
            # Those that leave before others with smaller ids; those of earlier calls have left already.
            released.single = [number for number in due if number in gone]
