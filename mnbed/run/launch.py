"""Gets an agent into each host's namespace: forked from a warm parent, or as a program of its own (`launch: exec`).

Both launchers report the same events, so that the life cycle does not know which one runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mnbed.errors import InputError, MachineError, MnbedError, RunError
from mnbed.network.mark import note
from mnbed.run.activity import activity, is_stopped
from mnbed.run.user import User
from node_agent.settings import AgentSettings

if TYPE_CHECKING:
    from mnbed.network.build import Network

# From a closed standard input to the end of the warm parent and its children.
_END_PATIENCE_S = 10
_OVER = "the run is over, and its agents are being ended"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The data is loaded and one training step has been timed."""

    standin: bool
    description: str
    step_wall_s: float
    num_parameters: int
    partition: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class Exited:
    """An agent's process has ended; a negative status is the signal that ended it."""

    name: str
    pid: int
    status: int


@dataclass(frozen=True, kw_only=True)
class LauncherGone:
    """The warm parent has ended without being told to."""

    message: str


LaunchEvent = Loaded | Exited | LauncherGone


class PreforkLauncher:
    """One warm parent, which imports torch and loads the data once and forks every agent."""

    def __init__(self, orders: dict[str, Any], log_path: Path, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._log_path = log_path
        self._log = log_path.open("wb")
        self._buffer = b""
        # A prompt launches from its own thread, beside the one that ends the launcher.
        self._lock = threading.Lock()
        self._stopped = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "node_agent.prefork"],
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
        cls, orders: dict[str, Any], log_path: Path, selector: selectors.BaseSelector
    ) -> Iterator[PreforkLauncher]:
        """Start the warm parent; on leaving, end it and every agent that is left."""
        launcher = cls(orders, log_path, selector)
        try:
            yield launcher
        finally:
            launcher.stop()

    def launch(self, network: Network, settings: list[AgentSettings]) -> None:
        """Fork the agents; may be called again for those that were killed. To be called after `Loaded`.

        Raises RunError where the launcher has been stopped meanwhile.
        """
        agents = [{"pid": network.pid(one.name), "settings": asdict(one)} for one in settings]
        with self._lock:
            if self._stopped:
                raise RunError(_OVER)
            self._write({"agents": agents})

    def activity(self) -> tuple[int, int]:
        """Changes while the warm parent gets on with what it does."""
        return activity(self._process.pid)

    def standstill(self) -> str:
        """Of a warm parent that does not get on: how it stands, and its last words."""
        how = "it is stopped (SIGSTOP)" if is_stopped(self._process.pid) else "it waits"
        return f"{how}{self._last_words()}"

    @property
    def log(self) -> Path:
        return self._log_path

    def stop(self) -> None:
        """End the warm parent, which ends its children."""
        with self._lock:
            self._stopped = True
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._stdout)
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._log.close()

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

    def _interpret(self, message: dict[str, Any]) -> list[LaunchEvent]:
        kind = message.pop("kind")
        if kind == "loaded":
            return [Loaded(**message)]
        if kind == "exited":
            return [Exited(name=message["name"], pid=message["pid"], status=message["status"])]
        if kind == "error":
            raise _error_of(message)
        return []

    def _last_words(self) -> str:
        self._log.flush()
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


class ExecLauncher:
    """Every agent a program of its own, started through Mininet's `host.popen`. Slow to start; easy to debug."""

    def __init__(self, orders: dict[str, Any], run_directory: Path) -> None:
        self._orders = orders
        self._run = run_directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[Path] = []
        self._lock = threading.Lock()
        self._stopped = False

    @classmethod
    @contextlib.contextmanager
    def start(cls, orders: dict[str, Any], run_directory: Path) -> Iterator[ExecLauncher]:
        """On leaving, end every agent that is left."""
        launcher = cls(orders, run_directory)
        try:
            yield launcher
        finally:
            launcher.stop()

    def launch(self, network: Network, settings: list[AgentSettings]) -> None:
        """Start the agents. Raises RunError where the launcher has been stopped meanwhile."""
        for one in settings:
            with self._lock:
                if self._stopped:
                    raise RunError(_OVER)
                self._launch(network, one)

    def _launch(self, network: Network, one: AgentSettings) -> None:
        if one.name in self._processes:  # killed a moment ago, and about to come back
            self._processes.pop(one.name).wait()
        path = self._run / "nodes" / f"{one.name}.orders.json"
        path.write_text(json.dumps({**self._orders, "settings": asdict(one)}))
        self._files.append(path)
        with (self._run / "nodes" / f"{one.name}.log").open("ab") as log:
            self._processes[one.name] = network.mininet.nameToNode[one.name].popen(
                [sys.executable, "-m", "node_agent", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=agent_environment(),
            )

    def poll(self) -> list[LaunchEvent]:
        """Agents that have ended since the last call."""
        events: list[LaunchEvent] = []
        for name, process in list(self._processes.items()):
            if (status := process.poll()) is not None:
                del self._processes[name]
                events.append(Exited(name=name, pid=process.pid, status=status))
        return events

    def stop(self) -> None:
        """End what is left."""
        with self._lock:
            self._stopped = True
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        for path in self._files:
            path.unlink(missing_ok=True)


def agent_environment() -> dict[str, str]:
    """One thread per agent, as N agents with a thread pool each would fight for the cores; and no memory given back.

    glibc returns the memory of each training step to the kernel and faults it in again at the next one: about 800
    page faults a step of GN-LeNet. Both threads of an agent share one heap.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    malloc = {
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_ARENA_MAX": "1",
    }
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, **threads, **malloc, "PYTHONPATH": path}


def orders_for(
    task: dict[str, Any], data_root: Path, seed: int, num_nodes: int, user: User
) -> dict[str, Any]:
    """What a launcher's processes have to know to load the data."""
    return {
        "task": task,
        "data_root": str(data_root),
        "seed": seed,
        "num_nodes": num_nodes,
        "uid": user.uid,
        "gid": user.gid,
        "groups": user.groups,
    }


def _error_of(message: dict[str, Any]) -> MnbedError:
    kind = {2: InputError, 3: MachineError}.get(message["exit_status"], RunError)
    return kind(message["message"], message.get("remedy"), message.get("traceback"))
