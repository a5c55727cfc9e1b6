"""Runs the command line as a user does, and looks at its exit status, its output and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import carries_mark

CHECKOUT = Path(__file__).resolve().parents[2]
QUICKSTART = CHECKOUT / "experiments" / "quickstart.yaml"
# A few emulated seconds of the quickstart: everything happens, but nothing takes long.
SHORT = ("time.duration=3s", "evaluate.every=1s", "network.topology.nodes=4", "evaluate.samples=100")
PATIENCE_S = 60.0


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


class Cli:
    """Runs mnbed with its run directories in one place."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.patience_s = 100.0
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mnbed.cli", *arguments],
            cwd=CHECKOUT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def finish(
        self, process: subprocess.Popen[str], text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        output, errors = process.communicate(text, timeout=self.patience_s)
        assert "Traceback" not in errors, errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def __call__(
        self, *arguments: str, text: str | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return self.finish(self.start(*arguments, **options), text)

    def start_run(
        self, *overrides: str, options: Sequence[str] = (), report: bool = False, **more: Any
    ) -> subprocess.Popen[str]:
        """Figures take two seconds, so only tests that look at the report make one."""
        arguments = [str(QUICKSTART), "--out", str(self.out), *sets(*SHORT, *overrides), *options]
        arguments += [] if report or "--no-report" in options else ["--no-report"]
        return self.start("run", *arguments, **more)

    def run(self, *overrides: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.finish(self.start_run(*overrides, **more))

    def directory(self) -> Path:
        """The newest run directory."""
        return max(self.out.iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.directory() / "summary.json").read_text()))

    def wait_for_round(self, number: int = 2) -> Path:
        """Wait until every node of the newest run has finished that many rounds; returns the run directory."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, "the run did not get that far"
            if any(self.out.iterdir()):
                journals = list((self.directory() / "nodes").glob("h*.jsonl"))
                if len(journals) == 4 and all(
                    path.read_text().count('"event":"round"') >= number for path in journals
                ):
                    return self.directory()
            time.sleep(0.05)

    def kill_all(self) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # These pipes cannot be read to their end: processes that a test left stopped still hold them open.
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def cli() -> Iterator[Cli]:
    with runner() as cli:
        yield cli


@contextmanager
def runner() -> Iterator[Cli]:
    """A command line with its own folder for run directories."""
    # Not tmp_path: agents run as the invoking user, who may not look into pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="mnbed-test-"))
    folder.chmod(0o755)
    cli = Cli(folder)
    try:
        yield cli
    finally:
        cli.kill_all()
        shutil.rmtree(folder)


def agent_pid(run: Path, node: str) -> int:
    for line in (run / "nodes" / f"{node}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["event"] == "ready":
            return int(record["pid"])
    raise AssertionError(f"{node} has not reached the barrier")


def marked_processes() -> list[int]:
    """The processes of all runs started by these tests."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if carries_mark(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
