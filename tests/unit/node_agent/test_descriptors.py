"""Waiting works with descriptors of any number."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import time
from collections.abc import Callable, Iterator

import pytest

from node_agent.descriptors import PreciseWait, wait_readable


class Pipe:
    """A pipe whose reading end may have a number that `select.select` does not accept."""

    def __init__(self, least: int) -> None:
        low, self.writing = os.pipe()
        self.reading = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, least)
        os.close(low)

    def fileno(self) -> int:
        return self.reading

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture(params=[3, 1024, 1500])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
    pipe = Pipe(request.param)
    yield pipe
    pipe.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(params=["wait_readable", "PreciseWait"])
def wait(request: pytest.FixtureRequest, pipe: Pipe) -> Callable[[float], bool]:
    if request.param == "PreciseWait":
        return PreciseWait(pipe.fileno())
    return lambda seconds: wait_readable(pipe, seconds)


def test_waiting_data_is_seen_at_once(pipe: Pipe, wait: Callable[[float], bool]) -> None:
    os.write(pipe.writing, b"x")
    began = time.monotonic()
    assert wait(60.0)
    assert time.monotonic() - began < 10


def test_the_end_is_seen(pipe: Pipe, wait: Callable[[float], bool]) -> None:
    os.close(pipe.writing)
    assert wait(60.0) is True


def test_waiting_times_out(wait: Callable[[float], bool]) -> None:
    began = time.monotonic()
    assert wait(0.05) is False
    assert 0.049 <= time.monotonic() - began < 10


def test_a_precise_wait_is_not_rounded_to_milliseconds(pipe: Pipe) -> None:
    """A hundred waits of 50 us: rounded up they would take 100 ms; the fastest counts, as the machine may be busy."""
    wait = PreciseWait(pipe.fileno())
    took = []
    for _ in range(100):
        began = time.perf_counter()
        wait(50e-6)
        took.append(time.perf_counter() - began)
    assert 50e-6 <= min(took) < 500e-6


def test_waiting_for_ever_ends_when_data_comes(pipe: Pipe) -> None:
    os.write(pipe.writing, b"x")
    assert PreciseWait(pipe.fileno())(None)
