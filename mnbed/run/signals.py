"""What Ctrl-C and SIGTERM do in each phase of a run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from mnbed.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Turns signals into an exception, or, inside `gently`, into a flag that the training loop checks."""

    def __init__(self) -> None:
        self.interrupted = False
        self._gentle = False
        self._deaf = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[Signals]:
        """Install the handlers; restore the previous ones on leaving."""
        former = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def gently(self) -> Iterator[None]:
        """The first signal only sets `interrupted`; a second one raises."""
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False

    def check(self) -> None:
        """Raises Interrupted if a signal has arrived."""
        if self.interrupted:
            raise Interrupted("interrupted")

    @contextlib.contextmanager
    def ignored(self) -> Iterator[None]:
        """For teardown, which must not be cut short: it is quick, and leftovers would obstruct the next run."""
        former, self._deaf = self._deaf, True
        try:
            yield
        finally:
            self._deaf = former

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._deaf:
            self.interrupted = True
            return
        if self._gentle and not self.interrupted:
            self.interrupted = True
            return
        self.interrupted = True
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")
