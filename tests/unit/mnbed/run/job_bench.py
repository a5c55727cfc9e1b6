"""A run without root, network or agents: each part notes when it is reached, and can be made to fail there.

The user's process does its work in this one. Directory, journal, signals, tables and summary are the real ones.
"""

from __future__ import annotations

import functools
import io
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mnbed.errors import MnbedError
from mnbed.network.probe import Probe
from mnbed.run import job as job_module
from mnbed.run import record
from mnbed.run.agent_state import AgentState, Phase
from mnbed.run.job import Job, Outcome
from mnbed.run.launch import Loaded, PreforkLauncher
from mnbed.run.record import describe
from mnbed.run.sampling import LinkTotals
from mnbed.run.user import User
from mnbed.run.user_process import Answer, UserProcess
from mnbed.run.user_side import UserSide
from node_agent.journal import read_journal
from tests.unit.mnbed.plan.test_make import plan_of, star

DURATION_S = 2.0
ME = User(uid=os.getuid(), gid=os.getgid(), groups=[], home=Path("/home/me"))
# What a run holds from when it is reached to its end, outermost first.
HELD = ("lock", "mark", "agents", "network", "timeline")


class Steps(list[str]):
    """What has been done, in order; `at` says what happens where a run gets to a step."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, Callable[[], None]] = {}

    def take(self, name: str) -> None:
        """Noted unless it fails."""
        self.at.get(name, lambda: None)()
        self.append(name)

    @contextmanager
    def held(self, name: str, thing: Any = None) -> Iterator[Any]:
        self.take(name)
        try:
            yield thing
        finally:
            self.take(f"{name} ends")


class Handlers(UserProcess):
    """What the user's process does, but for what takes long."""

    def do_revision(self) -> Answer:
        return "made up", None

    def do_evaluate(self, keep_snapshots: bool) -> Answer:
        del keep_snapshots
        return None, None


class Side(UserSide):
    """Root's end, and the other end in the same process."""

    def __init__(self, steps: Steps) -> None:
        self.user = ME
        self.journal_file: str | None = None
        self._steps = steps
        self._handlers = Handlers(None, None)  # type: ignore[arg-type]

    def _ask(self, call: str, progress: Callable[[float, float], None] | None = None, /, **args: Any) -> Any:
        del progress
        return self._call(call, args)[0]

    def _open(self, call: str, **args: Any) -> int:
        if self.journal_file is not None:
            return os.open(self.journal_file, os.O_WRONLY)
        file = self._call(call, args)[1]
        assert file is not None
        return file

    def _call(self, call: str, args: dict[str, Any]) -> Answer:
        self._steps.take(call)
        handler: Callable[..., Answer] = getattr(self._handlers, f"do_{call}")
        result, file = handler(**args)
        return json.loads(json.dumps(result)), file

    def close(self) -> None:
        self._steps.append("close")


class Network:
    """No links, no hosts."""

    delay = None

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def verify(self) -> list[Any]:
        self._steps.take("verify")
        return []

    def read_back(self) -> list[Any]:
        self._steps.take("read back")
        return []

    def differences(self, _: list[Any]) -> list[str]:
        return []


class Launcher(PreforkLauncher):
    """Launches nobody."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def launch(self, *_: Any) -> None:
        self._steps.take("launch")


class Supervisor:
    """Of one agent, all of whose messages have come; half of the time has passed when it is started."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        ready: Any = {"kind": "ready", "standin": False, "data": "made up"}
        self.agents = {"h1": AgentState("h1", phase=Phase.READY, pid=os.getpid(), ready=ready)}
        self.error: MnbedError | None = None

    def wait_loaded(self, _: Launcher) -> Loaded:
        self._steps.take("load")
        return Loaded(standin=False, description="made up", step_wall_s=0.1, num_parameters=1, partition=[])

    def wait_ready(self) -> None:
        self._steps.take("barrier")

    def start(self) -> float:
        self._steps.take("start")
        return time.monotonic() - DURATION_S

    def supervise(self, *_: Any) -> Mapping[str, LinkTotals]:
        self._steps.take("training")
        none = LinkTotals(bytes_sent=0, drops=0, peak_bps=None, backlog_peak_bytes=0)
        return defaultdict(lambda: none)

    def take_no_more(self) -> None:
        self._steps.take("no more")

    def dismiss(self) -> None:
        self._steps.take("dismissal")


@dataclass
class Bench:
    """A job among them. `steps.at` before `run`."""

    folder: Path
    steps: Steps = field(default_factory=Steps)
    said: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.side = Side(self.steps)
        self.network: Any = Network(self.steps)
        self.supervisor = Supervisor(self.steps)
        self.plan = plan_of(network=star(2), time={"duration": "2s", "dilation": 1}, evaluate={"every": "1s"})

    def job(self, **more: Any) -> Job:
        options: dict[str, Any] = {"side": self.side, "report": False, **more}
        console = Console(file=self.said, width=300)
        return Job(self.plan, out=self.folder / "runs", console=console, **options)

    def run(self, **more: Any) -> Outcome:
        return self.job(**more).execute()

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Instead of what takes root."""
        steps = self.steps
        group = SimpleNamespace(launcher=Launcher(steps), settings=[], join=self._join)
        conductor = SimpleNamespace(start=lambda _: None, stop=lambda: None)
        probe = Probe(directions=[], paths=[], skipped=0, took_wall_s=0.0)
        for name, thing in {
            "run_lock": lambda _: steps.held("lock"),
            "remove_leftovers": lambda: steps.take("leftovers"),
            "marked": lambda _: steps.held("mark"),
            "raise_open_files": lambda _: steps.take("open files"),
            "build_network": lambda *_: steps.held("network", self.network),
            "probe_network": lambda *_: self._taken("probe", probe),
            "memory_mb": lambda _: 18.5,
            "AgentGroup": SimpleNamespace(start=lambda *_: steps.held("agents", group)),
            "Conductor": SimpleNamespace(of=lambda *_: steps.held("timeline", conductor)),
            "UserSide": SimpleNamespace(start=self._own_side),
        }.items():
            monkeypatch.setattr(job_module, name, thing)
        # It asks five programs for their versions.
        monkeypatch.setattr(record, "describe", lambda *_: {**_described()})

    def _join(self, *_: Any) -> Supervisor:
        self.steps.take("join")
        return self.supervisor

    def _taken(self, name: str, result: Any) -> Any:
        self.steps.take(name)
        return result

    @contextmanager
    def _own_side(self) -> Iterator[Side]:
        try:
            yield self.side
        finally:
            self.side.close()

    @property
    def directory(self) -> Path:
        (found,) = (self.folder / "runs").iterdir()
        return found

    def records(self, event: str) -> list[dict[str, Any]]:
        """Of the controller's journal."""
        journal = read_journal(self.directory / "nodes" / "controller.jsonl")
        return [record for record in journal if record["event"] == event]

    @property
    def phases(self) -> list[str]:
        return [record["name"] for record in self.records("phase")]


@functools.cache
def _described() -> Mapping[str, Any]:
    return describe(plan_of(network=star(2)), datetime(2026, 11, 20), None)
