"""No verb, at any moment and with whatever arguments, ends the prompt or leaves it hanging; `exit` does."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.network.build import build_network
from mnbed.network.mark import marked
from mnbed.prompt.prompt import Prompt
from mnbed.prompt.workbench import Workbench
from mnbed.run.lock import run_lock
from tests.network.plans import plan_for

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

LEAVING = {"exit", "quit", "EOF"}
# Each of these takes seconds if it has something to measure.
MEASURING = {"iperf", "iperfudp", "pingall", "pingallfull", "pingpair", "pingpairfull"}
ARGUMENTS = (
    "",
    "h1",
    "h2 fresh",
    "h9",
    "h1 h2",
    "h1 s1",
    "h1 s1 up",
    "nonsense",
    "h1 s1 bw x",
    "a b c d e f g",
)
PATIENCE_S = 60.0


class Driven(Prompt):
    """Takes its lines from the test instead of a loop."""

    def run(self) -> None:
        pass

    def answers(self, line: str) -> None:
        assert not self.postcmd(self.onecmd(self.precmd(line)), line), f"{line!r} ended the prompt"


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
    monkeypatch.delenv("DISPLAY", raising=False)
    plan = plan_for(
        {"kind": "star", "nodes": 2},
        time={"duration": "12s", "dilation": 1},
        compute={"step_time": "40ms"},
        evaluate={"every": "2s", "samples": 50},
    )
    folder = Path(tempfile.mkdtemp(prefix="mnbed-test-"))
    folder.chmod(0o755)
    monkeypatch.chdir(folder)  # some lines name a file, by chance
    with (
        open("/dev/null") as nothing,
        run_lock("tests"),
        marked("tests"),
        build_network(plan, changeable=True) as network,
        Workbench.of(network, folder) as bench,
    ):
        monkeypatch.setattr("sys.stdin", nothing)
        yield Driven(bench)


def lines() -> list[str]:
    """Every verb with every argument; of those that measure, what is wrong; and commands in nodes."""
    verbs = sorted(name.removeprefix("do_") for name in dir(Prompt) if name.startswith("do_"))
    found = [
        f"{verb} {arguments}".strip()
        for verb in verbs
        if verb not in LEAVING | MEASURING
        for arguments in ARGUMENTS
    ]
    found += ["iperf h9 h1", "iperf nonsense", "iperfudp x h1", "pingpair"]
    found += [
        "h1",
        "h1 true",
        "h1 nonsense",
        "h9 true",
        "s1 true",
        "py 1/0",
        "py exit()",
        "px raise SystemExit",
        "py quit()",
        "px exit()",
        "py net",
    ]
    found += [
        "shape h1 s1 bw 5 delay 2ms",
        "shape h1 s1 queue 0bdpbdp",
        "capture h1 s1 /nonexistent/x",
        "tail h1 1",
    ]
    found += [
        "capture h1 s1 /dev/null",
        "capture stop",
        "capture stop",
        "link h1 s1 up",
        "source /nonexistent",
    ]
    return [line for line in found if line not in ("start", "stop")]


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_verb_ends_the_prompt_at_any_moment(prompt: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    bench = prompt._bench

    def drive(moment: str, chosen: list[str]) -> str:
        """Type these lines; return their output, which must hold no unforeseen error."""
        for line in chosen:
            prompt.answers(line)
        output = capsys.readouterr().out
        assert " failed: " not in output, (moment, output)
        return output

    def state(name: str) -> str:
        status = bench.agents[name].status if name in bench.agents else None
        return "" if status is None else str(status["round"])

    drive("before any run", [*lines(), "stop"])
    about_agents = [f"{verb} {host}" for verb in ("stop", "start", "restart") for host in ("h1", "h2", "h9")]
    prompt.answers("start")
    output = drive(
        "while starting", [*about_agents, "agents", "start", "linkstat", "tail h1", "tail controller"]
    )
    assert "still starting" in output
    wait_for(lambda: state("h1") and state("h2"))
    drive("while training", lines())
    wait_for(lambda: bench.agents["h1"].ready is not None)
    prompt.answers("stop h2")
    supervisor = bench.job.supervisor if bench.job is not None else None
    assert supervisor is not None
    wait_for(lambda: supervisor.over)
    output = drive("just after the end", ["restart h2", *about_agents, "start", "agents", "linkstat"])
    assert "training has ended" in output
    wait_for(lambda: not bench.running)
    output = drive("after the run", lines())
    assert "run directory:" in output
    output = drive("again", ["start", "stop", "stop", *about_agents])
    assert "ending the run" in output
    assert "no run is going on" in output


def test_a_shell_that_has_ended_is_reported_and_blocks_nothing(
    prompt: Driven, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt.answers("h1 exit")
    assert "the shell of h1 has ended" in capsys.readouterr().out
    prompt.answers("h1 true")
    assert "nothing more can be run there" in capsys.readouterr().out
    prompt.answers("h2 echo still here")


def test_leaving_says_what_came_of_what_was_going_on(
    prompt: Driven, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompt.answers(f"capture h1 s1 {tmp_path / 'x.pcap'}")
    prompt.answers("start")
    for verb in sorted(LEAVING):
        assert prompt.onecmd(verb)
    prompt.leave()
    output = capsys.readouterr().out
    assert f"{tmp_path / 'x.pcap'}: " in output
    assert "ending the run" in output
    assert "run directory: " in output
