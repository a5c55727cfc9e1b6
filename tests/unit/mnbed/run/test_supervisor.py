"""What becomes of agents, in whichever order their launcher, their sockets, events and the user are heard of.

Everything is deterministic: fakes tell what the test delivers, and whoever acts on agents does so from a thread.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnbed.errors import InputError, MachineError, RunError
from mnbed.plan.model import NodeEvent
from mnbed.run import supervisor as supervisor_module
from mnbed.run.agent_state import Phase
from mnbed.run.launch import LauncherGone, Loaded
from mnbed.run.mailbox import RunIsOver
from mnbed.run.timeline import Conductor
from tests.fakes_run import FakeConductor, FakeProcess, Stage, status_of
from tests.unit.mnbed.run.test_conductor import Notes, plan_with


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage.of(tmp_path) as made:
        yield made


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Stage]:
    with Stage.of(tmp_path, "h1", "h2") as made:
        yield made


# --- as it should be ---


def test_an_agent_starts_trains_and_ends(stage: Stage) -> None:
    process = stage.starting()
    seen = [stage.phase()]
    for first in (process.launched(), process.joins()):
        stage.deliver(first)
        assert (stage.phase(), stage.agent().pid) == (Phase.STARTING, process.pid)
    for event in (process.is_ready(), process.trains(1), process.trains(2), process.says("ended")):
        stage.deliver(event)
        seen.append(stage.phase())
    assert seen == [Phase.STARTING, Phase.READY, Phase.TRAINING, Phase.TRAINING, Phase.ENDED]
    assert stage.steps() == 2
    assert stage.agent().done
    process.exits(0)
    stage.deliver(process.gone(), process.exited())
    assert (stage.phase(), stage.agent().pid, stage.supervisor.error) == (Phase.ENDED, None, None)
    assert stage.records("agent_died") == []


def test_the_socket_may_tell_of_a_process_before_the_launcher_does(stage: Stage) -> None:
    process = stage.starting()
    stage.deliver(process.joins(), process.is_ready(), process.launched())
    assert (stage.phase(), stage.agent().pid) == (Phase.READY, process.pid)


def test_of_agents_that_nobody_knows_nothing_is_kept(stage: Stage) -> None:
    stranger = stage.starting("h9")
    told = [stranger.launched(), stranger.joins(), stranger.is_ready()]
    stranger.exits(1)
    stage.deliver(*told, stranger.gone(), stranger.exited())
    assert set(stage.supervisor.agents) == {"h1"}
    assert stage.supervisor.error is None


def test_the_barrier_waits_for_all_and_the_start_reaches_all(pair: Stage) -> None:
    processes = [pair.starting("h1"), pair.starting("h2")]
    pair.script(
        lambda: pair.tell(processes[0].joins(), processes[0].is_ready()),
        lambda: pair.tell(processes[1].joins()),
        lambda: pair.tell(processes[1].is_ready()),
    )
    pair.supervisor.wait_ready()
    assert [pair.phase("h1"), pair.phase("h2")] == [Phase.READY, Phase.READY]
    pair.supervisor.start()
    assert pair.control.sent == [("h1", "start"), ("h2", "start")]


def test_the_barrier_gives_up_on_those_who_do_not_come(pair: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_BARRIER_PATIENCE_S", 0.0)
    pair.ready("h1")
    pair.script(lambda: None, lambda: None)
    with pytest.raises(
        RunError, match=r"^h2 did not reach the start barrier in 0 s; the warm parent: it is waiting"
    ):
        pair.supervisor.wait_ready()


class Loader:
    log_path = Path("/nodes/parent.log")

    def __init__(self) -> None:
        self.looks = 0

    def activity(self) -> object:
        self.looks += 1
        return self.looks

    def standstill(self) -> str:
        return "it is waiting"

    poll = send_signal = None  # of no use here


LOADED = Loaded(standin=True, description="made up", step_wall_s=0.1, num_parameters=10, partition=[])


def test_the_data_is_waited_for(stage: Stage) -> None:
    stage.script(lambda: stage.tell(LOADED))
    assert stage.supervisor.wait_loaded(Loader()) == LOADED  # type: ignore[arg-type]


def test_loading_that_makes_no_progress_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_LOAD_PATIENCE_S", 0.0)
    stage.script(*[lambda: None] * 9)
    with pytest.raises(RunError, match="has made no progress for 0 s: it is waiting") as caught:
        stage.supervisor.wait_loaded(Loader())  # type: ignore[arg-type]
    assert "/nodes/parent.log" in str(caught.value)


def test_the_end_of_the_warm_parent_ends_the_wait(stage: Stage) -> None:
    stage.script(lambda: stage.tell(LauncherGone(message="the warm parent ended: no memory")))
    with pytest.raises(RunError, match="no memory"):
        stage.supervisor.wait_ready()


@pytest.mark.parametrize("first", ["agents", "parent"])
def test_a_dead_warm_parent_is_the_cause_of_its_agents_end(stage: Stage, first: str) -> None:
    """They end with it, and nobody is left who could tell their exit status."""
    process = stage.training()
    process.exits(-signal.SIGKILL)
    end = LauncherGone(message="the warm parent ended: killed")
    stage.deliver(*([process.gone(), end] if first == "agents" else [end, process.gone()]))
    assert isinstance(stage.supervisor.error, RunError)
    assert stage.supervisor.error.message == end.message


# --- failures ---


def end_of(process: FakeProcess) -> list[Any]:
    """What is told of it, but for its words."""
    return [process.gone(), process.exited()] if process.connected else [process.exited()]


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


# --- restarted ---


def killed(stage: Stage) -> FakeProcess:
    """Of an agent that has been killed, and whose end is still to be told."""
    process = stage.training()
    stage.do(stage.supervisor.kill, "h1")
    return process


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


# --- supervision ---


def test_it_lasts_until_all_have_ended_and_is_over_then(pair: Stage) -> None:
    first, second = pair.training("h1"), pair.training("h2")
    pair.script(lambda: pair.tell(first.says("ended")), lambda: pair.tell(second.says("ended")))
    assert pair.supervise() == {}
    assert pair.supervisor.over
    assert pair.supervisor.error is None
    for call in (pair.supervisor.kill, pair.supervisor.pause, pair.supervisor.resume):
        with pytest.raises(RunIsOver):
            call("h1")
    with pytest.raises(RunIsOver):
        pair.supervisor.restart("h1", "last")


def test_a_failure_stops_the_others(pair: Stage) -> None:
    first, second = pair.training("h1"), pair.training("h2")

    def fail() -> None:
        words = first.fails("the loss is not a number")
        first.exits(1)
        pair.tell(words, *end_of(first))

    def end() -> None:
        assert ("h2", "stop") in pair.control.sent
        pair.tell(second.says("ended"))

    pair.script(fail, lambda: None, end)
    conductor = FakeConductor()
    pair.supervise(conductor)
    assert conductor.broken_off
    assert pair.supervisor.error is not None
    assert pair.supervisor.error.message == "the loss is not a number"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_and_what_they_end_with_is_kept(stage: Stage, number: signal.Signals) -> None:
    process = stage.training()
    stage.script(
        lambda: os.kill(os.getpid(), number),
        lambda: None,
        lambda: stage.tell(process.trains(7), process.says("ended")),
    )
    with stage.signals.handled(), stage.signals.gently():
        stage.supervise()
    assert stage.control.sent == [("h1", "stop")]
    assert stage.steps() == 7
    assert stage.supervisor.error is None


@pytest.mark.parametrize("what", ["the network", "an event"])
def test_what_ails_the_rest_stops_the_agents_too(stage: Stage, what: str) -> None:
    process, conductor = stage.training(), FakeConductor()

    def ail() -> None:
        if what == "the network":
            stage.network.sick = "the network is broken"
        else:
            conductor.error = RunError("an event is broken")  # type: ignore[assignment]

    stage.script(ail, lambda: None, lambda: stage.tell(process.says("ended")))
    stage.supervise(conductor)
    assert stage.supervisor.error is not None
    assert stage.supervisor.error.message == f"{what} is broken"


def test_nobody_stays_paused_beyond_the_end(stage: Stage) -> None:
    process = stage.training()
    stage.do(stage.supervisor.pause, "h1")

    def end() -> None:
        if not process.stopped:
            stage.tell(process.says("ended"))
        else:
            stage.script(end)

    stage.script(lambda: None, end)
    stage.supervise(seconds=0)
    assert process.signals == [signal.SIGSTOP, signal.SIGCONT]


def test_whoever_does_not_end_is_named(pair: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_END_PATIENCE_S", 0.0)
    pair.training("h2")
    pair.deliver(pair.training("h1").says("ended"))
    pair.supervise(seconds=0)
    assert pair.supervisor.error is not None
    assert pair.supervisor.error.message == "h2 did not end in time"


def test_if_all_have_been_killed_nothing_is_waited_for(stage: Stage) -> None:
    process = stage.training()
    killing = stage.begin(stage.supervisor.kill, "h1")
    stage.turn_until(killing.done)
    stage.script(lambda: stage.tell(*end_of(process)))
    stage.supervise()
    assert stage.supervisor.error is None


def test_a_restart_to_come_is_waited_for(stage: Stage) -> None:
    class Pending(FakeConductor):
        restarts_pending = True

    conductor = Pending()
    process = killed(stage)

    def back() -> None:
        assert not stage.supervisor.over
        stage.begin(stage.supervisor.restart, "h1", "last").add_done_callback(
            lambda _: setattr(conductor, "restarts_pending", False)
        )
        stage.script(end)

    def end() -> None:
        if conductor.restarts_pending:
            stage.again(end)
        else:
            stage.tell(stage.restarted.joins(), stage.restarted.is_ready(), stage.restarted.says("ended"))

    stage.script(lambda: stage.tell(*end_of(process)), lambda: None, back)
    stage.supervise(conductor)
    assert (stage.phase(), stage.supervisor.error) == (Phase.ENDED, None)


# --- the timeline beside it, with its own thread ---


def conducted(stage: Stage, *actions: str) -> Conductor:
    """All at emulated time 0."""
    timeline = [
        NodeEvent(at_s=0, text=f"h1 {action}", entry=0, node="h1", action=action)  # type: ignore[arg-type]
        for action in actions
    ]
    notes: Any = Notes()
    return Conductor(plan_with(*timeline), notes, stage.supervisor, stage.journal)


def test_a_crash_of_the_timeline_comes_back_and_is_journalled(stage: Stage) -> None:
    former = stage.training()
    conductor = conducted(stage, "pause", "resume", "kill", "restart")

    def die() -> None:
        if former.status is None:
            stage.again(die)
        else:
            stage.tell(*end_of(former))
            stage.script(end)

    def end() -> None:
        if stage.restarted is former:
            stage.again(end)
        else:
            stage.tell(stage.restarted.joins(), stage.restarted.is_ready(), stage.restarted.says("ended"))

    conductor.start(0.0)
    stage.script(die)
    stage.supervise(conductor)
    conductor.stop()
    assert (stage.phase(), stage.supervisor.error, conductor.error) == (Phase.ENDED, None, None)
    assert [record["action"] for record in stage.records("applied")] == ["pause", "resume", "kill", "restart"]


def test_a_stop_while_an_agent_is_being_restarted_starts_nobody(stage: Stage) -> None:
    """The timeline's thread waits for the loop, and the loop for the timeline: neither for ever."""
    stage.deliver(*end_of(killed(stage)))
    conductor = conducted(stage, "restart")
    stopped = threading.Event()

    def wake_and_wait() -> None:
        stage.wake()
        stopped.wait(20)

    stage.restarter.before_launch = wake_and_wait

    def stop() -> None:
        if not stage.restarter.asked:
            stage.again(stop)
        else:
            stage.signals.interrupted = True
            stage.script(lambda: None, stopped.set)

    conductor.start(0.0)
    stage.script(stop)
    stage.supervise(conductor)
    conductor.stop()
    assert (stage.supervisor.error, conductor.error) == (None, None)
    assert len(stage.launcher.processes) == 1
    assert stage.records("applied") == []


