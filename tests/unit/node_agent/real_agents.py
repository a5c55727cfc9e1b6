"""Real agents on loopback: programs with sockets and training, and the controller's end of their control sockets."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node_agent.control import ControlChannel
from node_agent.control_messages import Failed
from node_agent.settings import AgentSettings, PeerSettings, ResumeSettings
from tests.loopback import TOKEN, free_ports
from tests.record_types import agent_problems, message_problems

PATIENCE_S = 90.0
TASK = {"name": "digits", "model": "mlp", "partition": {"kind": "iid"}, "local_steps": 2}


class RealAgents:
    """A few agents, started when all of them are ready."""

    def __init__(self, folder: Path, num_nodes: int, algorithm: dict[str, Any]) -> None:
        self.folder, self.num_nodes, self.algorithm = folder, num_nodes, algorithm
        self.rounds = dict.fromkeys(range(num_nodes), 0)
        self.failed: list[Failed] = []
        self.problems: list[str] = []
        """Of their control messages."""
        (folder / "nodes").mkdir()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "control"))
        self._listener.listen()
        self._channels: dict[ControlChannel, int | None] = {}
        self._ready: list[ControlChannel] = []
        self._start_s: float | None = None
        self._ports = free_ports(num_nodes)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def launch(self, index: int, resume: ResumeSettings | None = None) -> None:
        """Start an agent, or restart it."""
        orders = {
            "uid": os.getuid(),
            "gid": os.getgid(),
            "groups": [],
            "home": str(self.folder),
            "umask": 0o022,
            "data_root": str(self.folder),
            "seed": 1,
            "num_nodes": self.num_nodes,
            "task": TASK,
            "settings": asdict(self._settings(index, resume)),
        }
        path = self.folder / f"h{index + 1}.json"
        path.write_text(json.dumps(orders))
        with (self.folder / "nodes" / f"h{index + 1}.log").open("ab") as log:
            self._processes[index] = subprocess.Popen(
                [sys.executable, "-m", "node_agent", str(path)], stdout=log, stderr=log
            )

    def has_ended(self, name: str) -> bool:
        """Whether that agent's process has ended by itself; if no agent has that name, whether all have."""
        own = [process for index, process in self._processes.items() if f"h{index + 1}" == name]
        return all(process.poll() is not None for process in own or self._processes.values())

    def kill(self, index: int) -> None:
        """Kill it with SIGKILL, as the event does."""
        process = self._processes.pop(index)
        process.kill()
        process.wait()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Handle what agents say until the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not in time; rounds: {self.rounds}"
            waiting: list[socket.socket | ControlChannel] = [self._listener, *self._channels]
            readable, _, _ = select.select(waiting, [], [], 1.0)
            for one in readable:
                if isinstance(one, ControlChannel):
                    self._take(one)
                else:
                    self._channels[ControlChannel(one.accept()[0])] = None

    def close(self) -> None:
        for index in list(self._processes):
            self.kill(index)
        for channel in self._channels:
            channel.close()
        self._listener.close()

    def _take(self, channel: ControlChannel) -> None:
        messages = channel.receive()
        if messages is None:
            del self._channels[channel]
            channel.close()
            return
        for message in messages:
            self.problems += message_problems(message)
            if message["kind"] == "hello":
                self._channels[channel] = int(message["name"].removeprefix("h")) - 1
            elif message["kind"] == "failed":
                self.failed.append(message)
            elif message["kind"] == "status":
                index = self._channels[channel]
                assert index is not None
                self.rounds[index] = message["round"]
            elif message["kind"] == "ready":
                self._start(channel)

    def _start(self, channel: ControlChannel) -> None:
        self._ready.append(channel)
        if self._start_s is not None:  # it was restarted
            channel.send("start", start_monotonic_s=self._start_s)
        elif len(self._ready) == self.num_nodes:
            self._start_s = time.monotonic()
            for ready in self._ready:
                ready.send("start", start_monotonic_s=self._start_s)

    def _settings(self, index: int, resume: ResumeSettings | None) -> AgentSettings:
        return AgentSettings(
            name=f"h{index + 1}",
            index=index,
            num_nodes=self.num_nodes,
            address="127.0.0.1",
            port=self._ports[index],
            peers=tuple(
                PeerSettings(name=f"h{peer + 1}", index=peer, address="127.0.0.1", port=port)
                for peer, port in enumerate(self._ports)
                if peer != index
            ),
            token=TOKEN,
            run_directory=str(self.folder),
            control_socket=str(self.folder / "control"),
            seed=1,
            dilation=1.0,
            duration_s=600.0,
            step_time_s=0.05,
            snapshot_every_s=100.0,
            snapshot_model="current",
            algorithm=self.algorithm,
            task=TASK,
            data_root="",
            ledger=True,
            resume=resume,
        )


@contextmanager
def real_agents(folder: Path, num_nodes: int, algorithm: dict[str, Any]) -> Iterator[RealAgents]:
    """Agents that are all launched, and gone at the end; all their messages and records must fit their types."""
    agents = RealAgents(folder, num_nodes, algorithm)
    try:
        for index in range(num_nodes):
            agents.launch(index)
        yield agents
    finally:
        agents.close()
    assert agents.problems + agent_problems(folder / "nodes") == []
