"""Waiting with a bound: progress renews it, and time through which this process slept does not count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mnbed.network.processes import is_stopped
from mnbed.run.activity import activity
from mnbed.run.patience import SLEPT_S, Patience, SleepWatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def rounds(self, patience: Patience, count: int, every_s: float = 0.2, progress: object = None) -> bool:
        ended = False
        for _ in range(count):
            self.now += every_s
            ended = patience.ended(progress)
        return ended


def test_it_ends_after_its_time() -> None:
    clock = Clock()
    patience = Patience(10.0, clock)
    assert not clock.rounds(patience, 49)
    assert clock.rounds(patience, 3)


def test_whatever_gets_on_has_all_the_time() -> None:
    clock = Clock()
    patience = Patience(10.0, clock)
    for step in range(100):
        assert not clock.rounds(patience, 45, progress=("ticks", step))
    assert clock.rounds(patience, 60, progress=("ticks", 99))


def test_sleep_does_not_count() -> None:
    clock = Clock()
    patience = Patience(10.0, clock)
    assert not clock.rounds(patience, 3, every_s=3600)
    assert clock.rounds(patience, 60)


def test_a_gap_is_noticed_once() -> None:
    clock = Clock()
    watch = SleepWatch(clock)
    clock.now += SLEPT_S * 0.9
    assert watch.slept_s() == 0
    clock.now += 83
    assert watch.slept_s() == pytest.approx(83)
    clock.now += 0.2
    assert watch.slept_s() == 0


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_reads_is_active_and_one_that_waits_is_not() -> None:
    echo = "import os\nwhile data := os.read(0, 100): os.write(1, data)"
    with child(echo) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            before = activity(process.pid)
            os.write(process.stdin.fileno(), b"x" * 50)
            assert os.read(process.stdout.fileno(), 100) == b"x" * 50
            after = activity(process.pid)
            assert after > before
        assert not is_stopped(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert is_stopped(process.pid)
        assert activity(process.pid) == activity(process.pid)


def test_the_children_of_a_session_count() -> None:
    code = "import subprocess\nsubprocess.run(['echo', 'done'])\ninput()"
    with child(code) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert activity(process.pid)[1] > 0


def test_no_processes_are_not_active() -> None:
    assert activity(2**22 + 1) == (0, 0)
