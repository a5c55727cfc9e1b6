"""Packets that wait their time at one host: ids and deadlines, and which verdicts let them go with the fewest words.

A batch verdict frees every waiting packet up to an id. It may be used for the packets that are due as far as no packet
with a smaller id is still to wait; the others get a verdict each.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Released:
    """What to tell the kernel."""

    up_to: int | None = None
    """Free every packet with this id or a smaller one."""
    single: list[int] = field(default_factory=list)
    count: int = 0
    """Packets in all."""
    longest_late_s: float = 0.0
    late: int = 0
    """Of these packets, more than a millisecond late."""


class DelayLine:
    """All packets of one host, in the order of their ids."""

    def __init__(self) -> None:
        # One line for each delay: whoever comes later leaves later.
        self._lines: dict[float, deque[tuple[float, int]]] = {}
        # Where delays vary, a later one may overtake.
        self._spread: list[tuple[float, int]] = []
        self._waiting: deque[int] = deque()
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting) - len(self._gone)

    def add(self, number: int, arrived_s: float, delay_s: float) -> None:
        """A packet that waits as long as all with this delay."""
        line = self._lines.get(delay_s)
        if line is None:
            line = self._lines[delay_s] = deque()
        line.append((arrived_s + delay_s, number))
        self._waiting.append(number)

    def add_spread(self, number: int, deadline_s: float) -> None:
        """A packet with a deadline of its own."""
        heapq.heappush(self._spread, (deadline_s, number))
        self._waiting.append(number)

    def next_deadline(self) -> float | None:
        """When the first packet is due; None: nobody waits."""
        deadlines = [line[0][0] for line in self._lines.values() if line]
        if self._spread:
            deadlines.append(self._spread[0][0])
        return min(deadlines, default=None)

    def release(self, horizon_s: float, now_s: float) -> Released | None:
        """Every packet with a deadline of at most `horizon_s`; None: there is none."""
        found = Released()
        due: list[int] = []
        for delay_s, line in list(self._lines.items()):
            if line and line[0][0] <= horizon_s:
                self._note_late(found, now_s - line[0][0])
                while line and line[0][0] <= horizon_s:
                    deadline, number = line.popleft()
                    due.append(number)
                    found.late += now_s - deadline > 1e-3
            if not line:
                # A delay that events have left behind must not stay for ever.
                del self._lines[delay_s]
        while self._spread and self._spread[0][0] <= horizon_s:
            deadline, number = heapq.heappop(self._spread)
            self._note_late(found, now_s - deadline)
            due.append(number)
            found.late += now_s - deadline > 1e-3
        if not due:
            return None
        found.count = len(due)
        self._sort_out(due, found)
        return found

    def _note_late(self, found: Released, late_s: float) -> None:
        found.longest_late_s = max(found.longest_late_s, late_s)

    def _sort_out(self, due: list[int], found: Released) -> None:
        """Which of them the batch verdict takes."""
        waiting, gone = self._waiting, self._gone
        if len(due) == len(waiting) - len(gone):
            found.up_to = max(due)
            waiting.clear()
            gone.clear()
            return
        gone.update(due)
        while waiting and waiting[0] in gone:
            found.up_to = waiting.popleft()
            gone.discard(found.up_to)
        if gone:
            # Those that go before others with smaller ids; the ones of earlier calls have gone already.
            found.single = [number for number in due if number in gone]
