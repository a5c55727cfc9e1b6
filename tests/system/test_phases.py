"""SIGKILL and SIGSTOP of controller, warm parent and delay process, in every phase of a run.

Whatever is hit when: the command ends with one message that says what happened, or goes on as if nothing had been; what
was collected stays; no process of the run is there once the next command has run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mnbed.network.processes import state_of
from tests.network.plans import facts
from tests.system.conftest import CHECKOUT, PATIENCE_S, QUICKSTART, Cli, marked_processes, sets

pytestmark = [pytest.mark.root, pytest.mark.no_guest, pytest.mark.beside]

needs_nfqueue = pytest.mark.skipif(not facts().nfqueue, reason="this kernel has no NFQUEUE")
# How the controller's journal names them.
PHASES = {
    "build": "loading data",
    "probe": "probing",
    "barrier": "starting",
    "training": "training",
    "evaluation": "evaluating",
    "report": "writing results",
}
SMALL = (
    "network.topology.nodes=2",
    "network.stragglers.count=0",
    "algorithm.name=local",
    "time.dilation=1",
    "compute.step_time=40ms",
    "evaluate.every=1s",
    "evaluate.samples=50",
)
# Timeouts that are minutes otherwise are seconds here.
HURRIED = """
import sys
from mnbed.run import supervisor
from mnbed.network.nfqueue import delay
supervisor._LOAD_PATIENCE_S = supervisor._BARRIER_PATIENCE_S = delay._START_PATIENCE_S = 6.0
from mnbed.cli import main
main(sys.argv[1:])
"""


def start(cli: Cli, *overrides: str, report: bool = False) -> subprocess.Popen[str]:
    arguments = ["run", str(QUICKSTART), "--out", str(cli.out), *sets(*SMALL, *overrides)]
    process = subprocess.Popen(
        [sys.executable, "-c", HURRIED, *arguments, *([] if report else ["--no-report"])],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    cli._running.append(process)
    return process


def wait(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    """Often, as some phases are short."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        assert process.poll() is None, (what, process.communicate())
        time.sleep(0.002)


def reach(cli: Cli, phase: str, process: subprocess.Popen[str]) -> None:
    """Wait until the run is in that phase; in the training, until there is something to lose."""

    def there() -> bool:
        for path in cli.out.glob("*/nodes/controller.jsonl"):
            return f'"name":"{PHASES[phase]}' in path.read_text()
        return False

    wait(there, process, f"{phase} was not reached")
    if phase == "training":
        wait(lambda: num_rounds(cli) >= 2, process, "no rounds")


def num_rounds(cli: Cli) -> int:
    return sum(path.read_text().count('"event":"round"') for path in cli.out.glob("*/nodes/h*.jsonl"))


def find(program: str, process: subprocess.Popen[str]) -> int:
    """The process of the run that executes that module: the leader of its session."""
    found: list[int] = []

    def there() -> bool:
        for pid in marked_processes():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if program.encode() in command and os.getsid(pid) == pid:
                    found.append(pid)
            except OSError:
                continue
        return bool(found)

    wait(there, process, f"no {program}")
    return found[0]


PROGRAMS = {"parent": "node_agent.prefork", "delay": "mnbed.network.nfqueue.delay_queue"}


def hit(cli: Cli, whom: str, phase: str, number: signal.Signals, *overrides: str) -> subprocess.Popen[str]:
    backend = ("network.delay_backend=nfqueue",) if whom == "delay" else ()
    process = start(cli, *backend, *overrides)
    reach(cli, phase, process)
    os.kill(find(PROGRAMS[whom], process), number)
    return process


def assert_nothing_is_lost(cli: Cli, rounds: int) -> None:
    """And nothing stays."""
    assert num_rounds(cli) >= rounds
    assert [pid for pid in marked_processes() if state_of(pid) not in (None, "Z")] == []


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_controller(cli: Cli, phase: str) -> None:
    """It can print nothing. The next command finds nothing alive, and what was collected can be evaluated."""
    process = start(cli, "time.duration=2s", report=True)
    reach(cli, phase, process)
    rounds = num_rounds(cli)
    process.kill()
    process.wait()
    done = cli("clean")
    assert done.returncode == 0, done.stderr
    assert_nothing_is_lost(cli, rounds)
    if phase in ("training", "evaluation", "report"):
        done = cli("report", str(cli.directory()))
        assert done.returncode == 0, done.stderr
        assert cli.summary()["rounds"]["max"] >= 1


