"""Gets an agent into each host's namespace: forked from a warm parent, or as a program of its own (`launch: exec`).

Both launchers report the same events, so the supervisor need not know which one is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mnbed.errors import error_from
from mnbed.network.mark import note
from mnbed.network.processes import is_stopped
from mnbed.programs import our_program, wait_or_kill
from mnbed.run.activity import activity
from mnbed.run.user import User, callers_umask
from node_agent import control_messages as messages
from node_agent.settings import AgentSettings

if TYPE_CHECKING:
    from mnbed.network.build import Network

# How long the warm parent and its children may take to end once its standard input is closed.
_END_PATIENCE_S = 10
# How much of a log is read to find its last line.
_LAST_BYTES = 8192


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The data is loaded and one training step has been timed."""

    standin: bool
    description: str
    step_wall_s: float
    num_parameters: int
    partition: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class Launched:
    """An agent's process has been started."""

    name: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class Exited:
    """An agent's process has ended; a negative status is the signal that ended it."""

    name: str
    pid: int
    status: int


@dataclass(frozen=True, kw_only=True)
class LauncherGone:
    """The warm parent has ended without being asked to."""

    message: str


LaunchEvent = Loaded | Launched | Exited | LauncherGone


class PreforkLauncher:
    """A warm parent, which imports torch and loads the data once and then forks every agent."""

    def __init__(
        self, orders: dict[str, Any], log_path: Path, log: int, selector: selectors.BaseSelector
    ) -> None:
        """`log`: the open file at `log_path`; the launcher owns it from then on."""
        self._selector = selector
        self.log_path = log_path
        self._log = log
        self._buffer = b""
        self._process = subprocess.Popen(
            our_program("node_agent.prefork"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env=agent_environment(),
        )
        note(self._process.pid)
        self._write(orders)
        selector.register(self._stdout, selectors.EVENT_READ, self._read)

    @classmethod
    @contextlib.contextmanager
    def start(
        cls, orders: dict[str, Any], log_path: Path, log: int, selector: selectors.BaseSelector
    ) -> Iterator[PreforkLauncher]:
        """Start the warm parent; on exit, end it and every remaining agent."""
        launcher = cls(orders, log_path, log, selector)
        try:
            yield launcher
        finally:
            launcher.stop()

    def launch(self, network: Network, settings: list[AgentSettings]) -> None:
        """Fork the agents; may be called again for those that were killed. To be called after `Loaded`."""
        agents = [{"pid": network.pid(agent.name), "settings": asdict(agent)} for agent in settings]
        self._write({"agents": agents})

    def poll(self) -> list[LaunchEvent]:
        """Nothing: everything it reports comes through the selector."""
        return []

    def activity(self) -> tuple[int, int]:
        """Changes while the warm parent makes progress."""
        return activity(self._process.pid)

    def standstill(self) -> str:
        """For a warm parent that makes no progress: its state and the last line of its log."""
        how = "it is stopped (SIGSTOP)" if is_stopped(self._process.pid) else "it is waiting"
        return f"{how}{self._last_words()}"

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an agent through its parent, which knows whether the pid is still that agent's."""
        self._write({"signal": int(number), "pid": pid})

    def stop(self) -> None:
        """End the warm parent, which ends its children."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._stdout)
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        wait_or_kill(self._process, _END_PATIENCE_S)
        self._stdout.close()
        os.close(self._log)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _write(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is reported when its output ends
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()

    def _read(self) -> list[LaunchEvent]:
        data = os.read(self._stdout.fileno(), 65536)
        if not data:
            self._selector.unregister(self._stdout)
            return [LauncherGone(message=f"the warm parent of the agents ended{self._last_words()}")]
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [event for line in lines for event in self._interpret(json.loads(line))]

    def _interpret(self, message: messages.FromParent) -> list[LaunchEvent]:
        if message["kind"] == "loaded":
            return [
                Loaded(
                    standin=message["standin"],
                    description=message["description"],
                    step_wall_s=message["step_wall_s"],
                    num_parameters=message["num_parameters"],
                    partition=message["partition"],
                )
            ]
        if message["kind"] == "forked":
            return [Launched(name=name, pid=pid) for name, pid in message["agents"].items()]
        if message["kind"] == "exited":
            return [Exited(name=message["name"], pid=message["pid"], status=message["status"])]
        if message["kind"] == "error":
            remedy, traceback = message.get("remedy"), message.get("traceback")
            raise error_from(message["exit_status"], message["message"], remedy, traceback)
        return []

    def _last_words(self) -> str:
        try:
            size = os.fstat(self._log).st_size
            text = os.pread(self._log, _LAST_BYTES, max(0, size - _LAST_BYTES)).decode(errors="replace")
        except OSError:
            return ""
        lines = text.strip().splitlines()
        return f": {lines[-1]}" if lines else ""


class ExecLauncher:
    """Starts every agent as a separate program, through Mininet's `host.popen`: slow to start, easy to debug."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._events: list[LaunchEvent] = []

    @classmethod
    @contextlib.contextmanager
    def start(cls, orders: dict[str, Any]) -> Iterator[ExecLauncher]:
        """On exit, end every remaining agent."""
        launcher = cls(orders)
        try:
            yield launcher
        finally:
            launcher.stop()

    def launch(self, network: Network, settings: list[AgentSettings]) -> None:
        """Start the agents; may be called again for those that were killed."""
        for agent in settings:
            self._launch(network, agent)

    def _launch(self, network: Network, agent: AgentSettings) -> None:
        if agent.name in self._processes:  # killed a moment ago, and about to be replaced
            self._end(agent.name, self._processes[agent.name].wait())
        with tempfile.TemporaryFile() as orders:
            orders.write(json.dumps({**self._orders, "settings": asdict(agent)}).encode())
            orders.seek(0)
            # The agent opens its log itself, once it has dropped root.
            process = network.mininet.nameToNode[agent.name].popen(
                our_program("node_agent", "-"),
                stdin=orders,
                stdout=subprocess.DEVNULL,
                stderr=None,
                env=agent_environment(),
            )
        self._processes[agent.name] = process
        self._events.append(Launched(name=agent.name, pid=process.pid))

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an agent."""
        for process in self._processes.values():
            if process.pid == pid:
                process.send_signal(number)

    def poll(self) -> list[LaunchEvent]:
        """Agents that have started or ended since the last call."""
        for name, process in list(self._processes.items()):
            if (status := process.poll()) is not None:
                self._end(name, status)
        events, self._events = self._events, []
        return events

    def _end(self, name: str, status: int) -> None:
        process = self._processes.pop(name)
        self._events.append(Exited(name=name, pid=process.pid, status=status))

    def standstill(self) -> str:
        """Nothing: there is no parent to wait for."""
        return ""

    def stop(self) -> None:
        """End every remaining agent."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()


def agent_environment() -> dict[str, str]:
    """One torch thread per agent, since N thread pools would compete for the cores; and freed memory is kept.

    By default, glibc returns the memory of each training step to the kernel and faults it in again in the next: about
    800 page faults per step of GN-LeNet. Both threads of an agent share one heap.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    malloc = {
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_ARENA_MAX": "1",
    }
    return {**os.environ, **threads, **malloc}


def orders_for(
    task: dict[str, Any], data_root: Path, seed: int, num_nodes: int, user: User
) -> dict[str, Any]:
    """What a launcher's processes need to know to load the data."""
    return {
        "task": task,
        "data_root": str(data_root),
        "seed": seed,
        "num_nodes": num_nodes,
        "uid": user.uid,
        "gid": user.gid,
        "groups": user.groups,
        "home": str(user.home),
        "umask": callers_umask(),
    }
