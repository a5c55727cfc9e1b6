"""A workbench without a network. Its runs are loops of a real supervisor among fakes, in threads as real runs are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnbed.errors import InputError, RunError
from mnbed.network.counters import InterfaceCounters
from mnbed.plan.model import Plan
from mnbed.prompt import workbench as workbench_module
from mnbed.prompt.workbench import Workbench
from mnbed.run.agent_state import Phase
from mnbed.run.job import Outcome
from mnbed.run.supervisor import Supervisor
from mnbed.run_directory import RunDirectory
from tests.fakes_run import Stage
from tests.unit.mnbed.plan.test_make import plan_of, star

HOSTS = ("h1", "h2")


@dataclass
class FakeLive:
    """Notes what is changed."""

    did: list[tuple[Any, ...]] = field(default_factory=list)

    def reshape(self, directions: Any) -> None:
        self.did.append(("reshape", [(one.source, one.target) for one in directions]))

    def set_link(self, a: str, b: str, up: bool) -> None:
        self.did.append(("set_link", a, b, up))


class FakeSide:
    """The user's files: none can be written, and every log has the same text."""

    def open_new(self, path: Path) -> int:
        raise InputError(f"{path}: no such folder")

    def tail(self, _: Path, name: str, count: int) -> list[str]:
        return [f"{name} says {count}"]


class FakeReader:
    """Every interface has carried the same."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._names = [f"{node}-eth0" for node in pids] + ["s1-eth1", "s1-eth2"]

    def read(self) -> dict[str, InterfaceCounters]:
        return dict.fromkeys(self._names, InterfaceCounters(2_000_000, 3, 1500))

    def close(self) -> None:
        pass


class FakeMininet(dict[str, Any]):
    """What Mininet's prompt asks of it: nodes by name."""

    def __init__(self, names: tuple[str, ...]) -> None:
        shell = SimpleNamespace(poll=lambda: None)
        super().__init__({name: SimpleNamespace(name=name, waiting=False, shell=shell) for name in names})
        self.nameToNode = self
        self.switches = [self["s1"]]


class FakeNetwork:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.wires = {ends: direction.wire for ends, direction in plan.directions.items()}
        self.mininet = FakeMininet((*HOSTS, "s1"))

    def pid(self, _: str) -> int:
        return 1


class FakeJob:
    """A run that trains until it is stopped, and is evaluated until the test lets it end."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.run = RunDirectory(folder / "run")
        self.journal = stage.journal
        self.supervisor: Supervisor | None = stage.supervisor
        self.started_s: float | None = 1.5
        self.end: Outcome | Exception = Outcome(run=self.run, summary=None, error=None, report=None)
        self.evaluated = threading.Event()
        self.evaluated.set()
        self._stage = stage
        self._stopped = False

    def emulated_now(self) -> float | None:
        return self.started_s

    def execute(self) -> Outcome:
        while not self._stopped:
            self._stage.supervisor.poll(20)
        self._stage.supervisor.take_no_more()
        assert self.evaluated.wait(20)
        if isinstance(self.end, Exception):
            raise self.end
        return self.end

    def stop(self) -> None:
        self._stopped = True
        self._stage.wake()


@dataclass
class Session:
    """A workbench with the fakes behind it."""

    bench: Workbench
    stage: Stage
    live: FakeLive
    job: FakeJob

    def training(self) -> None:
        """A run in which both hosts train; processes that are killed end, and the supervisor hears of it."""
        for name in HOSTS:
            self.stage.training(name)
        kill = self.stage.launcher.send_signal

        def kill_and_tell(pid: int, number: Any) -> None:
            kill(pid, number)
            for process in self.stage.launcher.processes:
                if process.pid == pid and process.status is not None:
                    self.stage.tell(process.gone(), process.exited())

        self.stage.launcher.send_signal = kill_and_tell  # type: ignore[method-assign]
        self.bench.start_run()

    def wait_for(self, name: str, phase: Phase) -> None:
        agent = self.stage.agent(name)
        assert self.stage.mailbox.wait_for(lambda: agent.phase is phase, 20), agent

    def by_hand(self) -> list[str]:
        return [record["text"] for record in self.stage.records("applied") if record["by_hand"]]


@contextmanager
def open_session(folder: Path, monkeypatch: pytest.MonkeyPatch, *, ended: bool = False) -> Iterator[Session]:
    """A workbench on a fake network. `ended`: as the prompt that a run opens when it is over."""
    monkeypatch.setattr(workbench_module, "CounterReader", FakeReader)
    monkeypatch.setattr(workbench_module, "_RATE_S", 0.0)
    network: Any = FakeNetwork(plan_of(network=star(2, link={"bandwidth": "10mbit", "delay": "5ms"})))
    with Stage.of(folder, *HOSTS) as stage:
        job, live = FakeJob(stage, folder), FakeLive()
        monkeypatch.setattr(workbench_module, "Job", lambda *_, **__: job)
        side: Any = FakeSide()
        bench = Workbench(network, live, side, folder, job if ended else None)  # type: ignore[arg-type]
        try:
            yield Session(bench, stage, live, job)
        finally:
            job.evaluated.set()
            bench.stop_run()


NO_LUCK = RunError("no luck")
