"""What can be done by hand, and when it cannot; the run has its own thread, as it really does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.errors import InputError, MnbedError, RunError
from mnbed.experiment.link_settings import PartialLinkSettings
from mnbed.prompt.shape_words import parse_change
from mnbed.run.agent_state import Phase
from mnbed.run.job import Outcome
from tests.unit.mnbed.prompt.bench import NO_LUCK, Session, open_session


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    with open_session(tmp_path, monkeypatch) as made:
        yield made


CHANGE = PartialLinkSettings()


# --- agents ---


def test_an_agent_is_stopped_and_started_while_the_run_goes_on(session: Session) -> None:
    session.training()
    session.bench.stop_agent("h1")
    session.wait_for("h1", Phase.GONE)
    with pytest.raises(InputError, match="h1 is not running"):
        session.bench.stop_agent("h1")
    with pytest.raises(InputError, match="h2 is running"):
        session.bench.start_agent("h2", "last")
    session.bench.start_agent("h1", "fresh")
    assert session.stage.phase("h1") is Phase.STARTING
    with pytest.raises(InputError, match="h1 is still starting"):
        session.bench.stop_agent("h1")
    assert [(name, state, life) for name, state, life, _ in session.stage.restarter.asked] == [
        ("h1", "fresh", 1)
    ]
    assert session.by_hand() == ["h1 stopped by hand", "h1 started by hand"]


def test_a_restart_stops_waits_and_starts(session: Session) -> None:
    session.training()
    former = session.stage.launcher.processes[0]
    session.bench.restart_agent("h1", "last")
    assert former.signals == [signal.SIGKILL]
    process = session.stage.restarted
    assert process.name == "h1"
    session.stage.tell(process.joins(), process.is_ready())
    session.wait_for("h1", Phase.TRAINING)
    assert session.by_hand() == ["h1 stopped by hand", "h1 started by hand"]


def test_a_restart_of_one_that_is_stopped_only_starts_it(session: Session) -> None:
    session.training()
    session.bench.stop_agent("h1")
    session.bench.restart_agent("h1", "last")
    assert session.by_hand() == ["h1 stopped by hand", "h1 started by hand"]


def test_what_keeps_an_agent_from_starting_is_reported_but_not_journalled(session: Session) -> None:
    session.training()
    session.bench.stop_agent("h1")
    session.stage.restarter.refuse = RunError("no memory")
    with pytest.raises(RunError, match="no memory"):
        session.bench.start_agent("h1", "last")
    assert session.by_hand() == ["h1 stopped by hand"]


def test_one_that_has_ended_is_not_stopped(session: Session) -> None:
    session.training()
    session.stage.tell(session.stage.launcher.processes[0].says("ended"))
    session.wait_for("h1", Phase.ENDED)
    with pytest.raises(InputError, match="h1 is not running"):
        session.bench.stop_agent("h1")


def test_before_the_common_start_nothing_is_journalled(session: Session) -> None:
    session.training()
    session.job.started_s = None
    session.bench.stop_agent("h1")
    assert session.by_hand() == []


@pytest.mark.parametrize("verb", ["start_agent", "restart_agent", "stop_agent"])
def test_agents_need_a_run_and_a_known_name(session: Session, verb: str) -> None:
    def call(name: str) -> None:
        getattr(session.bench, verb)(*([name] if verb == "stop_agent" else [name, "last"]))

    with pytest.raises(InputError, match="no run is going on: `start` starts one"):
        call("h1")
    assert session.bench.agents == {}
    supervisor, session.job.supervisor = session.job.supervisor, None
    session.training()
    with pytest.raises(InputError, match="the run is still starting"):
        call("h1")
    session.job.supervisor = supervisor
    with pytest.raises(InputError, match="no agent 'h9'; there are: h1, h2"):
        call("h9")
    session.job.evaluated.clear()
    session.job.stop()
    with pytest.raises(MnbedError):  # refused by the loop that has just ended
        session.stage.mailbox.wait_for(lambda: False, 20)
    with pytest.raises(InputError, match="training has ended, and the run is being evaluated"):
        call("h1")


# --- runs ---


def test_one_run_at_a_time_whose_end_is_reported_once(session: Session) -> None:
    ends: list[str] = []
    session.bench.on_end = lambda: ends.append("end")
    assert not session.bench.running
    session.bench.stop_run()
    session.training()
    assert session.bench.running
    with pytest.raises(InputError, match="a run is going on; `stop` ends it"):
        session.bench.start_run()
    session.bench.stop_run()
    assert not session.bench.running
    assert ends == ["end"]
    outcome = session.bench.outcome()
    assert isinstance(outcome, Outcome)
    assert session.bench.outcome() is None


@pytest.mark.parametrize(
    ("error", "message"), [(NO_LUCK, "no luck"), (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero")]
)
def test_however_a_run_ends_its_end_is_reported(session: Session, error: Exception, message: str) -> None:
    session.job.end = error
    session.training()
    session.bench.stop_run()
    outcome = session.bench.outcome()
    assert isinstance(outcome, RunError)
    assert message in outcome.message


def test_a_network_serves_one_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        open_session(tmp_path, monkeypatch, ended=True) as session,
        pytest.raises(InputError, match="the run on this network is over"),
    ):
        session.bench.start_run()


def test_logs_are_those_of_the_run(session: Session) -> None:
    with pytest.raises(InputError, match="no agent has run yet"):
        session.bench.tail("h1", 5)
    session.training()
    assert session.bench.tail("controller", 5) == ["controller says 5"]
    with pytest.raises(InputError, match="no host 's1'"):
        session.bench.tail("s1", 5)


# --- links ---


def test_what_is_not_named_stays(session: Session) -> None:
    session.bench.shape("h1", "s1", parse_change(["bw", "5"]), one_way=False)
    (there, back) = session.bench.shape("h1", "s1", parse_change(["delay", "20ms"]), one_way=False)
    assert [(one.asked.bandwidth_bps, one.asked.delay_s) for one in (there, back)] == [(5e6, 0.02)] * 2
    assert session.live.did[-1] == ("reshape", [("h1", "s1"), ("s1", "h1")])


def test_one_way_is_one_way(session: Session) -> None:
    session.bench.shape("h1", "s1", parse_change(["bw", "5"]), one_way=True)
    asked = {(state.source, state.target): state.asked.bandwidth_bps for state in session.bench.link_states()}
    assert (asked["h1", "s1"], asked["s1", "h1"]) == (5e6, 10e6)


def test_what_cannot_be_is_refused_and_nothing_changes(session: Session) -> None:
    with pytest.raises(InputError, match="above its delay"):
        session.bench.shape("h1", "s1", parse_change(["jitter", "1s"]), one_way=False)
    with pytest.raises(InputError, match="h1 has links to: s1"):
        session.bench.shape("h1", "h2", CHANGE, one_way=False)
    assert session.live.did == []
    assert session.by_hand() == []


def test_links_by_hand_are_in_the_journal_of_the_run(session: Session) -> None:
    session.bench.set_link("h1", "s1", False)
    assert session.by_hand() == [], "no run, no journal"
    session.training()
    session.bench.set_link("h1", "s1", True)
    session.bench.shape("h2", "s1", parse_change(["bw", "3"]), one_way=False)
    assert session.by_hand() == ["h1 - s1 up by hand", "h2 - s1 by hand: bandwidth 3mbit"]


def test_links_say_how_they_are(session: Session) -> None:
    session.bench.set_link("h1", "s1", False)
    (there, back) = session.bench.link_states(("h1", "s1"))
    assert (there.up, back.up) == (False, False)
    assert (there.bytes_sent, there.drops, there.backlog_bytes, there.rate_bps) == (2_000_000, 3, 1500, 0)
    assert all(state.up for state in session.bench.link_states(("h2", "s1")))
    session.bench.set_link("h1", "s1", True)
    assert all(state.up for state in session.bench.link_states())


def test_a_capture_that_cannot_be_written_is_refused(session: Session) -> None:
    with pytest.raises(InputError, match="no such folder"):
        session.bench.capture("h1", "s1", Path("/nonexistent/x.pcap"))
    assert session.bench.stop_captures() == []
