"""The prompt's verbs and arguments, line by line; no line but `exit` ends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mininet.cli import CLI

from mnbed.prompt.prompt import Prompt, _state
from mnbed.run.agent_state import AgentState, Phase
from mnbed.run.job import Outcome
from tests.unit.mnbed.prompt.bench import NO_LUCK, Session, open_session


class Driven(Prompt):
    """Takes its lines from the test instead of a loop."""

    def run(self) -> None:
        pass


class Now:
    """Standard output at this moment: pytest's differs between a test and its fixtures."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(CLI, "readlineInited", True)
    with open("/dev/null") as nothing, open_session(tmp_path, monkeypatch) as made:
        monkeypatch.setattr("sys.stdin", nothing)
        yield made


@pytest.fixture
def prompt(session: Session) -> Driven:
    made = Driven(session.bench)
    made.stdout = made._console.file = Now()  # type: ignore[assignment]
    return made


@pytest.fixture
def say(prompt: Driven, capfd: pytest.CaptureFixture[str]) -> Any:
    """One line, and what is printed for it; the prompt stays."""

    def do(line: str) -> str:
        capfd.readouterr()
        assert not prompt.postcmd(prompt.onecmd(prompt.precmd(line)), line), f"{line!r} ended the prompt"
        return capfd.readouterr().out

    return do


def test_every_phase_has_a_word_that_users_know() -> None:
    words = {phase: _state(AgentState("h1", phase)) for phase in Phase}
    assert words == {
        Phase.STARTING: "starting",
        Phase.READY: "ready",
        Phase.TRAINING: "training",
        Phase.PAUSED: "paused",
        Phase.KILLED: "stopped",
        Phase.GONE: "stopped",
        Phase.ENDED: "ended",
        Phase.FAILED: "failed",
    }


def test_a_run_from_start_to_results(session: Session, say: Any) -> None:
    assert say("agents") == "no run yet: 'start' starts one\n"
    assert "no run is going on" in say("stop")
    session.training()
    assert "*** a run is going on" in say("start")
    assert say("agents").count("training") == 2
    output = say("stop h1")
    assert "h1 is stopped, and the others go on; 'start h1' brings it back" in output
    session.wait_for("h1", Phase.GONE)
    (row,) = [line for line in say("agents").splitlines() if line.startswith("h1")]
    assert row.split()[:4] == ["h1", "stopped", "3", "1"], "no process, and where it was"
    assert say("start h1 fresh") == "h1 is starting\n"
    assert say("agents").count("starting") == 1
    assert say("restart h2") == "h2 is starting again\n"
    assert "h2 says 20" in say("tail h2")
    output = say("stop")
    assert "ending the run" in output
    assert f"run directory: {session.job.run.path}" in output
    assert "run directory" not in say("agents"), "reported once"


def test_a_run_starts_while_the_prompt_stays_usable(session: Session, say: Any) -> None:
    session.job.supervisor = None
    assert (
        f"starting; 'agents' shows how far they are, 'tail controller' the phases: {session.job.run.path}"
        in (say("start"))
    )
    assert say("agents") == "the run is starting\n"


def test_a_run_that_fails_by_itself_is_reported_at_the_next_line(session: Session, say: Any) -> None:
    session.job.end = NO_LUCK
    session.training()
    session.job.stop()
    assert session.bench._thread is not None
    session.bench._thread.join(20)
    assert "*** the run failed: no luck" in say("")


