"""What every launcher reports, the fake one included; and how a warm parent's output and end are reported.

The warm parent's real loop runs here, with agents that only wait; the other launcher starts programs that only wait.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnbed.errors import InputError, MachineError, RunError
from mnbed.run import launch as launch_module
from mnbed.run.launch import (
    ExecLauncher,
    Exited,
    Launched,
    LauncherGone,
    Loaded,
    PreforkLauncher,
    agent_environment,
    orders_for,
)
from mnbed.run.user import User
from node_agent.settings import AgentSettings
from tests.fakes_run import FakeLauncher

ME = User(uid=os.getuid(), gid=os.getgid(), groups=[], home=Path("/"))
ORDERS = orders_for({"name": "digits"}, Path("/nonexistent"), 1, 2, ME)
# The real loop of the warm parent, without data and torch; its agents only wait.
PARENT = """
import json, signal
from node_agent import prefork
prefork.become_agent = lambda *_: signal.pause()
orders = json.loads(prefork.first_line())
prefork.say("loaded", standin=True, description=orders["task"]["name"], step_wall_s=0.5, num_parameters=3,
            partition=[[1]])
prefork.serve(orders, 0)
"""


def settings(name: str) -> AgentSettings:
    return AgentSettings(
        name=name,
        index=0,
        num_nodes=2,
        address="10.0.0.1",
        port=9000,
        peers=(),
        token="ab" * 16,
        run_directory="/nonexistent",
        control_socket="/nonexistent",
        seed=1,
        dilation=1.0,
        duration_s=1.0,
        step_time_s=0.1,
        snapshot_every_s=1.0,
        snapshot_model="current",
        ledger=False,
        algorithm={"name": "local"},
        task={"name": "digits"},
        data_root="/nonexistent",
    )


@dataclass
class Network:
    """Hosts in which a program does nothing but wait to be killed."""

    programs: list[dict[str, Any]] = field(default_factory=list)

    def pid(self, _: str) -> int:
        return os.getpid()

    @property
    def mininet(self) -> Any:
        return SimpleNamespace(nameToNode=dict.fromkeys(("h1", "h2"), SimpleNamespace(popen=self._popen)))

    def _popen(self, _: list[str], *, stdin: Any, **more: Any) -> subprocess.Popen[bytes]:
        self.programs.append({"stdin": stdin.read(), **more})
        return subprocess.Popen(
            [sys.executable, "-S", "-c", "import signal; signal.pause()"], stdin=subprocess.DEVNULL
        )


@dataclass
class Bench:
    """A launcher, with the events that it has reported."""

    selector: selectors.BaseSelector
    launcher: Any
    start: Callable[[str], None]
    events: list[Any] = field(default_factory=list)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.events
            for key, _ in self.selector.select(0.01):
                self.events += key.data()
            self.events += self.launcher.poll()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def warm_parent(
    folder: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[selectors.BaseSelector, PreforkLauncher]]:
    monkeypatch.setattr(launch_module, "our_program", lambda *_: [sys.executable, "-c", code])
    log = os.open(folder / "parent.log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    with (
        selectors.DefaultSelector() as selector,
        PreforkLauncher.start(ORDERS, folder / "parent.log", log, selector) as launcher,
    ):
        yield selector, launcher


class ReportingFake(FakeLauncher):
    """The fake launcher, except that it reports everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self._reported: set[object] = set()

    def poll(self) -> list[Any]:
        events: list[Any] = [process.launched() for process in self.processes]
        events += [process.exited() for process in self.processes if process.status is not None]
        new = [event for event in events if event not in self._reported]
        self._reported.update(new)
        return new


