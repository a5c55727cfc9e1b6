"""Emulated time against wall-clock time."""

from __future__ import annotations

import threading
import time

from node_agent.clock import EmulatedClock


def test_emulated_time_passes_dilation_times_slower() -> None:
    """Between two readings of the machine's own clock, so that no pause of this process matters."""
    start = time.monotonic() - 8.0
    clock = EmulatedClock(start, 4.0)
    before = time.monotonic()
    now, left = clock.now(), clock.wall_seconds_until(3.0)
    after = time.monotonic()
    assert (before - start) / 4.0 <= now <= (after - start) / 4.0
    assert start + 12.0 - after <= left <= start + 12.0 - before


def test_it_is_negative_before_the_start() -> None:
    assert EmulatedClock(time.monotonic() + 100, 1.0).now() < 0


def test_waiting_ends_at_the_instant() -> None:
    clock = EmulatedClock(time.monotonic(), 0.5)
    assert clock.wait_until(0.1, threading.Event())
    assert clock.now() >= 0.1
    assert clock.wait_until(0.05, threading.Event())  # past already


def test_waiting_ends_on_request() -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert not EmulatedClock(time.monotonic(), 1.0).wait_until(60.0, stop)
    assert time.monotonic() - began < 10
    assert not EmulatedClock(time.monotonic() - 5, 1.0).wait_until(1.0, stop)
