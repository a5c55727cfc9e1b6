"""Agents, launcher and control sockets in memory, for deterministic tests of the supervisor of a run.

A process sends what a real one would, and only what it could: a dead or stopped process sends nothing, and no end is
reported that has not happened. Events may be delivered in any order, as two sockets and a pipe may deliver them.
Mailbox, journal, signals, timeline and the loop itself are the real ones.
"""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from mnbed.run.agent_state import AgentState, Phase
from mnbed.run.control import AgentGone, AgentJoined, AgentMessage
from mnbed.run.journal import ControllerJournal
from mnbed.run.launch import Exited, Launched, LaunchEvent
from mnbed.run.mailbox import Mailbox
from mnbed.run.signals import Signals
from mnbed.run.supervisor import Supervisor
from node_agent.control_messages import Message, Status
from node_agent.counters import Counters
from node_agent.journal import read_journal
from node_agent.settings import ResumeSettings
from tests.record_types import message_problems

T = TypeVar("T")

_DEFAULTS = {"ended": {"reason": "finished"}}
RESUME = ResumeSettings(life=1, round=0, steps=0, counters={}, snapshot=None)


def status_of(steps: int, **counted: Any) -> Status:
    """A status message after that many steps, and with these counters."""
    counters = Counters(**counted).totals()
    return {
        "kind": "status",
        "t": 10.0,
        "round": 3,
        "steps": steps,
        "train_loss": 1.0,
        "counters": counters,
    }


@dataclass
class FakeProcess:
    """One process of an agent. Methods return events for the controller; the test decides when to deliver them."""

    name: str
    pid: int
    status: int | None = None
    """How it ended; None: it is alive."""
    stopped: bool = False
    connected: bool = False
    signals: list[signal.Signals] = field(default_factory=list)

    def launched(self) -> Launched:
        return Launched(name=self.name, pid=self.pid)

    def joins(self) -> AgentJoined:
        self._must_run()
        self.connected = True
        return AgentJoined(name=self.name, pid=self.pid)

    def says(self, kind: str, **fields: Any) -> AgentMessage:
        self._must_run()
        # A process that fails before it has joined opens a connection for that message alone.
        assert self.connected or kind == "failed"
        self.connected = True
        message = {"kind": kind, **(_DEFAULTS.get(kind, {})), **fields}
        assert message_problems(message) == []
        return AgentMessage(name=self.name, pid=self.pid, message=cast("Message", message))

    def is_ready(self) -> AgentMessage:
        return self.says("ready", standin=True, data="made up")

    def trains(self, steps: int = 1) -> AgentMessage:
        return self.says(**status_of(steps))

    def fails(self, message: str, exit_status: int = 1) -> AgentMessage:
        fields = {"message": message, "remedy": None, "traceback": "", "exit_status": exit_status}
        return self.says("failed", **fields)

    def exits(self, status: int) -> None:
        self._must_run()
        self.status = status

    def gone(self) -> AgentGone:
        assert self.status is not None
        assert self.connected
        return AgentGone(name=self.name, pid=self.pid)

    def exited(self) -> Exited:
        assert self.status is not None
        return Exited(name=self.name, pid=self.pid, status=self.status)

    def take_signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL and self.status is None:
            self.status = -number
        self.stopped = (self.stopped or number == signal.SIGSTOP) and number != signal.SIGCONT

    def _must_run(self) -> None:
        assert self.status is None, "a dead process does nothing"
        assert not self.stopped, "a stopped process does nothing"


class FakeLauncher:
    """Makes processes; the supervisor learns of nothing that the test does not deliver."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self._numbers = itertools.count(1000)

    def launch(self, name: str) -> FakeProcess:
        process = FakeProcess(name, next(self._numbers))
        self.processes.append(process)
        return process

    def poll(self) -> list[LaunchEvent]:
        return []

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """As the real launcher does it: a process that has ended gets no signal."""
        for process in self.processes:
            if process.pid == pid and process.status is None:
                process.take_signal(number)

    def standstill(self) -> str:
        return "it is waiting"


class FakeControl:
    """Reaches the latest process of each agent, if it is connected."""

    def __init__(self, launcher: FakeLauncher) -> None:
        self._launcher = launcher
        self.sent: list[tuple[str, str]] = []
        """(agent, kind of message)"""

    @property
    def connected(self) -> list[str]:
        latest = {process.name: process for process in self._launcher.processes}
        return [name for name, process in latest.items() if process.connected and process.status is None]

    def send(self, name: str, kind: Any, /, **_: Any) -> None:
        if name in self.connected:
            self.sent.append((name, kind))

    def broadcast(self, kind: Any, /, **fields: Any) -> None:
        for name in self.connected:
            self.send(name, kind, **fields)


class FakeRestarter:
    """Records how agents are restarted; `before_launch` runs in the caller's thread, where files are read."""

    def __init__(self, launcher: FakeLauncher) -> None:
        self._launcher = launcher
        self.asked: list[tuple[str, str, int, Status | None]] = []
        self.before_launch: Callable[[], None] = lambda: None
        self.refuse: Exception | None = None

    def resume(self, name: str, state: str, life: int, status: Status | None) -> ResumeSettings:
        self.asked.append((name, state, life, status))
        self.before_launch()
        return RESUME

    def launch(self, name: str, _: ResumeSettings) -> None:
        if self.refuse is not None:
            raise self.refuse
        self._launcher.launch(name)


