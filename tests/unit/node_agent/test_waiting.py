"""Real agents that wait for each other: processes, sockets, SIGKILL. Rounds continue whoever dies or restarts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from node_agent.algorithms import Context, create_algorithm
from node_agent.journal import read_journal
from node_agent.settings import ResumeSettings
from node_agent.streams import stream, stream_seed
from tests.unit.node_agent.real_agents import RealAgents, real_agents

NUM_NODES = 4
MORE_ROUNDS = 15
# A fixed random directed graph: a node need not hear from those it sends to.
FIXED = {"degree": 1, "redraw": False}


def one_sided_sender() -> int:
    """A node whose only receiver never sends to it."""
    receiver = {}
    for node in range(NUM_NODES):
        context = Context(
            index=node,
            peers=tuple(peer for peer in range(NUM_NODES) if peer != node),
            num_parameters=1,
            rng=stream(1, "peers", node),
            permutation_seed=stream_seed(1, "permutation"),
            num_nodes=NUM_NODES,
        )
        algorithm = create_algorithm({"name": "el_local", **FIXED}, context)
        (send,) = algorithm.after_local_phase(0, np.zeros(1, np.float32)).sends
        receiver[node] = send.peer
    return next(node for node in receiver if receiver[receiver[node]] != node)


def go_on(agents: RealAgents, nodes: set[int]) -> None:
    """Wait until each of these agents has done some more rounds."""
    before = dict(agents.rounds)
    agents.wait_until(lambda: all(agents.rounds[node] >= before[node] + MORE_ROUNDS for node in nodes))


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm",
    [{"name": "el_local", **FIXED}, {"name": "d_psgd"}],
    ids=lambda settings: str(settings["name"]),
)
def test_rounds_go_on_when_an_agent_is_killed_and_when_it_comes_back(
    tmp_path: Path, algorithm: dict[str, object]
) -> None:
    """In the first case somebody waits for the victim who never sends to it."""
    victim = one_sided_sender() if algorithm["name"] == "el_local" else 2
    everybody = set(range(NUM_NODES))
    with real_agents(tmp_path, NUM_NODES, algorithm) as agents:
        go_on(agents, everybody)
        agents.kill(victim)
        go_on(agents, everybody - {victim})
        back = ResumeSettings(life=1, round=agents.rounds[victim] + 5, steps=0, counters={}, snapshot=None)
        agents.launch(victim, back)
        agents.wait_until(lambda: agents.rounds[victim] > back.round)
        go_on(agents, everybody)
        assert agents.failed == []
    rounds = [
        record
        for node in everybody
        for record in read_journal(tmp_path / "nodes" / f"h{node + 1}.jsonl")
        if record["event"] == "round"
    ]
    waited = [record for record in rounds if record["waited_s"] > 0]
    assert any(record["waited_for"] for record in waited)
    assert all(record["node"] not in record["waited_for"] for record in waited)