def test_a_stopped_controller_resumes_and_the_verdict_says_so(cli: Cli) -> None:
    """Stopped in every phase for longer than any bound of the test, once in the training with the end inside."""
    process = start(cli, "time.duration=3s", report=True)
    for phase in PHASES:
        reach(cli, phase, process)
        os.kill(process.pid, signal.SIGSTOP)
        if phase == "barrier":
            refused = cli("clean")
            assert refused.returncode == 3
            assert f"kill -CONT {process.pid}" in refused.stderr
        time.sleep(5.0 if phase == "training" else 1.0)
        os.kill(process.pid, signal.SIGCONT)
    done = cli.finish(process)
    assert done.returncode == 0, done.stderr
    summary = cli.summary()
    assert summary["status"] == "completed"
    (reason,) = [reason for reason in summary["reasons"] if "the controller was suspended once" in reason]
    assert float(reason.split("once, for ")[1].split(" s")[0]) >= 4.5
    assert (cli.directory() / "report.html").exists()
    assert_nothing_is_lost(cli, 2)


@pytest.mark.parametrize("phase", ["build", "probe", "barrier", "training"])
def test_a_killed_warm_parent_fails_the_run(cli: Cli, phase: str) -> None:
    process = hit(cli, "parent", phase, signal.SIGKILL, "time.duration=30s")
    rounds = num_rounds(cli)
    done = cli.finish(process)
    assert done.returncode == 1, done.stderr
    assert "the warm parent of the agents ended" in done.stderr
    assert_nothing_is_lost(cli, rounds)
    if phase == "training":
        assert cli.summary()["status"] == "failed"


@pytest.mark.parametrize(
    ("phase", "words"),
    [("build", "loading the data has made no progress"), ("barrier", "did not reach the start barrier")],
)
def test_a_stopped_warm_parent_is_not_waited_for(cli: Cli, phase: str, words: str) -> None:
    process = hit(cli, "parent", phase, signal.SIGSTOP, "time.duration=30s", "network.topology.nodes=12")
    done = cli.finish(process)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "it is stopped (SIGSTOP)" in done.stderr
    assert_nothing_is_lost(cli, 0)


def test_training_needs_no_warm_parent_that_runs(cli: Cli) -> None:
    process = hit(cli, "parent", "training", signal.SIGSTOP, "time.duration=2s")
    done = cli.finish(process)
    assert done.returncode == 0, done.stderr
    assert cli.summary()["status"] == "completed"
    assert_nothing_is_lost(cli, 2)


@needs_nfqueue
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("phase", ["build", "probe", "barrier", "training"])
def test_without_its_delay_process_a_run_fails(cli: Cli, phase: str, number: signal.Signals) -> None:
    process = hit(cli, "delay", phase, number, "time.duration=30s")
    rounds = num_rounds(cli)
    done = cli.finish(process)
    assert done.returncode in (1, 3), (done.stdout, done.stderr)
    end = {signal.SIGKILL: "ended", signal.SIGSTOP: "was stopped (SIGSTOP)"}[number]
    assert any(
        f"{words} {end}" in done.stderr or f"{words} {'it ' + end}" in done.stderr
        for words in (
            "the process that delays packets",
            "the process that delays packets has",
            "did not start:",
        )
    ), done.stderr
    assert_nothing_is_lost(cli, rounds)


# --- a disk that fills up ---


@pytest.fixture
def small(cli: Cli) -> Path:
    folder = cli.out / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(folder)], check=True)
    return folder


def fill(folder: Path) -> None:
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.parametrize("phase", ["creation", "build", "training", "evaluation", "report"])
def test_a_disk_that_is_full_is_named_and_costs_nothing_that_was_there(
    cli: Cli, small: Path, phase: str
) -> None:
    whole, cli.out = cli.out, small
    try:
        if phase == "creation":
            fill(small)
        process = start(cli, "time.duration=30s" if phase == "training" else "time.duration=2s", report=True)
        if phase != "creation":
            reach(cli, phase, process)
            fill(small)
        rounds = num_rounds(cli)
        done = cli.finish(process)
        assert done.returncode in (1, 3), (done.stdout, done.stderr)
        assert "No space left on device" in done.stderr
        assert str(small) in done.stderr
        assert "internal error" not in done.stderr
        assert_nothing_is_lost(cli, rounds)
        (small / "filler").unlink()
        if phase in ("training", "evaluation", "report"):
            assert "remedy: make room" in done.stderr
            run = cli.directory()
            assert cli("report", str(run)).returncode == 0
            summary = json.loads((run / "summary.json").read_text())
            assert summary["rounds"]["max"] >= 1
            assert summary["accuracy"]["curve"]
    finally:
        cli.out = whole
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_however_often_ctrl_c_comes_the_directory_is_named(cli: Cli) -> None:
    process = start(cli, "time.duration=60s", "network.topology.nodes=4", report=True)
    for phase in ("training", "evaluation", "report"):
        reach(cli, phase, process)
        os.kill(process.pid, signal.SIGINT)
    done = cli.finish(process)
    assert done.returncode == 130
    assert f"run directory: {cli.directory()}" in done.stdout
    assert_nothing_is_lost(cli, 2)
