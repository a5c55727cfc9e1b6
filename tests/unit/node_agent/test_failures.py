"""A bug in an algorithm, met in a real agent at each place where its code runs: what reaches the controller."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from node_agent.control import ControlChannel
from node_agent.journal import read_journal
from node_agent.settings import AgentSettings, PeerSettings
from tests.unit.node_agent.test_transport import TOKEN, free_ports

PATIENCE_S = 60.0
SOURCE = '''"""Sends to everybody, and fails at {stage}."""

from dataclasses import dataclass

from node_agent.algorithms import Aggregated, Algorithm, AlgorithmSettings, Outbox, Send

FAILS_AT = "{stage}"


def fail_at(stage):
    if stage == FAILS_AT:
        undefined_name


fail_at("import")


class Mine(Algorithm):
    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        pass

    def __init__(self, settings, context):
        super().__init__(settings, context)
        fail_at("__init__")

    def before_local_phase(self, values, now_s):
        fail_at("before_local_phase")
        return Aggregated(of=[], mean_age_s=None)

    def after_local_phase(self, round, values):
        payloads = [memoryview(values.tobytes())]
        sends = [Send(peer, 0) for peer in self.context.peers]
        return Outbox(
            round=round, permutation_seed=0, num_fragments=1, payloads=payloads, sends=sends, replace_unsent=True
        )

    def on_fragment(self, fragment):
        fail_at("on_fragment")
'''


class Controller:
    """The other end of two agents' control sockets."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._channels: list[ControlChannel] = []
        self._ready: list[ControlChannel] = []

    def failure(self) -> dict[str, Any]:
        """Let both agents start, and wait for the first one's words."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self._listener, *self._channels], [], [], 1.0)
            for one in readable:
                if one is self._listener:
                    self._channels.append(ControlChannel(self._listener.accept()[0]))
                elif failed := self._take(one):
                    return failed
        raise AssertionError("no agent said that it failed")

    def _take(self, channel: ControlChannel) -> dict[str, Any] | None:
        messages = channel.receive()
        if messages is None:
            self._channels.remove(channel)
            channel.close()
            return None
        for message in messages:
            if message["kind"] == "failed":
                return message
            if message["kind"] == "ready":
                self._ready.append(channel)
                if len(self._ready) == 2:
                    for one in self._ready:
                        one.send("start", start_monotonic_s=time.monotonic())
        return None

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        self._listener.close()


@contextmanager
def agents(folder: Path, stage: str) -> Iterator[Controller]:
    """Two agents with an algorithm that fails there, started as programs of their own."""
    (folder / "nodes").mkdir()
    (folder / "mine.py").write_text(SOURCE.format(stage=stage))
    controller = Controller(folder / "control")
    ports = free_ports(2)
    task = {"name": "digits", "model": "mlp", "partition": {"kind": "iid"}, "local_steps": 2}
    processes = []
    for index in range(2):
        peer = 1 - index
        settings = AgentSettings(
            name=f"h{index + 1}",
            index=index,
            num_nodes=2,
            address="127.0.0.1",
            port=ports[index],
            peers=(PeerSettings(name=f"h{peer + 1}", index=peer, address="127.0.0.1", port=ports[peer]),),
            token=TOKEN,
            run_directory=str(folder),
            control_socket=str(folder / "control"),
            seed=1,
            dilation=1.0,
            duration_s=600.0,
            step_time_s=0.05,
            snapshot_every_s=100.0,
            snapshot_model="current",
            algorithm={"name": "mine", "module": str(folder / "mine.py")},
            task=task,
            data_root="",
            ledger=False,
        )
        orders = {
            "uid": os.getuid(),
            "gid": os.getgid(),
            "groups": [],
            "data_root": str(folder),
            "seed": 1,
            "num_nodes": 2,
            "task": task,
            "settings": asdict(settings),
        }
        path = folder / f"h{index + 1}.json"
        path.write_text(json.dumps(orders))
        with (folder / "nodes" / f"h{index + 1}.log").open("wb") as log:
            processes.append(
                subprocess.Popen([sys.executable, "-m", "node_agent", str(path)], stdout=log, stderr=log)
            )
    try:
        yield controller
    finally:
        for process in processes:
            process.kill()
            process.wait()
        controller.close()


@pytest.mark.parametrize("stage", ["__init__", "before_local_phase", "on_fragment"])
def test_a_bug_is_told_with_type_file_line_and_log(tmp_path: Path, stage: str) -> None:
    with agents(tmp_path, stage) as controller:
        failed = controller.failure()
    line = 1 + SOURCE.splitlines().index("        undefined_name")
    assert failed["exit_status"] == 1
    name = failed["message"].split(":")[0]
    assert failed["message"] == (
        f"{name}: NameError: name 'undefined_name' is not defined ({tmp_path}/mine.py:{line}, in fail_at); "
        f"see {tmp_path}/nodes/{name}.log"
    )
    assert f"in {stage}\n" in failed["traceback"]
    if stage != "__init__":
        errors = [
            one for one in read_journal(tmp_path / "nodes" / f"{name}.jsonl") if one["event"] == "error"
        ]
        assert errors[0]["message"] == failed["message"]


def test_a_bug_at_import_names_file_and_line(tmp_path: Path) -> None:
    with agents(tmp_path, "import") as controller:
        failed = controller.failure()
    line = 1 + SOURCE.splitlines().index("        undefined_name")
    assert f"{tmp_path}/mine.py:{line}: NameError: name 'undefined_name' is not defined" in failed["message"]
    assert failed["message"].endswith(".log")
