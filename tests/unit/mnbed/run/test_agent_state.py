"""The table of an agent's phases."""

from __future__ import annotations

import pytest

from mnbed.run.agent_state import DOWN, LIVING, TRANSITIONS, AgentState, Phase
from node_agent.control_messages import Ready
from tests.fakes_run import status_of


def test_the_table_is_whole_and_every_phase_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(Phase)
    reached, new = {Phase.STARTING}, {Phase.STARTING}
    while new:
        new = {after for phase in new for after in TRANSITIONS[phase]} - reached
        reached |= new
    assert reached == set(Phase)
    assert not LIVING & DOWN


@pytest.mark.parametrize("after", Phase, ids=lambda phase: phase.value)
@pytest.mark.parametrize("before", Phase, ids=lambda phase: phase.value)
def test_what_the_table_does_not_have_is_refused(before: Phase, after: Phase) -> None:
    agent = AgentState("h1", before)
    if after in TRANSITIONS[before]:
        agent.enter(after)
        assert agent.phase is after
    else:
        with pytest.raises(ValueError, match=f"h1: no transition from {before.value} to {after.value}"):
            agent.enter(after)
        assert agent.phase is before


def test_whoever_is_alive_can_be_killed_and_can_fail() -> None:
    for phase in LIVING:
        assert {Phase.KILLED, Phase.FAILED, Phase.ENDED} <= TRANSITIONS[phase]


def test_an_agent_is_done_once_nothing_more_is_to_come() -> None:
    done = {phase for phase in Phase if AgentState("h1", phase, pid=7).done}
    assert done == {Phase.ENDED, Phase.GONE}
    assert AgentState("h1", Phase.FAILED).done, "its process has ended"


def test_another_life_begins_with_nothing_but_the_last_status() -> None:
    ready: Ready = {"kind": "ready", "standin": True, "data": "made up"}
    agent = AgentState("h1", Phase.GONE, pid=7, ready=ready, killed={7}, status=status_of(3))
    agent.start_again()
    assert agent == AgentState("h1", Phase.STARTING, killed={7}, restarts=1, status=status_of(3))
