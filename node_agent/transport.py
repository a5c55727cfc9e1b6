"""An agent's I/O thread: one selector over all of its sockets; those to and from peers belong to `outgoing` and
`incoming`.

A connection carries frames one way, from the node that opened it; it is opened when first needed, and kept. Nothing
here ever blocks: neither a slow peer nor a suspended controller holds up the others.

This module knows frames and peers, but not what they are for: what arrives is passed to a callback.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from node_agent import control_messages, wire
from node_agent.algorithms import Outbox
from node_agent.clock import EmulatedClock
from node_agent.control import ControlChannel
from node_agent.counters import Counters
from node_agent.incoming import Arrivals, CannotListen
from node_agent.journal import Journal
from node_agent.limits import Limits
from node_agent.outgoing import Sender
from node_agent.presence import Presence
from node_agent.settings import AgentSettings

__all__ = ["CannotListen", "Transport"]

log = logging.getLogger(__name__)


@dataclass
class _OneWay:
    """Transit times of one sender's frames; all hosts share one clock."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    largest: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.least, self.largest = min(self.least, seconds), max(self.largest, seconds)


class Transport:
    """The I/O thread of one agent."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        counters: Counters,
        journal: Journal,
        new_receiver: Callable[[], wire.Receiver],
        on_fragment: Callable[[wire.Fragment], Outbox | None],
        on_peer: Callable[[int, bool], None],
        control: ControlChannel,
        on_control: Callable[[control_messages.Message | None], None],
        status: Callable[[], control_messages.Status],
        exchange: str = "parallel",
        limits: Limits | None = None,
    ) -> None:
        """Listens at once; peers are heard from `begin` on. Raises CannotListen.

        `on_peer(index, joined)` reports peers that come and go; `on_control(None)` that the controller is gone.
        All callbacks run in the I/O thread.
        """
        self._settings = settings
        self._counters = counters
        self._journal = journal
        self._on_fragment = on_fragment
        self._control = control
        self._on_control = on_control
        self._status = status
        self._limits = limits or Limits()
        self._names = {peer.index: peer.name for peer in settings.peers}
        self._one_way: dict[int, _OneWay] = {}
        self._round_trips: dict[str, float] = {}
        self._clock: EmulatedClock | None = None
        self._submitted: deque[Outbox] = deque()
        self._to_watch: deque[int] = deque()
        self._controlled = True
        self._finishing = self._finished = self._closing = False
        self._quiet = threading.Event()
        self._next_look_wall_s = 0.0
        self.error: BaseException | None = None
        self._selector = selectors.DefaultSelector()
        presence = Presence(self._names, on_peer)
        self._sender = Sender(
            settings,
            self._selector,
            exchange=exchange,
            counters=counters,
            journal=journal,
            presence=presence,
            limits=self._limits,
            now=self._now,
        )
        try:
            self._arrivals = Arrivals(
                settings,
                self._selector,
                new_receiver=new_receiver,
                on_fragment=self._take_fragment,
                before_hello=self._sender.notice_end,
                counters=counters,
                journal=journal,
                presence=presence,
                limits=self._limits,
                now=self._now,
            )
        except CannotListen:
            self._selector.close()
            raise
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, lambda _: self._drain_wake())
        self._selector.register(control, selectors.EVENT_READ, lambda _: self._read_control())
        self._thread = threading.Thread(target=self._run, name="io", daemon=True)

    # Called from the training thread

    def start(self) -> None:
        """Start the I/O thread."""
        self._thread.start()

    def begin(self, clock: EmulatedClock) -> None:
        """The common start is known: sending and accepting may begin."""
        self._clock = clock
        self._wake()

    def watch(self, peers: Iterable[int]) -> None:
        """Connect to those that have no connection, so that their end is noticed even if nothing is sent to them."""
        self._to_watch.extend(peers)
        self._wake()

    def submit(self, outbox: Outbox) -> None:
        """Hand over what to send; returns at once."""
        self._submitted.append(outbox)
        self._wake()

    def finish(self) -> None:
        """Stop reading, counting and beginning new frames, and say BYE to peers.

        Returns once that is done: from then on the I/O thread changes nothing that the caller may read, and ignores
        what peers do. Connections stay open until `close`.
        """
        self._finishing = True
        self._wake()
        self._quiet.wait()

    def close(self) -> None:
        """End the I/O thread and close every socket; a second call does nothing."""
        if self._wake_write < 0:
            return
        self._closing = True
        self._wake()
        self._thread.join()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)
        self._wake_write = -1

    def round_trip_times(self) -> dict[str, float]:
        """Smallest round-trip time the kernel has measured to each connected peer, emulated seconds. After `finish`."""
        return self._round_trips

    def one_way_times(self) -> dict[str, list[float]]:
        """Sender -> smallest, mean and largest time from a frame's first byte sent to its last received.

        Emulated seconds. After `finish`.
        """
        return {
            self._names.get(sender, str(sender)): [
                round(value, 6) for value in (times.least, times.total / times.count, times.largest)
            ]
            for sender, times in self._one_way.items()
        }

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so the thread is awake already
            os.write(self._wake_write, b"!")

    # The I/O thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except BaseException as error:
            self.error = error
            log.exception("the I/O thread failed")
            self._on_control(None)
        finally:
            self._sender.close()
            self._arrivals.close()
            self._selector.close()
            self._quiet.set()

    def _turn(self) -> None:
        """Handle what came in, then send: nothing is written in the middle of a batch of the selector's events."""
        for key, events in self._selector.select(timeout=self._timeout_s()):
            # One event may end a connection that a later one of the batch is about: its handler then does nothing.
            key.data(events)
        if self._finishing and not self._finished:
            self._finish()
        if self._clock is None:
            return
        if not self._finished:
            self._arrivals.open()
            while self._submitted:
                self._sender.enqueue(self._submitted.popleft())
            while self._to_watch:
                self._sender.watch(self._to_watch.popleft())
        if time.monotonic() >= self._next_look_wall_s:
            self._next_look_wall_s = time.monotonic() + self._limits.status_wall_s
            self._look_around()
        self._sender.advance()

    def _timeout_s(self) -> float:
        """How long the selector may wait, wall seconds."""
        longest_s = self._limits.status_wall_s / 2
        if self._clock is None:
            return longest_s
        patience_s = self._sender.patience_s()
        return longest_s if patience_s is None else min(longest_s, patience_s * self._settings.dilation)

    def _look_around(self) -> None:
        """Do what is due every now and then."""
        if self._finished:
            return
        self._sender.retry()
        self._arrivals.sweep()
        if self._controlled:
            try:
                if not self._control.offer("status", **self._status()):
                    self._counters.statuses_dropped += 1
            except OSError:
                self._lose_control()

    def _finish(self) -> None:
        self._finished = True
        self._submitted.clear()
        self._round_trips = self._sender.round_trip_times()
        self._arrivals.finish()
        self._sender.finish()
        self._quiet.set()

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _read_control(self) -> None:
        messages = self._control.receive()
        if messages is None:
            self._lose_control()
            return
        for message in messages:
            self._on_control(message)

    def _lose_control(self) -> None:
        """The controller is gone; reported once."""
        if self._controlled:
            self._controlled = False
            self._selector.unregister(self._control)
            self._on_control(None)

    def _now(self) -> float:
        assert self._clock is not None
        return self._clock.now()

    def _take_fragment(self, fragment: wire.Fragment) -> None:
        self._counters.fragments_received += 1
        self._one_way.setdefault(fragment.sender, _OneWay()).add(self._now() - fragment.sent_s)
        if self._settings.ledger:
            self._journal.write(
                "arrived",
                round=fragment.round,
                fragment=fragment.index,
                sender=self._names.get(fragment.sender, str(fragment.sender)),
                sent=round(fragment.sent_s, 6),
                bytes=wire.frame_bytes(fragment.values.nbytes),
            )
        reply = self._on_fragment(fragment)
        if reply is not None:
            self._sender.enqueue(reply)
