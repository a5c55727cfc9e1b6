"""A run's mark: which processes carry it, and which only seem to. Real processes, not descendants of this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mnbed.network import mark
from mnbed.network.leftovers import find_leftovers, remove_leftovers
from mnbed.network.processes import state_of

SLEEP = "sleep 100 >/dev/null 2>&1 & echo $!"


@contextmanager
def orphan(environment: dict[str, str] | None = None) -> Iterator[int]:
    """A process that is not a child of ours, like those of a killed run."""
    done = subprocess.run(
        ["setsid", "sh", "-c", SLEEP],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    pid = int(done.stdout)
    try:
        yield pid
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    return state_of(pid) not in (None, "Z")


def found(folder: Path) -> list[int]:
    return [leftover.pid for leftover in find_leftovers(folder)]


def test_what_was_noted_is_found_and_removed(tmp_path: Path) -> None:
    with mark.marked("run-1", tmp_path), orphan() as noted, orphan() as stranger:
        mark.note(noted)
        (one,) = find_leftovers(tmp_path)
        assert (one.pid, one.run, one.command) == (noted, "run-1", "sleep 100")
        (message,) = remove_leftovers(tmp_path)
        assert message == f"ended process {noted} of run run-1: sleep 100"
        assert not alive(noted)
        # It has the variable, too, like everything started inside; but its id has not been noted.
        assert alive(stranger)


def test_children_of_what_was_noted_are_found(tmp_path: Path) -> None:
    script = tmp_path / "parent.sh"
    script.write_text("sleep 100 & echo $! > $1\nwait\n")
    with mark.marked("run-1", tmp_path):
        command = f"sh {script} {tmp_path / 'child'} >/dev/null 2>&1 & echo $!"
        done = subprocess.run(["setsid", "sh", "-c", command], capture_output=True, text=True, check=True)
        parent = int(done.stdout)
        while not (tmp_path / "child").exists() or not (text := (tmp_path / "child").read_text()):
            assert alive(parent)
        # While it takes on its program it has no environment to be read, and cannot be told from others.
        while b"sleep" not in Path(f"/proc/{int(text)}/cmdline").read_bytes():
            assert alive(parent)
        mark.note(parent)
        assert found(tmp_path) == sorted([parent, int(text)])
        remove_leftovers(tmp_path)
        assert not alive(int(text))


@pytest.mark.parametrize("value", ["x", "", "0" * 32])
def test_another_variable_of_that_name_is_not_a_mark(tmp_path: Path, value: str) -> None:
    with mark.marked("run-1", tmp_path), orphan({mark.VARIABLE: value}) as pid:
        mark.note(pid)
        assert found(tmp_path) == []
        remove_leftovers(tmp_path)
        assert alive(pid)


def test_a_copied_mark_is_not_a_mark(tmp_path: Path) -> None:
    with mark.marked("run-1", tmp_path) as register:
        value = register.value
    with mark.marked("run-2", tmp_path), orphan({mark.VARIABLE: value}) as pid:
        mark.note(pid)
        assert found(tmp_path) == []


def test_a_reused_process_id_is_not_ours(tmp_path: Path) -> None:
    with mark.marked("run-1", tmp_path) as register, orphan() as pid:
        mark.note(pid)
        head, line = register.path.read_text().splitlines()
        entry = json.loads(line)
        entry["process"][1] -= 1
        register.path.write_text(f"{head}\n{json.dumps(entry)}\n")
        assert found(tmp_path) == []


def test_a_register_of_another_boot_or_damaged_says_nothing(tmp_path: Path) -> None:
    with mark.marked("run-1", tmp_path) as register, orphan() as pid:
        mark.note(pid)
        text = register.path.read_text()
        assert found(tmp_path) == [pid]
        for damaged in (text.replace(mark.boot_id(), "another"), "", "[]", "{", text[:20], "\0" * 50):
            register.path.write_text(damaged)
            assert found(tmp_path) == []
        # A crash in the middle of a line costs only that line.
        register.path.write_text(text + '{"process": [1')
        assert found(tmp_path) == [pid]
        remove_leftovers(tmp_path)
        assert not register.path.exists()


def test_only_its_owner_can_read_a_register(tmp_path: Path) -> None:
    with mark.marked("run-1", tmp_path) as register:
        assert register.path.stat().st_mode & 0o777 == 0o600
        assert register.path.parent.stat().st_mode & 0o777 == 0o700


def test_the_register_goes_with_the_run_unless_a_process_stays(tmp_path: Path) -> None:
    with orphan() as pid:
        with mark.marked("run-1", tmp_path) as register:
            assert os.environ[mark.VARIABLE] == register.value
        assert not register.path.exists()
        with mark.marked("run-2", tmp_path) as register:
            mark.note(pid)
        assert register.path.exists()
        assert mark.VARIABLE not in os.environ
        mark.note(pid)  # no run is going on: nothing happens


def test_a_users_own_variable_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mark.VARIABLE, "mine")
    with mark.marked("run-1", tmp_path):
        assert os.environ[mark.VARIABLE] != "mine"
    assert os.environ[mark.VARIABLE] == "mine"


def test_who_cleans_up_spares_himself_and_his_ancestors(tmp_path: Path) -> None:
    with mark.marked("run-1", tmp_path):
        mark.note(os.getpid())
        mark.note(os.getppid())
        assert found(tmp_path) == []
