"""Emulated and wall-clock time. All agents share the machine's monotonic clock and one start, so their clocks agree."""

from __future__ import annotations

import threading
import time


class EmulatedClock:
    """One emulated second lasts `dilation` wall seconds. Negative before the common start."""

    def __init__(self, start_monotonic_s: float, dilation: float) -> None:
        self._start = start_monotonic_s
        self._dilation = dilation

    def now(self) -> float:
        """Emulated seconds since the common start."""
        return (time.monotonic() - self._start) / self._dilation

    def wall_seconds_until(self, emulated_s: float) -> float:
        """Wall seconds left until that emulated instant; negative once it has passed."""
        return self._start + emulated_s * self._dilation - time.monotonic()

    def wait_until(self, emulated_s: float, stop: threading.Event) -> bool:
        """Sleep until that instant. Returns False if `stop` was set first."""
        while (left := self.wall_seconds_until(emulated_s)) > 0:
            if stop.wait(left):
                return False
        return not stop.is_set()