class FakeNetwork:
    """No links, no hosts; `sick` is what is wrong with it."""

    def __init__(self) -> None:
        self.plan = SimpleNamespace(links=())
        self.delay = None
        self.sick: str | None = None

    def node_names(self) -> list[str]:
        return []

    def ailment(self) -> str | None:
        return self.sick


class FakeConductor:
    """An empty timeline."""

    restarts_pending = False
    applying = False
    error = None
    broken_off = False

    def break_off(self) -> None:
        self.broken_off = True


class Stage:
    """A supervisor among fakes. `deliver` hands it events; `do` calls it as another thread would."""

    def __init__(self, names: tuple[str, ...], journal: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.mailbox = Mailbox(self.selector)
        self.launcher = FakeLauncher()
        self.control = FakeControl(self.launcher)
        self.restarter = FakeRestarter(self.launcher)
        self.signals = Signals()
        self.network = FakeNetwork()
        self._path = journal
        self.journal = ControllerJournal(journal, "controller", lambda: 0.0)
        self._steps: deque[Callable[[], object]] = deque()
        self._idle = False
        self._told: deque[object] = deque()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(self._read, selectors.EVENT_READ, self._hand_over)
        self._pool = ThreadPoolExecutor()
        self.supervisor = Supervisor(
            names,
            selector=self.selector,
            mailbox=self.mailbox,
            control=self.control,
            launcher=self.launcher,
            restarter=self.restarter,
            journal=self.journal,
            signals=self.signals,
            on_update=self._next_step,
        )

    @classmethod
    @contextmanager
    def of(cls, folder: Path, *names: str) -> Iterator[Stage]:
        stage = cls(names or ("h1",), folder / "controller.jsonl")
        try:
            yield stage
        finally:
            stage.mailbox.close()
            stage._pool.shutdown()
            stage.journal.close()
            stage.selector.close()
            os.close(stage._read)
            os.close(stage._write)

    # Events for the supervisor

    def deliver(self, *events: object) -> None:
        """Have the supervisor handle these events now, in this order."""
        self.tell(*events)
        while self._told:
            self.supervisor.poll(10)

    def tell(self, *events: object) -> None:
        """Have the supervisor handle these events in its next turn."""
        self._told.extend(events)
        self.wake()

    def wake(self) -> None:
        os.write(self._write, b"!")

    def _hand_over(self) -> list[object]:
        os.read(self._read, 4096)
        events = list(self._told)
        self._told.clear()
        return events

    # Steps of a script, taken in the supervisor's turns

    def script(self, *steps: Callable[[], object]) -> None:
        """Take one of these steps after each turn of the loop."""
        self._steps.extend(steps)
        self.wake()

    def again(self, step: Callable[[], object]) -> None:
        """Repeat this step after the loop's next turn: for a step that waits for another thread."""
        self._steps.appendleft(step)
        self._idle = True

    def _next_step(self) -> None:
        if self._steps:
            self._idle = False
            self._steps.popleft()()
            if not self._idle:
                self.wake()

    # Calls from other threads

    def begin(self, call: Callable[..., T], *arguments: object) -> Future[T]:
        """Call it from another thread; the loop is woken when the call returns."""
        future = self._pool.submit(call, *arguments)
        future.add_done_callback(lambda _: self.wake())
        return future

    def do(self, call: Callable[..., T], *arguments: object) -> T:
        """Call it from another thread, and run the loop until the call returns."""
        return self.finish(self.begin(call, *arguments))

    def finish(self, future: Future[T]) -> T:
        self.turn_until(future.done)
        return future.result()

    def turn_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            self.supervisor.poll(1)

    # Agents in a given phase

    def starting(self, name: str = "h1") -> FakeProcess:
        return self.launcher.launch(name)

    def ready(self, name: str = "h1") -> FakeProcess:
        process = self.starting(name)
        self.deliver(process.launched(), process.joins(), process.is_ready())
        return process

    def training(self, name: str = "h1") -> FakeProcess:
        process = self.ready(name)
        self.deliver(process.trains())
        return process

    def agent(self, name: str = "h1") -> AgentState:
        return self.supervisor.agents[name]

    def steps(self, name: str = "h1") -> int | None:
        """Steps in the agent's last status; None: it has sent none."""
        status = self.agent(name).status
        return None if status is None else status["steps"]

    def phase(self, name: str = "h1") -> Phase:
        return self.agent(name).phase

    @property
    def restarted(self) -> FakeProcess:
        """The latest process."""
        return self.launcher.processes[-1]

    def records(self, event: str) -> list[dict[str, Any]]:
        return [record for record in read_journal(self._path) if record["event"] == event]

    def supervise(self, conductor: object | None = None, seconds: float = 3600.0) -> object:
        """Supervise to the end: after that many seconds, unless a script ends the run earlier."""
        until = time.monotonic() + seconds
        return self.supervisor.supervise(self.network, conductor or FakeConductor(), until)  # type: ignore[arg-type]


def end_of(process: FakeProcess) -> list[Any]:
    """The events of its end, without the message it may have sent."""
    return [process.gone(), process.exited()] if process.connected else [process.exited()]


def killed(stage: Stage) -> FakeProcess:
    """Of an agent that has been killed, and whose end is still to be told."""
    process = stage.training()
    stage.do(stage.supervisor.kill, "h1")
    return process
