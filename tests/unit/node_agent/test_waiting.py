"""Agents that wait for each other, for real: processes, sockets, SIGKILL. Rounds go on whoever dies or comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_agent.journal import read_journal
from node_agent.settings import ResumeSettings
from tests.unit.node_agent.real_agents import RealAgents, real_agents

NUM_NODES = 4
MORE_ROUNDS = 15


def go_on(agents: RealAgents, nodes: set[int]) -> None:
    """Every one of these does some more rounds."""
    before = dict(agents.rounds)
    agents.wait_until(lambda: all(agents.rounds[node] >= before[node] + MORE_ROUNDS for node in nodes))


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", [{"name": "el_local", "degree": 1}, {"name": "d_psgd"}], ids=lambda one: str(one["name"])
)
def test_rounds_go_on_when_an_agent_is_killed_and_when_it_comes_back(
    tmp_path: Path, algorithm: dict[str, object]
) -> None:
    """With one receiver a round, nodes often wait for somebody to whom they have never sent."""
    everybody = set(range(NUM_NODES))
    with real_agents(tmp_path, NUM_NODES, algorithm) as agents:
        go_on(agents, everybody)
        agents.kill(2)
        go_on(agents, everybody - {2})
        back = ResumeSettings(life=1, round=agents.rounds[2] + 5, steps=0, counters={}, snapshot=None)
        agents.launch(2, back)
        agents.wait_until(lambda: agents.rounds[2] > back.round)
        go_on(agents, everybody)
        assert agents.failed == []
    rounds = [one for one in read_journal(tmp_path / "nodes" / "h1.jsonl") if one["event"] == "round"]
    waited = [one for one in rounds if one["waited_s"] > 0]
    assert waited
    assert {name for one in waited for name in one["waited_for"]} <= {"h2", "h3", "h4"}
    assert any(one["waited_for"] for one in waited)