def test_an_outcome_with_an_error_has_both(session: Session, say: Any) -> None:
    session.job.end = Outcome(run=session.job.run, summary=None, error=NO_LUCK, report=None)
    session.training()
    output = say("stop")
    assert "*** the run ended: no luck" in output
    assert "run directory" in output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("restart", "usage: restart HOST [fresh]"),
        ("restart h1 stale", "'stale': only the word fresh may follow the host"),
        ("start h1", "no run is going on"),
        ("tail", "usage: tail HOST [LINES]"),
        ("tail h1 many", "usage: tail HOST [LINES]"),
        ("tail h1", "no agent has run yet"),
        ("shape h1 s1", "usage: shape A B"),
        ("shape h1 h2 bw 5", "h1 has links to: s1"),
        ("shape h1 s1 width 5", "'width' is not a link property"),
        ("shape h1 s1 bw", "usage: shape A B"),
        ("shape h1 s1 oneway bw", "a name and a value each"),
        ("linkstat h1", "usage: linkstat"),
        ("linkstat h1 h2", "h1 has links to: s1"),
        ("link h1 s1", "usage: link A B up|down"),
        ("link h1 s1 sideways", "usage: link A B up|down"),
        ("capture h1 s1", "usage: capture A B FILE"),
        ("capture h1 s1 /nonexistent/x", "no such folder"),
        ("capture stop", "no capture is going on"),
        ("dpctl show", "dpctl is for `network.switch: ovs`"),
        ("source /nonexistent/file", "No such file or directory: /nonexistent/file"),
        ("x h9", "no node 'h9'"),
        ("wait", "there is nothing to wait for"),
        ("py exit()", "'exit' leaves the prompt"),
    ],
)
def test_impossible_requests_are_refused_with_a_message(say: Any, line: str, words: str) -> None:
    assert words in say(line)


def test_a_fault_in_a_verb_does_not_take_the_network_down(
    prompt: Driven, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt, "do_agents", lambda _: 1 // 0)
    assert "*** agents failed: ZeroDivisionError" in say("agents")


def test_links_are_shaped_and_shown(session: Session, say: Any) -> None:
    assert "h1 -> s1: 5mbit, delay 20ms" in say("shape h1 s1 oneway bw 5 delay 20ms")
    assert session.live.did == [("reshape", [("h1", "s1")])]
    (row,) = [line for line in say("linkstat h1 s1").splitlines() if line.startswith("h1 -> s1")]
    assert row.split()[3:] == ["5mbit", "20ms", "0.00%", "0bit", "0%", "2.00", "3", "1.5"]
    assert say("link h1 s1 down") == "h1 - s1 is down\n"
    assert say("linkstat").count("down") == 2


def test_a_command_in_a_node_whose_shell_has_ended_is_refused(session: Session, say: Any) -> None:
    session.bench.network.mininet["h1"].shell.poll = lambda: 0
    assert "the shell of h1 has ended" in say("h1 ls")


def test_every_verb_has_help(say: Any) -> None:
    for verb in ("agents", "start", "stop", "restart", "tail", "shape", "linkstat", "link", "capture"):
        assert f"Usage: {verb}" in say(f"help {verb}")


def test_words_are_completed(prompt: Driven) -> None:
    assert prompt.complete_shape("", "shape h1 ", 9, 9) == ["s1"]
    assert "bw" in prompt.complete_shape("", "shape h1 s1 ", 12, 12)
    assert prompt.complete_shape("", "shape h1 s1 bw ", 15, 15) == []
    assert prompt.complete_link("d", "link h1 s1 d", 11, 12) == ["down"]
    assert prompt.complete_restart("h", "restart h", 8, 9) == ["h1", "h2"]
    assert prompt.complete_restart("f", "restart h1 f", 11, 12) == ["fresh"]
    assert prompt.complete_linkstat("", "linkstat h1 s1 ", 15, 15) == []
    assert prompt.complete_capture("s", "capture s", 8, 9) == ["s1", "stop"]
    assert {"h1", "shape", "agents"} <= set(prompt.completenames(""))
    assert prompt.completedefault("h") == ["h1", "h2"]


def test_leaving_ends_the_run_and_shows_its_results(
    session: Session, prompt: Driven, capfd: pytest.CaptureFixture[str]
) -> None:
    session.training()
    prompt.leave()
    assert not session.bench.running
    output = capfd.readouterr().out
    assert output.index("ending the run, and evaluating what was collected") < output.index("run directory:")


def test_exit_leaves(prompt: Driven) -> None:
    assert prompt.postcmd(prompt.onecmd("exit"), "exit")
