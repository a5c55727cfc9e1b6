"""Agents that were killed come back: once, as themselves, whatever is still heard of the former process.

Everything is deterministic: fakes tell what the test delivers, and whoever acts on agents does so from a thread.
"""

from __future__ import annotations

import signal
import threading

import pytest

from mnbed.errors import RunError
from mnbed.run import supervisor as supervisor_module
from mnbed.run.agent_state import Phase
from tests.fakes_run import Stage, end_of, killed, status_of


def test_a_restart_waits_for_the_former_end_and_goes_on_from_the_last_status(stage: Stage) -> None:
    former = killed(stage)
    restarting = stage.begin(stage.supervisor.restart, "h1", "last")
    stage.turn_until(lambda: stage.mailbox._awaited)
    assert stage.restarted is former
    stage.deliver(*end_of(former))
    stage.finish(restarting)
    assert stage.restarter.asked == [("h1", "last", 1, status_of(1))]
    assert (stage.phase(), stage.agent().pid, stage.agent().ready) == (Phase.STARTING, None, None)


def test_a_restart_before_the_former_end_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_KILL_PATIENCE_S", 0.0)
    former = killed(stage)
    stage.do(stage.supervisor.restart, "h1", "last")
    process = stage.restarted
    for event in (process.launched(), *end_of(former)):
        stage.deliver(event)
        assert (stage.phase(), stage.agent().pid) == (Phase.STARTING, process.pid)
    stage.deliver(process.joins(), process.is_ready())
    assert (stage.phase(), stage.supervisor.error) == (Phase.TRAINING, None)


def test_the_former_end_may_be_told_before_the_new_process_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_KILL_PATIENCE_S", 0.0)
    former = killed(stage)
    stage.do(stage.supervisor.restart, "h1", "last")
    stage.deliver(*end_of(former))
    assert (stage.phase(), stage.agent().pid) == (Phase.STARTING, None)
    stage.deliver(stage.restarted.joins())
    assert stage.agent().pid == stage.restarted.pid


def test_words_of_the_former_life_are_not_the_new_ones(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_KILL_PATIENCE_S", 0.0)
    former = stage.starting()
    stage.deliver(former.launched(), former.joins())
    said = [former.is_ready(), former.trains(9), former.says("ended")]
    stage.do(stage.supervisor.kill, "h1")
    stage.do(stage.supervisor.restart, "h1", "last")
    stage.deliver(*said)
    assert (stage.phase(), stage.agent().ready, stage.agent().status) == (Phase.STARTING, None, None)


def test_one_that_was_killed_while_it_started_comes_back_once(stage: Stage) -> None:
    """Two processes of one node would fight for its port."""
    former = stage.starting()
    stage.do(stage.supervisor.kill, "h1")
    restarting = stage.begin(stage.supervisor.restart, "h1", "last")
    stage.turn_until(lambda: stage.mailbox._awaited)
    stage.deliver(former.launched())
    stage.deliver(former.exited())
    stage.finish(restarting)
    assert former.status == -signal.SIGKILL
    assert [process.status for process in stage.launcher.processes] == [-signal.SIGKILL, None]


def test_a_former_process_that_is_heard_of_late_is_not_the_new_one(stage: Stage) -> None:
    former = stage.starting()
    joined = former.joins()
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(former.launched())
    stage.deliver(former.exited())
    stage.do(stage.supervisor.restart, "h1", "last")
    for event in (joined, former.gone()):
        stage.deliver(event)
        assert (stage.phase(), stage.agent().pid, stage.supervisor.error) == (Phase.STARTING, None, None)
    stage.deliver(stage.restarted.joins())
    assert stage.agent().pid == stage.restarted.pid


def test_one_that_was_killed_and_never_seen_is_not_started_beside_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_KILL_PATIENCE_S", 0.0)
    stage.starting()
    stage.do(stage.supervisor.kill, "h1")
    with pytest.raises(RunError, match="its process has not been seen"):
        stage.do(stage.supervisor.restart, "h1", "last")
    assert len(stage.launcher.processes) == 1


def test_a_restarted_one_is_told_the_common_start(stage: Stage) -> None:
    stage.ready()
    stage.supervisor.start()
    stage.control.sent.clear()
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(*end_of(stage.restarted))
    stage.do(stage.supervisor.restart, "h1", "fresh")
    stage.deliver(stage.restarted.joins(), stage.restarted.is_ready())
    assert stage.control.sent == [("h1", "start")]
    assert stage.phase() is Phase.READY, "nobody has heard of a step yet"


def test_one_that_is_alive_is_not_started_again(stage: Stage) -> None:
    stage.training()
    stage.do(stage.supervisor.restart, "h1", "last")
    assert len(stage.launcher.processes) == 1
    assert stage.restarter.asked == []


def test_two_who_restart_at_once_start_one_process(stage: Stage) -> None:
    stage.deliver(*end_of(killed(stage)))
    both = threading.Barrier(2)

    def meet() -> None:
        both.wait(20)

    stage.restarter.before_launch = meet
    restarting = [stage.begin(stage.supervisor.restart, "h1", "last") for _ in range(2)]
    for future in restarting:
        stage.finish(future)
    assert len(stage.launcher.processes) == 2
    assert stage.agent().restarts == 1


def test_what_keeps_it_from_starting_is_the_askers_and_it_stays_down(stage: Stage) -> None:
    stage.deliver(*end_of(killed(stage)))
    stage.restarter.refuse = RunError("no memory")
    with pytest.raises(RunError, match="no memory"):
        stage.do(stage.supervisor.restart, "h1", "last")
    assert stage.phase() is Phase.GONE
    stage.restarter.refuse = None
    stage.do(stage.supervisor.restart, "h1", "last")
    assert stage.agent().restarts == 1


def test_lives_are_counted(stage: Stage) -> None:
    process = stage.training()
    for _ in range(3):
        stage.do(stage.supervisor.kill, "h1")
        stage.deliver(*end_of(process))
        stage.do(stage.supervisor.restart, "h1", "last")
        process = stage.restarted
        stage.deliver(process.launched(), process.joins(), process.is_ready())
    assert [life for _, _, life, _ in stage.restarter.asked] == [1, 2, 3]
