"""The loop that drives agents, from the data's loading to the last one's end.

Everything is deterministic: fakes tell what the test delivers, and whoever acts on agents does so from a thread.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mnbed.errors import RunError
from mnbed.run import supervisor as supervisor_module
from mnbed.run.agent_state import Phase
from mnbed.run.launch import LauncherGone, Loaded
from mnbed.run.mailbox import RunIsOver
from tests.fakes_run import FakeConductor, Stage, end_of, killed

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
