"""The real timeline beside the loop, with its own thread: neither waits for the other for ever."""

from __future__ import annotations

import threading
from typing import Any

from mnbed.errors import RunError
from mnbed.plan.model import NodeEvent
from mnbed.run.agent_state import Phase
from mnbed.run.timeline import Conductor
from tests.fakes_run import FakeConductor, Stage, end_of, killed
from tests.unit.mnbed.run.test_conductor import Notes, plan_with


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
