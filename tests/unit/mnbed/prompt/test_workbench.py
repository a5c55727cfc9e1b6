"""What can be done by hand, and when it cannot: the run beside it has a thread of its own, as in earnest."""

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
from tests.unit.mnbed.prompt.bench import NO_LUCK, Standing, standing


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standing]:
    with standing(tmp_path, monkeypatch) as made:
        yield made


CHANGE = PartialLinkSettings()


# --- agents ---


def test_an_agent_is_stopped_and_started_while_the_run_goes_on(found: Standing) -> None:
    found.training()
    found.bench.stop_agent("h1")
    found.wait_for("h1", Phase.GONE)
    with pytest.raises(InputError, match="h1 is not running"):
        found.bench.stop_agent("h1")
    with pytest.raises(InputError, match="h2 is running"):
        found.bench.start_agent("h2", "last")
    found.bench.start_agent("h1", "fresh")
    assert found.stage.phase("h1") is Phase.STARTING
    with pytest.raises(InputError, match="h1 is still starting"):
        found.bench.stop_agent("h1")
    assert [(name, state, life) for name, state, life, _ in found.stage.restarter.asked] == [
        ("h1", "fresh", 1)
    ]
    assert found.by_hand() == ["h1 stopped by hand", "h1 started by hand"]


def test_a_restart_stops_waits_and_starts(found: Standing) -> None:
    found.training()
    former = found.stage.launcher.processes[0]
    found.bench.restart_agent("h1", "last")
    assert former.signals == [signal.SIGKILL]
    process = found.stage.restarted
    assert process.name == "h1"
    found.stage.tell(process.joins(), process.is_ready())
    found.wait_for("h1", Phase.TRAINING)
    assert found.by_hand() == ["h1 stopped by hand", "h1 started by hand"]


def test_a_restart_of_one_that_is_stopped_only_starts_it(found: Standing) -> None:
    found.training()
    found.bench.stop_agent("h1")
    found.bench.restart_agent("h1", "last")
    assert found.by_hand() == ["h1 stopped by hand", "h1 started by hand"]


def test_what_keeps_an_agent_from_starting_is_said_and_not_journalled(found: Standing) -> None:
    found.training()
    found.bench.stop_agent("h1")
    found.stage.restarter.refuse = RunError("no memory")
    with pytest.raises(RunError, match="no memory"):
        found.bench.start_agent("h1", "last")
    assert found.by_hand() == ["h1 stopped by hand"]


def test_one_that_has_ended_is_not_stopped(found: Standing) -> None:
    found.training()
    found.stage.tell(found.stage.launcher.processes[0].says("ended"))
    found.wait_for("h1", Phase.ENDED)
    with pytest.raises(InputError, match="h1 is not running"):
        found.bench.stop_agent("h1")


def test_before_the_common_start_nothing_is_journalled(found: Standing) -> None:
    found.training()
    found.job.started_s = None
    found.bench.stop_agent("h1")
    assert found.by_hand() == []


@pytest.mark.parametrize("verb", ["start_agent", "restart_agent", "stop_agent"])
def test_without_a_run_or_with_a_wrong_name_agents_cannot_be_had(found: Standing, verb: str) -> None:
    def call(name: str) -> None:
        getattr(found.bench, verb)(*([name] if verb == "stop_agent" else [name, "last"]))

    with pytest.raises(InputError, match="no run is going on: `start` starts one"):
        call("h1")
    assert found.bench.agents == {}
    supervisor, found.job.supervisor = found.job.supervisor, None
    found.training()
    with pytest.raises(InputError, match="the run is still starting"):
        call("h1")
    found.job.supervisor = supervisor
    with pytest.raises(InputError, match="no agent 'h9'; there are: h1, h2"):
        call("h9")
    found.job.evaluated.clear()
    found.job.stop()
    with pytest.raises(MnbedError):  # refused by the loop that has just ended
        found.stage.mailbox.wait_for(lambda: False, 20)
    with pytest.raises(InputError, match="training has ended, and the run is being evaluated"):
        call("h1")


# --- runs ---