@pytest.fixture(params=["fake", "exec", "prefork"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    network: Any = Network()
    with ExitStack() as stack:
        if request.param == "prefork":
            selector, launcher = stack.enter_context(warm_parent(tmp_path, PARENT, monkeypatch))
            made = Bench(selector, launcher, lambda name: launcher.launch(network, [settings(name)]))
            made.until(lambda: made.of(Loaded))
        elif request.param == "exec":
            selector = stack.enter_context(selectors.DefaultSelector())
            direct = stack.enter_context(ExecLauncher.start(ORDERS))
            made = Bench(selector, direct, lambda name: direct.launch(network, [settings(name)]))
        else:
            selector, fake = stack.enter_context(selectors.DefaultSelector()), ReportingFake()
            made = Bench(selector, fake, lambda name: (fake.launch(name), None)[1])
        yield made


def test_every_launcher_reports_processes_and_their_ends(bench: Bench) -> None:
    bench.start("h1")
    bench.start("h2")
    bench.until(lambda: len(bench.of(Launched)) == 2)
    first, second = bench.of(Launched)
    assert (first.name, second.name) == ("h1", "h2")
    assert first.pid != second.pid
    bench.launcher.send_signal(first.pid, signal.SIGSTOP)
    bench.launcher.send_signal(first.pid, signal.SIGKILL)
    bench.until(lambda: bench.of(Exited))
    assert bench.of(Exited) == [Exited(name="h1", pid=first.pid, status=-signal.SIGKILL)]


def test_every_launcher_starts_a_killed_one_again(bench: Bench) -> None:
    bench.start("h1")
    bench.until(lambda: bench.of(Launched))
    bench.launcher.send_signal(bench.of(Launched)[0].pid, signal.SIGKILL)
    bench.start("h1")
    bench.until(lambda: len(bench.of(Launched)) == 2 and bench.of(Exited))
    former, new = bench.of(Launched)
    assert bench.of(Exited) == [Exited(name="h1", pid=former.pid, status=-signal.SIGKILL)]
    assert new.pid != former.pid
    assert bench.events.index(former) < bench.events.index(bench.of(Exited)[0])


def test_every_launcher_signals_its_own_processes_only(bench: Bench) -> None:
    bench.start("h1")
    bench.until(lambda: bench.of(Launched))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        bench.launcher.send_signal(stranger.pid, signal.SIGKILL)
        bench.launcher.send_signal(bench.of(Launched)[0].pid, signal.SIGKILL)
        bench.until(lambda: bench.of(Exited))
        assert stranger.poll() is None


def test_leaving_ends_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = Network()
    with warm_parent(tmp_path, PARENT, monkeypatch) as (selector, launcher):
        bench = Bench(selector, launcher, lambda name: launcher.launch(network, [settings(name)]))
        bench.until(lambda: bench.of(Loaded))
        bench.start("h1")
        bench.until(lambda: bench.of(Launched))
    with ExecLauncher.start(ORDERS) as direct:
        direct.launch(network, [settings("h2")])
        (exec_event,) = direct.poll()
    for event in (bench.of(Launched)[0], exec_event):
        assert isinstance(event, Launched)
        with pytest.raises(ProcessLookupError):
            os.kill(event.pid, 0)


def test_the_data_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_parent(tmp_path, PARENT, monkeypatch) as (selector, launcher):
        bench = Bench(selector, launcher, lambda _: None)
        bench.until(lambda: bench.events)
        assert bench.events == [
            Loaded(standin=True, description="digits", step_wall_s=0.5, num_parameters=3, partition=[[1]])
        ]


@pytest.mark.parametrize(("status", "kind"), [(1, RunError), (2, InputError), (3, MachineError)])
def test_an_error_of_the_warm_parent_is_raised_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    code = f"""import json; print(json.dumps(
        {{"kind": "error", "message": "no data", "remedy": "get some", "exit_status": {status}}}))"""
    with warm_parent(tmp_path, code, monkeypatch) as (selector, launcher):
        bench = Bench(selector, launcher, lambda _: None)
        with pytest.raises(kind, match="no data") as caught:
            bench.until(lambda: False)
    assert getattr(caught.value, "remedy") == "get some"  # noqa: B009


def test_the_end_of_the_warm_parent_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; print('trying', file=sys.stderr); sys.exit('MemoryError')"
    with warm_parent(tmp_path, code, monkeypatch) as (selector, launcher):
        bench = Bench(selector, launcher, lambda _: None)
        bench.until(lambda: bench.events)
        assert bench.events == [LauncherGone(message="the warm parent of the agents ended: MemoryError")]
        launcher.send_signal(1, signal.SIGTERM)  # to nobody: ignored


def test_a_stuck_warm_parent_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
sys.stdin.readline()
print("reading", file=sys.stderr, flush=True)
print('{"kind": "hello"}', flush=True)
sys.stdin.readline()
"""
    with warm_parent(tmp_path, code, monkeypatch) as (selector, launcher):
        assert selector.select(60)
        assert launcher.standstill() == "it is waiting: reading"
        assert launcher.activity() == launcher.activity()


def test_an_agent_as_a_program_of_its_own_gets_everything_and_has_one_thread() -> None:
    network: Any = Network()
    with ExecLauncher.start(ORDERS) as launcher:
        launcher.launch(network, [settings("h1")])
    (program,) = network.programs
    assert b'"data_root": "/nonexistent"' in program["stdin"]
    assert b'"name": "h1"' in program["stdin"]
    assert program["env"]["OMP_NUM_THREADS"] == "1"
    assert program["env"].keys() == agent_environment().keys()
    assert launcher.standstill() == ""
