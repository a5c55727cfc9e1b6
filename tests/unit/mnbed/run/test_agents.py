"""The settings that agents get, and a real socket together with the supervisor; no agent is started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnbed.experiment.sections import parse
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan
from mnbed.run import agents as agents_module
from mnbed.run.agent_state import Phase
from mnbed.run.agents import AgentGroup
from mnbed.run.journal import ControllerJournal
from mnbed.run.launch import ExecLauncher
from mnbed.run.signals import Signals
from mnbed.run.user import User
from node_agent.control import ControlChannel
from node_agent.counters import Counters
from node_agent.settings import AgentSettings
from tests.fakes_run import RESUME, status_of
from tests.machines import ROOMY

ME = User(uid=os.getuid(), gid=os.getgid(), groups=[], home=Path("/home/me"))


class FakeSide:
    """Root's end of the user's process, as far as agents need it."""

    user = ME

    def __init__(self) -> None:
        self.resumed: list[tuple[Any, ...]] = []

    def resume(self, *arguments: Any) -> Any:
        self.resumed.append(arguments)
        return RESUME


def plan(**sections: Any) -> Plan:
    network = {"topology": {"kind": "star", "nodes": 4}}
    agents = {"launch": "exec"}
    return make_plan(parse({"network": network, "agents": agents, **sections}), ROOMY)


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentGroup]:
    monkeypatch.setattr(agents_module, "RUNTIME_DIRECTORY", tmp_path)
    ring = {"kind": "ring"}
    made = plan(overlay=ring, algorithm={"name": "d-psgd"}, time={"duration": "10s", "dilation": 2})
    with AgentGroup.start(made, tmp_path / "run", FakeSide()) as started:  # type: ignore[arg-type]
        yield started
    assert list(tmp_path.glob("run-*")) == [], "the socket is gone"


def test_agents_get_the_settings_of_the_plan(group: AgentGroup) -> None:
    first, *others = group.settings
    assert [settings.name for settings in group.settings] == ["h1", "h2", "h3", "h4"]
    assert [peer.name for peer in first.peers] == ["h2", "h4"]
    assert {peer.port for peer in first.peers} == {first.port}
    assert (first.dilation, first.duration_s, first.num_nodes) == (2, 10, 4)
    assert len({settings.token for settings in group.settings}) == 1
    # The overlay is not complete, so each knows its own part of it.
    assert first.overlay == {"0": [1, 3], "1": [0, 2], "3": [0, 2]}
    assert all(settings.run_directory == first.run_directory for settings in others)


def test_on_a_complete_overlay_agents_get_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_module, "RUNTIME_DIRECTORY", tmp_path)
    made = plan(algorithm={"name": "divshare", "degree": 2})
    with AgentGroup.start(made, tmp_path / "run", FakeSide()) as started:  # type: ignore[arg-type]
        assert {settings.overlay for settings in started.settings} == {None}


def test_the_bound_on_rounds_is_above_what_any_node_reaches(group: AgentGroup) -> None:
    settings = group.settings[0]
    assert settings.max_round is not None
    assert settings.max_round > settings.duration_s / settings.step_time_s / int(settings.task["local_steps"])


def test_a_restarted_agent_is_launched_with_where_to_resume(group: AgentGroup) -> None:
    launched: list[AgentSettings] = []
    network: Any = SimpleNamespace()
    group.launcher = SimpleNamespace(launch=lambda _, settings: launched.extend(settings))  # type: ignore[assignment]
    side = FakeSide()
    restarter = agents_module._Restarter(group, network, side)  # type: ignore[arg-type]
    resume = restarter.resume("h2", "last", 1, status_of(3))
    restarter.launch("h2", resume)
    assert side.resumed == [("h2", "last", 1, status_of(3))]
    assert launched == [replace(group.settings[1], resume=RESUME)]


def test_over_a_real_socket_an_agent_joins_trains_fails_and_is_gone(
    group: AgentGroup, tmp_path: Path
) -> None:
    assert isinstance(group.launcher, ExecLauncher)
    journal = ControllerJournal(tmp_path / "journal", "controller", lambda: None)
    network: Any = SimpleNamespace()
    supervisor = group.join(network, journal, Signals(), lambda: None)
    settings = group.settings[0]
    agent = supervisor.agents["h1"]

    def until(phase: Phase) -> None:
        while agent.phase is not phase:
            supervisor.poll(20)

    channel = ControlChannel.connect(settings.control_socket)
    channel.send("hello", name="h1", token=settings.token)
    channel.send("ready", standin=True, data="made up")
    until(Phase.READY)
    assert agent.pid == os.getpid(), "as the kernel says"
    supervisor.start()
    assert [message["kind"] for message in channel.receive() or []] == ["start"]
    channel.send("status", t=1.0, round=0, steps=1, train_loss=None, counters=Counters().totals())
    until(Phase.TRAINING)
    channel.close()
    until(Phase.FAILED)
    assert agent.pid is None
    assert supervisor.error is not None
    assert supervisor.error.message == "h1's agent disappeared"
    journal.close()