def test_one_run_at_a_time_whose_end_is_told_once(found: Standing) -> None:
    ends: list[str] = []
    found.bench.on_end = lambda: ends.append("end")
    assert not found.bench.running
    found.bench.stop_run()
    found.training()
    assert found.bench.running
    with pytest.raises(InputError, match="a run is going on; `stop` ends it"):
        found.bench.start_run()
    found.bench.stop_run()
    assert not found.bench.running
    assert ends == ["end"]
    outcome = found.bench.outcome()
    assert isinstance(outcome, Outcome)
    assert found.bench.outcome() is None


@pytest.mark.parametrize(
    ("error", "message"), [(NO_LUCK, "no luck"), (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero")]
)
def test_however_a_run_ends_it_is_told(found: Standing, error: Exception, message: str) -> None:
    found.job.end = error
    found.training()
    found.bench.stop_run()
    outcome = found.bench.outcome()
    assert isinstance(outcome, RunError)
    assert message in outcome.message


def test_after_a_run_there_is_no_other_on_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        standing(tmp_path, monkeypatch, ended=True) as found,
        pytest.raises(InputError, match="the run on this network is over"),
    ):
        found.bench.start_run()


def test_logs_are_those_of_the_run(found: Standing) -> None:
    with pytest.raises(InputError, match="no agent has run yet"):
        found.bench.tail("h1", 5)
    found.training()
    assert found.bench.tail("controller", 5) == ["controller says 5"]
    with pytest.raises(InputError, match="no host 's1'"):
        found.bench.tail("s1", 5)


# --- links ---


def test_what_is_not_named_stays(found: Standing) -> None:
    found.bench.shape("h1", "s1", parse_change(["bw", "5"]), one_way=False)
    (there, back) = found.bench.shape("h1", "s1", parse_change(["delay", "20ms"]), one_way=False)
    assert [(one.asked.bandwidth_bps, one.asked.delay_s) for one in (there, back)] == [(5e6, 0.02)] * 2
    assert found.live.did[-1] == ("reshape", [("h1", "s1"), ("s1", "h1")])


def test_one_way_is_one_way(found: Standing) -> None:
    found.bench.shape("h1", "s1", parse_change(["bw", "5"]), one_way=True)
    asked = {(state.source, state.target): state.asked.bandwidth_bps for state in found.bench.link_states()}
    assert (asked["h1", "s1"], asked["s1", "h1"]) == (5e6, 10e6)


def test_what_cannot_be_is_refused_and_nothing_changes(found: Standing) -> None:
    with pytest.raises(InputError, match="above its delay"):
        found.bench.shape("h1", "s1", parse_change(["jitter", "1s"]), one_way=False)
    with pytest.raises(InputError, match="h1 has links to: s1"):
        found.bench.shape("h1", "h2", CHANGE, one_way=False)
    assert found.live.did == []
    assert found.by_hand() == []


def test_links_by_hand_are_in_the_journal_of_the_run(found: Standing) -> None:
    found.bench.set_link("h1", "s1", False)
    assert found.by_hand() == [], "no run, no journal"
    found.training()
    found.bench.set_link("h1", "s1", True)
    found.bench.shape("h2", "s1", parse_change(["bw", "3"]), one_way=False)
    assert found.by_hand() == ["h1 - s1 up by hand", "h2 - s1 by hand: bandwidth 3mbit"]


def test_links_say_how_they_are(found: Standing) -> None:
    found.bench.set_link("h1", "s1", False)
    (there, back) = found.bench.link_states(("h1", "s1"))
    assert (there.up, back.up) == (False, False)
    assert (there.bytes_sent, there.drops, there.backlog_bytes, there.rate_bps) == (2_000_000, 3, 1500, 0)
    assert all(state.up for state in found.bench.link_states(("h2", "s1")))
    found.bench.set_link("h1", "s1", True)
    assert all(state.up for state in found.bench.link_states())


def test_a_capture_that_cannot_be_written_is_refused(found: Standing) -> None:
    with pytest.raises(InputError, match="no such folder"):
        found.bench.capture("h1", "s1", Path("/nonexistent/x.pcap"))
    assert found.bench.stop_captures() == []
