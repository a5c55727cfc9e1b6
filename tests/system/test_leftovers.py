"""After SIGKILL: the next command finds all that the run left, and touches no other process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mnbed.network.mark import RUNTIME_DIRECTORY, VARIABLE, network_of
from mnbed.network.processes import state_of
from mnbed.run.lock import run_lock
from tests.system.conftest import Cli, agent_pid, marked_processes, wait_until

pytestmark = [pytest.mark.root, pytest.mark.no_guest]


@contextmanager
def sleeper(mark: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **({VARIABLE: mark} if mark is not None else {})}
    process = subprocess.Popen(["sleep", "100"], env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def mark_of(pid: int) -> str:
    for variable in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"):
        if variable.startswith(f"{VARIABLE}="):
            return variable.partition("=")[2]
    raise AssertionError(f"process {pid} has no mark")


def commands(pids: list[int]) -> str:
    found = []
    for pid in pids:
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return "\n".join(found)


def test_clean_ends_all_that_a_killed_run_left_and_nothing_else(cli: Cli) -> None:
    process = cli.start_run("time.duration=60s")
    run = cli.wait_for_round(1)
    left = [pid for pid in marked_processes() if pid != process.pid]
    copied = mark_of(agent_pid(run, "h1"))
    # A stopped process does not notice that its controller is gone.
    for pid in left:
        os.kill(pid, signal.SIGSTOP)
    known = commands(left)
    assert "mininet:h1" in known
    assert "mininet:s1" in known
    # The warm parent, and what it has forked: the agents.
    assert known.count("node_agent.prefork") == 5
    process.kill()
    process.wait()
    with ExitStack() as stack:
        spared = [stack.enter_context(sleeper(mark)) for mark in ("x", "0" * 32, copied, None)]
        # The shells' terminals ended with the controller, and so did the shells.
        staying = [pid for pid in left if state_of(pid) == "T"]
        assert len(staying) >= 5
        done = cli("clean")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("ended process") == len(staying)
        assert [one.poll() for one in spared] == [None] * len(spared)
        assert "Nothing to remove." in cli("clean").stdout
    assert [pid for pid in left if state_of(pid) not in (None, "Z")] == []
    assert list((RUNTIME_DIRECTORY / "marks").iterdir()) == []
    assert not list(RUNTIME_DIRECTORY.glob("run-*"))


def test_what_a_user_started_in_a_host_goes_with_its_network(cli: Cli) -> None:
    """Other programs that the user has started are left alone."""
    text = "h1 sleep 1234 &\nsh sleep 4321 >/dev/null 2>&1 &\nsh kill -KILL $PPID\n"
    done = cli("cli", "experiments/quickstart.yaml", "--out", str(cli.out), text=text)
    assert done.returncode == -signal.SIGKILL
    outside = [pid for pid in everybody() if commands([pid]).strip() == "sleep 4321"]
    assert len(outside) == 1
    try:
        assert cli("clean").returncode == 0
        wait_until(lambda: "sleep 1234" not in commands(everybody()), "it outlives its host")
        assert state_of(outside[0]) == "S"
        assert network_of(outside[0]) == network_of(os.getpid())
    finally:
        os.kill(outside[0], signal.SIGKILL)


def everybody() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def test_nobody_but_root_can_hold_the_lock() -> None:
    lock = RUNTIME_DIRECTORY / "lock"
    RUNTIME_DIRECTORY.mkdir(exist_ok=True)
    # As an earlier version left it.
    lock.touch()
    lock.chmod(0o644)
    with run_lock("first"):
        pass
    held = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "flock", "-n", str(lock), "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Permission denied" in held.stderr
    with run_lock("second"):
        pass
