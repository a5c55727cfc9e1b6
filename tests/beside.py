"""Runs the unit tests and some more beside the others, in a session of their own, with one result.

Tests of networks and of whole runs mostly wait, unit tests compute: together they fill two cores. So where a session
of root has both, a second pytest runs the unit tests, and those with the marker `beside`, at the lowest priority and in
namespaces of its own: neither sees the other's processes, interfaces and rules. The first session replays the second's
reports, item by item; a test whose report never comes is run in the first session after all. Tests with the marker
`quiet`, whose runs must find the cores idle, come first: the second session begins after them.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

# In the second session alone: the descriptor that takes its reports.
_DESCRIPTOR = "MNBED_TESTS_BESIDE"
# Taken out of the environment: sessions that tests start are none of this kind.
_descriptor = os.environ.pop(_DESCRIPTOR, None)
# For fewer, a second session is not worth its start.
_MIN_TESTS = 200
# Options of someone who looks at single tests, or that name a file which two sessions would both write.
_FOR_ONE_SESSION = (
    "basetemp",
    "collectonly",
    "failedfirst",
    "lf",
    "maxfail",
    "setuponly",
    "setupplan",
    "stepwise",
    "trace",
    "usepdb",
    "xmlpath",
)
_INSIDE = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/lock && ip link set lo up && exec "$@"'
_NAMESPACES = ("--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc")


def is_second_session() -> bool:
    """Whether this session runs the unit tests for another one."""
    return _descriptor is not None


def is_wanted(config: pytest.Config, items: list[pytest.Item]) -> bool:
    """Whether these tests are worth a second session, and this machine and command line allow one."""
    beside = sum(_may_be_beside(item) for item in items)
    return (
        os.geteuid() == 0
        and len(os.sched_getaffinity(0)) >= 2
        and beside >= _MIN_TESTS
        and any(_waits(item) for item in items)
        and not any(getattr(config.option, name, None) for name in _FOR_ONE_SESSION)
        and config.option.capture != "no"
    )


def _waits(item: pytest.Item) -> bool:
    return _has(item, "root") and not _is_unit_test(item)


def _wants_quiet(item: pytest.Item) -> bool:
    return _has(item, "quiet")


def _may_be_beside(item: pytest.Item) -> bool:
    return _has(item, "beside") or (_is_unit_test(item) and not _has(item, "root"))


def _is_unit_test(item: pytest.Item) -> bool:
    return item.nodeid.startswith("tests/unit/")


def _has(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None


class SecondSession:
    """A plugin of the second session: it runs those tests alone, and passes on their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        assert _descriptor is not None
        self._pipe = Connection(int(_descriptor), readable=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _may_be_beside(item)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._pipe.send(plain)


class FirstSession:
    """A plugin of the first session: it starts the second, and replays its reports."""

    def __init__(
        self, config: pytest.Config, items: list[pytest.Item], when_ended: Callable[[], None]
    ) -> None:
        """`when_ended` is called, in a thread, when the second session has run its tests."""
        self._config = config
        self._when_ended = when_ended
        self._process: subprocess.Popen[bytes] | None = None
        self._over, self._stands_back = False, True
        self._tests = {item.nodeid for item in items if _may_be_beside(item)}
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed in pytest_unconfigure
        self._arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        """Reports as they came; None: there will be no more."""
        items.sort(key=lambda item: (not _wants_quiet(item), item.nodeid in self._tests))

    def _begin(self) -> subprocess.Popen[bytes]:
        reading, writing = Pipe(duplex=False)
        # All the time: the second session must not wait until somebody wants its reports.
        threading.Thread(target=self._read, args=(reading,), daemon=True).start()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, "sh", "-c", _INSIDE, "sh"]
        command += [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"]
        process = subprocess.Popen(
            [*command, *(str(argument) for argument in self._config.invocation_params.args)],
            cwd=self._config.invocation_params.dir,
            env={**os.environ, _DESCRIPTOR: str(writing.fileno())},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing.fileno(),),
            start_new_session=True,
        )
        writing.close()
        _set_niceness(process, 19)
        return process

    def _read(self, pipe: Connection) -> None:
        with pipe, contextlib.suppress(EOFError, OSError):
            while True:
                self._arrived.put(pipe.recv())
        self._arrived.put(None)
        if not self._over:
            self._when_ended()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        """None, so that pytest itself runs the test, if it is none of the second session's or that gave no report."""
        if self._process is None and not _wants_quiet(item):
            self._process = self._begin()
        if item.nodeid not in self._tests or not self._wait_for(item.nodeid):
            # The test that ran last was torn down for the one that came next, and that may have been a replayed one.
            item.session._setupstate.teardown_exact(item)
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports.pop(item.nodeid):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _wait_for(self, test: str) -> bool:
        """Until its last report is here; False if the second session ended without it."""
        if self._stands_back:
            # The first session has nothing else to do any more.
            self._stands_back = False
            assert self._process is not None
            _set_niceness(self._process, 0)
        while not any(report.when == "teardown" for report in self._reports.get(test, ())):
            plain = self._arrived.get()
            if plain is None:
                self._arrived.put(None)  # for the next test that looks
                return False
            report = self._config.hook.pytest_report_from_serializable(config=self._config, data=plain)
            self._reports.setdefault(report.nodeid, []).append(report)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What it printed, where it ended otherwise than a session of tests does."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        if self._process.poll() not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._output.seek(0)
            terminalreporter.section(f"the session beside ended with {self._process.poll()}")
            terminalreporter.write(self._output.read()[-4000:])

    def pytest_unconfigure(self) -> None:
        self._over = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._output.close()


def _set_niceness(process: subprocess.Popen[bytes], niceness: int) -> None:
    """Of its processes, and of the session itself: kernels that group processes by session compare the groups."""
    with contextlib.suppress(OSError):  # it has ended, or the kernel groups nothing
        os.setpriority(os.PRIO_PGRP, process.pid, niceness)
        Path(f"/proc/{process.pid}/autogroup").write_text(str(niceness))
