"""What becomes of agents that fail, are killed or are paused, in whichever order launcher and sockets tell of it.

Everything is deterministic: fakes tell what the test delivers, and whoever acts on agents does so from a thread.
"""

from __future__ import annotations

import itertools
import signal

import pytest

from mnbed.errors import InputError, MachineError, RunError
from mnbed.run.agent_state import Phase
from tests.fakes_run import Stage, end_of

# --- failures ---


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_failure_is_told_in_its_own_words_whatever_comes_first(
    stage: Stage, order: tuple[int, ...]
) -> None:
    process = stage.training()
    words = process.fails("the disk is full", exit_status=3)
    process.exits(1)
    told = [words, *end_of(process)]
    stage.deliver(*[told[place] for place in order])
    assert stage.phase() is Phase.FAILED
    assert stage.agent().done
    assert isinstance(stage.supervisor.error, MachineError)
    assert stage.supervisor.error.message == "the disk is full"


@pytest.mark.parametrize("gone_first", [True, False])
def test_without_words_the_exit_status_says_more_than_the_silence(stage: Stage, gone_first: bool) -> None:
    process = stage.training()
    process.take_signal(signal.SIGSEGV)
    process.status = -signal.SIGSEGV
    told = end_of(process) if gone_first else end_of(process)[::-1]
    stage.deliver(told[0])
    assert stage.phase() is Phase.FAILED
    stage.deliver(told[1])
    assert stage.supervisor.error is not None
    assert stage.supervisor.error.message == "h1's agent was killed by SIGSEGV"
    assert stage.records("agent_died")[-1]["cause"] == "h1's agent was killed by SIGSEGV"
    assert len(stage.records("agent_died")) == 1


def test_a_failure_before_the_barrier_waits_for_its_cause(stage: Stage) -> None:
    process = stage.starting()
    told = [process.launched(), process.joins()]
    process.exits(3)
    stage.script(
        lambda: stage.tell(*told, process.gone()),
        lambda: None,
        lambda: stage.tell(process.exited()),
    )
    with pytest.raises(RunError, match="h1's agent exited with status 3 before its end"):
        stage.supervisor.wait_ready()


def test_one_that_fails_before_it_has_joined_is_heard(stage: Stage) -> None:
    process = stage.starting()
    words = process.fails("no such algorithm", exit_status=2)
    process.exits(1)
    stage.deliver(words, process.gone(), process.exited(), process.launched())
    assert isinstance(stage.supervisor.error, InputError)
    assert stage.agent().done
    assert stage.agent().pid is None


def test_the_first_failure_is_the_runs(pair: Stage) -> None:
    first, second = pair.training("h1"), pair.training("h2")
    pair.deliver(second.fails("second's"), first.fails("first's"))
    assert pair.supervisor.error is not None
    assert pair.supervisor.error.message == "second's"
    assert [record["agent"] for record in pair.records("agent_died")] == ["h2", "h1"]


def test_ended_then_gone_is_no_failure_but_gone_then_nothing_is(pair: Stage) -> None:
    ended, vanished = pair.training("h1"), pair.training("h2")
    pair.deliver(ended.says("ended"))
    ended.exits(0)
    vanished.exits(0)
    pair.deliver(*end_of(ended), *end_of(vanished))
    assert [pair.phase("h1"), pair.phase("h2")] == [Phase.ENDED, Phase.FAILED]
    assert pair.supervisor.error is not None
    assert pair.supervisor.error.message == "h2's agent exited with status 0 before its end"


# --- killed ---


@pytest.mark.parametrize("gone_first", [True, False])
def test_one_that_was_killed_is_gone_and_has_not_failed(stage: Stage, gone_first: bool) -> None:
    process = stage.training()
    stage.do(stage.supervisor.kill, "h1")
    assert process.signals == [signal.SIGKILL]
    assert (stage.phase(), stage.agent().pid, stage.agent().done) == (Phase.KILLED, process.pid, False)
    told = end_of(process) if gone_first else end_of(process)[::-1]
    for event in told:
        stage.deliver(event)
        assert (stage.phase(), stage.agent().pid, stage.agent().done) == (Phase.GONE, None, True)
    assert stage.supervisor.error is None


@pytest.mark.parametrize("first", ["launched", "joins"])
def test_one_that_is_killed_before_it_is_known_dies_as_soon_as_it_is(stage: Stage, first: str) -> None:
    process = stage.starting()
    stage.do(stage.supervisor.kill, "h1")
    assert (stage.phase(), process.signals) == (Phase.KILLED, [])
    told = getattr(process, first)()
    stage.deliver(told)
    assert process.status == -signal.SIGKILL
    late = [process.launched()] if first == "joins" else []
    stage.deliver(*end_of(process), *late)
    assert (stage.phase(), stage.supervisor.error) == (Phase.GONE, None)


def test_one_that_is_killed_before_it_is_known_may_end_by_itself(stage: Stage) -> None:
    process = stage.starting()
    stage.do(stage.supervisor.kill, "h1")
    process.exits(1)
    stage.deliver(process.exited(), process.launched())
    assert (stage.phase(), stage.supervisor.error) == (Phase.GONE, None)