def test_a_restart_under_way_at_the_end_of_the_time_is_waited_for(stage: Stage) -> None:
    stage.deliver(*end_of(killed(stage)))
    conductor = conducted(stage, "restart")
    broken_off = conductor._stop

    def wait_for_the_end() -> None:
        broken_off.wait(20)

    stage.restarter.before_launch = wait_for_the_end
    conductor.start(0.0)
    stage.turn_until(lambda: stage.restarter.asked)

    def end() -> None:
        if len(stage.launcher.processes) == 1:
            stage.again(end)
        else:
            stage.tell(stage.restarted.joins(), stage.restarted.is_ready(), stage.restarted.says("ended"))

    stage.script(end)
    stage.supervise(conductor, seconds=0)
    conductor.stop()
    assert (stage.phase(), conductor.error, stage.supervisor.error) == (Phase.ENDED, None, None)


def test_an_event_that_fails_last_of_all_is_still_a_failure(stage: Stage) -> None:
    """After the agents have ended, and before anybody looks again."""

    class Late(FakeConductor):
        @property
        def applying(self) -> bool:  # type: ignore[override]
            self.error = RunError("an event is broken")  # type: ignore[assignment]
            return False

    stage.deliver(stage.training().says("ended"))
    stage.supervise(Late())
    assert stage.supervisor.error is not None


def test_what_a_restart_meets_is_the_timelines_error(stage: Stage) -> None:
    stage.deliver(*end_of(killed(stage)))
    stage.restarter.refuse = RunError("no memory")
    conductor = conducted(stage, "restart")
    conductor.start(0.0)
    stage.supervise(conductor)
    conductor.stop()
    assert stage.supervisor.error is not None
    assert stage.supervisor.error.message == "an event could not be applied: h1 restart: no memory"


def test_agents_are_dismissed_and_waited_for(pair: Stage) -> None:
    processes = [pair.training("h1"), pair.training("h2")]
    pair.deliver(*(process.says("ended") for process in processes))

    def leave() -> None:
        for process in processes:
            process.exits(0)
            pair.tell(*end_of(process))

    pair.script(leave)
    pair.supervisor.dismiss()
    assert pair.control.sent[-2:] == [("h1", "exit"), ("h2", "exit")]
    assert pair.control.connected == []
    assert pair.supervisor.error is None
