"""Lets other threads have work done by the loop that owns a selector, so that the loop's data needs no lock.

The timeline and the prompt post their requests; a pipe wakes the loop, which handles them between two events. Waiting
for an answer is bounded, and ends when the loop does.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mnbed.errors import Interrupted, RunError
from mnbed.run.patience import Patience

T = TypeVar("T")

# The loop handles every request within milliseconds; without a bound, a bug would hang the prompt.
_ANSWER_PATIENCE_S = 30.0
_LOOK_S = 1.0


class RunIsOver(RunError):
    """The loop accepts no more work."""

    def __init__(self) -> None:
        super().__init__("the run is over, and its agents are being ended")


class Mailbox:
    """Work for the thread that runs the selector's loop."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._lock = threading.Lock()
        self._closed = False
        self._posted: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._awaited: list[tuple[Callable[[], bool], Future[None]]] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        selector.register(self._wake_read, selectors.EVENT_READ, self._work)

    # From any other thread

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have the loop do that. The future gets the work's exception, or RunIsOver."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(RunIsOver())
            else:
                self._posted.append((work, future))
                with contextlib.suppress(BlockingIOError):  # the pipe is full, so the loop is awake already
                    os.write(self._wake_write, b"!")
        return future

    def ask(self, work: Callable[[], T], patience_s: float | None = None) -> T:
        """Have the loop do that, and wait for the answer. Raises RunIsOver, RunError, or what the work raises.

        patience_s: wall seconds; None: far longer than any work takes.
        """
        patience_s = _ANSWER_PATIENCE_S if patience_s is None else patience_s
        future = self.submit(work)
        if not _answered(future, patience_s):
            raise RunError(f"the run has not answered for {patience_s:g} s")
        return future.result()

    def wait_for(self, condition: Callable[[], bool], patience_s: float) -> bool:
        """Wait until the loop finds that the condition holds; False if it did not in time. Raises RunIsOver.

        patience_s: wall seconds.
        """
        settled: Future[None] = Future()
        self.ask(lambda: self._awaited.append((condition, settled)))
        if not _answered(settled, patience_s):
            return False
        settled.result()  # raises RunIsOver if the run ended first
        return True

    # From the loop's thread

    def settle(self) -> None:
        """Answer those whose condition holds by now. Call it after every turn of the loop."""
        waiting, self._awaited = self._awaited, []
        for condition, settled in waiting:
            if settled.cancelled():
                continue
            if not condition():
                self._awaited.append((condition, settled))
            elif settled.set_running_or_notify_cancel():
                settled.set_result(None)

    def refuse(self) -> None:
        """From now on refuse all work, including work not yet done; a second call does nothing."""
        with self._lock:
            self._closed = True
        futures = [future for _, future in self._posted] + [settled for _, settled in self._awaited]
        self._posted.clear()
        self._awaited.clear()
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(RunIsOver())

    def close(self) -> None:
        """Refuse all work and leave the selector."""
        self.refuse()
        self._selector.unregister(self._wake_read)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _work(self) -> list[object]:
        """Called by the selector; returns no events."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while self._posted:
            work, future = self._posted.popleft()
            if future.set_running_or_notify_cancel():
                _do(work, future)
        return []


def _answered(future: Future[Any], patience_s: float) -> bool:
    """Wait for the future; False if its work had not even begun in time, and now never will."""
    patience = Patience(patience_s)
    while not concurrent.futures.wait([future], min(patience_s, _LOOK_S)).done:
        if patience.ended():
            if future.cancel():
                return False
            concurrent.futures.wait([future])  # the work has begun
    return True


def _do(work: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(work())
    except Interrupted:  # a signal, which is meant for the loop and not for the thread that asked
        future.set_exception(RunIsOver())
        raise
    except Exception as error:
        future.set_exception(error)
