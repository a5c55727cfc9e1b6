"""What the warm parent must not do: load or unpack data, or signal anybody but its own children."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node_agent import prefork
from node_agent.packing import unpack
from node_agent.tasks import Task, create_task

ORDERS: dict[str, Any] = {
    "task": {"name": "digits", "model": "mlp", "partition": {"kind": "iid"}},
    "data_root": "/nonexistent",
    "seed": 1,
    "num_nodes": 3,
    "uid": 65534 if os.geteuid() == 0 else os.getuid(),
    "gid": 65534 if os.geteuid() == 0 else os.getgid(),
    "groups": [],
    "home": "/",
    "umask": 0o022,
}


class Explosive:
    """What a data set made of pickles may hold: code, which runs wherever it is unpacked."""

    def __reduce__(self) -> Any:
        return os.getresuid, ()


class SpyTask:
    """A task whose data tells who loaded it and who unpacked it."""

    standin, data_shape = False, [1, 8, 8, 10]

    def __init__(self) -> None:
        self.data = Explosive()

    def load(self) -> None:
        print("what a library prints is no message")
        self.description = Path("/proc/self/status").read_text()

    def partition(self, num_nodes: int) -> list[np.ndarray]:
        return [np.arange(3) for _ in range(num_nodes)]

    def partition_table(self, _: Any) -> list[list[int]]:
        return [[1]]


def wait(monkeypatch: pytest.MonkeyPatch, task: Any) -> tuple[prefork.Loader, dict[str, Any]]:
    monkeypatch.setattr(prefork, "create_task", lambda *_: task)
    loader = prefork.Loader(ORDERS)
    return loader, loader.wait()


def test_data_is_loaded_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    loader, report = wait(monkeypatch, SpyTask())
    status = dict(line.split(":\t", 1) for line in report["description"].splitlines() if ":\t" in line)
    assert status["Uid"] == "\t".join([str(ORDERS["uid"])] * 4)
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    # Unpacking runs the code in there: this process has not unpacked anything until now.
    assert unpack(loader.descriptor)[0].data == os.getresuid()


def test_packed_data_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    loader, _ = wait(monkeypatch, SpyTask())
    with pytest.raises(PermissionError):
        os.pwrite(loader.descriptor, b"x", 0)


class Failing(SpyTask):
    def __init__(self, how: str) -> None:
        self.how = how

    def load(self) -> None:
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            os._exit(7)
        raise ValueError("no such images")


@pytest.mark.parametrize(
    ("how", "message", "exit_status"),
    [
        ("killed", "the process that loads the data was killed by SIGKILL", 1),
        ("exit", "the process that loads the data exited with status 7", 1),
        ("error", "no such images", 2),
    ],
)
def test_a_failure_to_load_is_explained(
    how: str, message: str, exit_status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(prefork.LoadingFailed) as error:
        wait(monkeypatch, Failing(how))
    assert error.value.report["message"] == message
    assert error.value.report["exit_status"] == exit_status


def test_the_parent_trains_on_noise_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Task) -> None:
        assert os.getpid() != me, "the warm parent loads data"
        load(_)

    me, load = os.getpid(), type(create_task(ORDERS["task"], Path("/"), 1)).load
    said: list[dict[str, Any]] = []
    monkeypatch.setattr("node_agent.tasks._images.ImageTask.load", refuse)
    monkeypatch.setattr(prefork, "say", lambda kind, **fields: said.append({"kind": kind, **fields}))
    packed = prefork.prepare(ORDERS)
    (loaded,) = said
    assert (loaded["kind"], loaded["standin"]) == ("loaded", False)
    assert loaded["num_parameters"] == 64 * 64 + 64 + 640 + 10
    assert 0 < loaded["step_wall_s"] < 1
    assert len(unpack(packed)[1]) == 3


def test_only_its_own_children_are_signalled() -> None:
    """Process ids come from the controller, whose knowledge may be out of date."""
    stranger = subprocess.Popen(["sleep", "60"])
    mine = subprocess.Popen(["sleep", "60"])
    try:
        for pid in (stranger.pid, mine.pid):
            prefork.follow({"signal": signal.SIGKILL, "pid": pid}, {}, -1, {mine.pid: "h1"})
        assert mine.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for process in (stranger, mine):
            process.kill()
            process.wait()