def test_what_had_been_said_before_the_kill_changes_nothing(stage: Stage) -> None:
    process = stage.ready()
    said = [process.trains(5), process.says("ended")]
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(*said)
    assert stage.phase() is Phase.KILLED
    assert stage.steps() == 5, "where it goes on, should it come back"


def test_a_failure_said_before_the_kill_stays_one(stage: Stage) -> None:
    """In both orders: what went wrong is never covered up by an event."""
    process = stage.training()
    words = process.fails("the loss is not a number")
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(*end_of(process), words)
    assert stage.phase() is Phase.FAILED
    assert stage.agent().done
    assert stage.supervisor.error is not None


def test_a_failure_said_before_the_kill_and_read_before_the_end(stage: Stage) -> None:
    process = stage.training()
    words = process.fails("the loss is not a number")
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(words)
    assert not stage.agent().done
    stage.deliver(*end_of(process))
    assert stage.agent().done, "else the run would wait for it"


def test_killing_one_that_has_failed_covers_nothing_up(stage: Stage) -> None:
    process = stage.training()
    process.exits(7)
    stage.deliver(process.gone())
    stage.do(stage.supervisor.kill, "h1")
    assert process.signals == [], "its number may be somebody else's by now"
    stage.deliver(process.exited())
    assert stage.supervisor.error is not None
    assert "status 7" in stage.supervisor.error.message


def test_killing_twice_is_killing_once(stage: Stage) -> None:
    process = stage.training()
    stage.do(stage.supervisor.kill, "h1")
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(*end_of(process))
    stage.do(stage.supervisor.kill, "h1")
    assert (stage.phase(), stage.supervisor.error) == (Phase.GONE, None)


def test_one_that_has_ended_can_be_killed(stage: Stage) -> None:
    process = stage.training()
    stage.deliver(process.says("ended"))
    stage.do(stage.supervisor.kill, "h1")
    stage.deliver(*end_of(process))
    assert (stage.phase(), stage.supervisor.error) == (Phase.GONE, None)


# --- paused ---


def test_a_paused_one_goes_on_where_it_was(stage: Stage) -> None:
    process = stage.training()
    stage.do(stage.supervisor.pause, "h1")
    assert (stage.phase(), process.stopped) == (Phase.PAUSED, True)
    stage.do(stage.supervisor.resume, "h1")
    assert (stage.phase(), process.stopped) == (Phase.TRAINING, False)
    stage.do(stage.supervisor.resume, "h1")
    assert process.signals == [signal.SIGSTOP, signal.SIGCONT]


def test_what_had_been_said_before_the_pause_does_not_end_it(stage: Stage) -> None:
    process = stage.starting()
    stage.deliver(process.launched(), process.joins())
    said = [process.is_ready(), process.trains()]
    stage.do(stage.supervisor.pause, "h1")
    stage.deliver(*said)
    assert (stage.phase(), process.stopped) == (Phase.PAUSED, True)
    stage.do(stage.supervisor.resume, "h1")
    assert stage.phase() is Phase.TRAINING


def test_one_that_is_paused_before_it_is_known_stops_as_soon_as_it_is(stage: Stage) -> None:
    process = stage.starting()
    stage.do(stage.supervisor.pause, "h1")
    stage.deliver(process.launched())
    assert process.stopped
    stage.do(stage.supervisor.resume, "h1")
    assert (stage.phase(), process.stopped) == (Phase.STARTING, False)
    stage.deliver(process.joins(), process.is_ready())
    assert stage.phase() is Phase.READY


@pytest.mark.parametrize("said_first", [True, False])
def test_one_that_ends_as_it_is_paused_has_ended_and_can_exit(stage: Stage, said_first: bool) -> None:
    process = stage.training()
    ended = process.says("ended")
    if said_first:
        stage.deliver(ended)
    stage.do(stage.supervisor.pause, "h1")
    if not said_first:
        stage.deliver(ended)
    assert (stage.phase(), process.stopped) == (Phase.ENDED, False)


def test_paused_then_killed_then_restarted(stage: Stage) -> None:
    former = stage.training()
    stage.do(stage.supervisor.pause, "h1")
    stage.do(stage.supervisor.kill, "h1")
    stage.do(stage.supervisor.resume, "h1")
    assert former.signals == [signal.SIGSTOP, signal.SIGKILL]
    stage.deliver(*end_of(former))
    stage.do(stage.supervisor.pause, "h1")
    stage.do(stage.supervisor.restart, "h1", "last")
    process = stage.restarted
    stage.deliver(process.launched(), process.joins(), process.is_ready())
    assert (stage.phase(), process.signals) == (Phase.TRAINING, [])


def test_a_paused_one_that_dies_has_failed(stage: Stage) -> None:
    process = stage.training()
    stage.do(stage.supervisor.pause, "h1")
    process.take_signal(signal.SIGKILL)
    stage.deliver(*end_of(process))
    assert stage.phase() is Phase.FAILED
