"""Bounded waiting by a process that may itself be suspended: the time of its suspension does not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

# The controller polls its agents five times a second. A gap longer than this is not its own work: it was suspended
# (Ctrl-Z, a debugger), or the machine gave it no core.
SLEPT_S = 2.0


class Patience:
    """Runs out after that many seconds without any change."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._at = now()
        self._waited_s = 0.0
        self._seen: Hashable = None

    def ended(self, progress: Hashable = None) -> bool:
        """Whether it has run out; call this often. `progress`: any value that changes while there is progress."""
        now = self._now()
        self._waited_s += min(now - self._at, SLEPT_S)
        self._at = now
        if progress != self._seen:
            self._seen, self._waited_s = progress, 0.0
        return self._waited_s > self._seconds


class SleepWatch:
    """Notices that its own process was suspended between two calls."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._at = now()

    def slept_s(self) -> float:
        """Wall seconds since the last call, if that is longer than any of our work takes; otherwise 0."""
        now = self._now()
        gap, self._at = now - self._at, now
        return gap if gap > SLEPT_S else 0.0
