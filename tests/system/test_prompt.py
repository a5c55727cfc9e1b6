"""The prompt as a user sees it: in a real terminal, driven by pexpect."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.system.conftest import (
    CHECKOUT,
    QUICKSTART,
    SHORT,
    Cli,
    agent_pid,
    marked_processes,
    sets,
    wait_until,
)

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

PROMPT = "mnbed> "
# With a fixed dilation nothing has to be timed before the network is built.
EASY = (*SHORT, "time.dilation=1", "compute.step_time=40ms")


@contextmanager
def terminal(verb: str, out: Path, *arguments: str) -> Iterator[Any]:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "mnbed.cli", verb, str(QUICKSTART), "--out", str(out), *sets(*EASY), *arguments],
        cwd=str(CHECKOUT),
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 160),
    )
    try:
        yield child
    finally:
        child.close(force=True)
        wait_until(lambda: marked_processes() == [], "processes stay")


def say(child: Any, command: str) -> str:
    """What the prompt answers."""
    child.sendline(command)
    child.expect_exact(command)
    child.expect_exact(PROMPT)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", str(child.before))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    out = tmp_path_factory.mktemp("prompt")
    with terminal("cli", out, "--set", "time.duration=20s") as child:
        child.expect_exact(PROMPT)
        child.out = out
        yield child


def test_mininets_verbs_work(session: Any) -> None:
    assert "h1 h2 h3 h4 s1" in say(session, "nodes")
    assert "h1-eth0<->s1-eth" in say(session, "links")
    assert "2 received" in say(session, "h1 ping -U -c 2 -i 0.1 h2")
    assert "10.0.0.1" in say(session, "py h1.IP()")
    assert "Unknown command" in say(session, "nonsense")


def test_help_and_completion(session: Any) -> None:
    assert "Usage: shape A B" in say(session, "help shape")
    listed = say(session, "help")
    for verb in ("agents", "start", "stop", "restart", "shape", "linkstat", "tail", "capture", "iperf"):
        assert verb in listed
    session.send("linkst\t")
    session.expect("linkstat")
    session.send(" h2 \t")
    session.expect_exact("s1")  # the only neighbour
    session.sendcontrol("u")
    say(session, "nodes")


def test_shape_changes_a_link_and_linkstat_shows_it(session: Any) -> None:
    before = float(re.findall(r"time=([\d.]+)", say(session, "h1 ping -U -c 1 h2"))[0])
    output = say(session, "shape h1 s1 bw 2 delay 45ms")
    assert "h1 -> s1: 2mbit, delay 45ms" in output
    assert "s1 -> h1: 2mbit, delay 45ms" in output
    after = float(re.findall(r"time=([\d.]+)", say(session, "h1 ping -U -c 1 h2"))[0])
    # 5 ms became 45 ms, there and back.
    assert after - before == pytest.approx(80, abs=8)
    assert re.search(r"h1 -> s1 +2mbit +45ms", say(session, "linkstat h1 s1"))
    assert "oneway" in say(session, "help shape")
    assert "h2 -> s1: 1mbit" in say(session, "shape h2 s1 oneway bw 1mbit loss 10")
    assert "10.00%" in say(session, "linkstat h2 s1")
    assert "either singly or in bursts" in say(session, "shape h2 s1 oneway burst_loss 5/25")
    output = say(session, "shape h2 s1 oneway loss 0 burst_loss 5/25")
    assert "loss 0.000%, burst_loss 16.667% in bursts of 4" in output
    assert "16.67%" in say(session, "linkstat h2 s1")


def test_bad_input_is_reported_and_the_prompt_stays(session: Any) -> None:
    assert "no link h1 - h2; h1 has links to: s1" in say(session, "shape h1 h2 bw 5")
    assert "'width' is not a link property" in say(session, "shape h1 s1 width 5")
    assert "bw -3: it must be above 0" in say(session, "shape h1 s1 bw -3")
    assert "above its delay" in say(session, "shape h1 s1 jitter 1s")
    assert "usage: linkstat" in say(session, "linkstat h1")
    assert "no run is going on" in say(session, "stop")
    assert "no run is going on" in say(session, "restart h3")
    assert "no agent has run yet" in say(session, "tail h3")


def test_packets_are_captured(session: Any) -> None:
    path = session.out / "h3.pcap"
    assert "capturing h3-eth0" in say(session, f"capture h3 s1 {path}")
    say(session, "h3 ping -U -c 3 -i 0.1 h4")
    assert re.search(r"h3\.pcap: [6-9] packets", say(session, "capture stop"))
    data = path.read_bytes()
    magic, major, minor, _, _, _, link = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, link) == (0xA1B23C4D, 2, 4, 1)
    _, _, length, whole = struct.unpack_from("=IIII", data, 24)
    assert length == whole == 98  # one ping
    assert "cannot write a capture there" in say(session, "capture h3 s1 /nonexistent/x.pcap")


def test_agents_are_started_stopped_restarted(session: Any) -> None:
    assert "no run yet" in say(session, "agents")
    assert "starting" in say(session, "start")
    wait_until(lambda: say(session, "agents").count("training") == 4, "agents do not train")
    say(session, "stop h3")
    assert re.search(r"h3 +stopped", say(session, "agents"))
    assert "a run is going on" in say(session, "start")
    say(session, "shape h4 s1 bw 3")
    say(session, "restart h3")
    wait_until(lambda: say(session, "agents").count("training") == 4, "h3 does not come back")
    wait_until(lambda: "round" in say(session, "tail h3 5"), "h3 has no log")
    assert "h3" in say(session, "tail h3 3")
    output = say(session, "stop")
    assert "run directory:" in output + say(session, "")
    (run,) = [path for path in session.out.iterdir() if path.is_dir()]
    assert (run / "report.html").exists()
    records = [json.loads(line) for line in (run / "nodes/controller.jsonl").read_text().splitlines()]
    by_hand = [record["text"] for record in records if record.get("by_hand")]
    assert by_hand == [
        "h3 stopped by hand",
        "h4 - s1 by hand: bandwidth 3mbit",
        "h3 started by hand",
    ]


def test_a_link_goes_down(session: Any) -> None:
    say(session, "link h4 s1 down")
    assert "100% packet loss" in say(session, "h1 ping -U -c 1 -W 1 h4")
    assert "down" in say(session, "linkstat h4 s1")
    say(session, "link h4 s1 up")
    assert " 0% packet loss" in say(session, "h1 ping -U -c 1 -W 2 h4")


def test_ctrl_c_ends_a_command_and_then_the_prompt(session: Any) -> None:
    session.sendline("h1 ping -U h2")
    session.expect("time=")
    session.sendcontrol("c")
    session.expect_exact(PROMPT)
    session.sendcontrol("c")
    session.expect(pexpect.EOF)
    session.wait()
    assert session.exitstatus == 0


def test_ctrl_d_leaves(tmp_path: Path) -> None:
    with terminal("cli", tmp_path) as child:
        child.expect_exact(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_a_run_with_a_prompt_at_its_end(cli: Cli) -> None:
    with terminal(
        "run", cli.out, "--cli", "--no-report", "--set", "time.duration=2s", "--set", "evaluate.every=1s"
    ) as child:
        child.expect_exact(PROMPT)
        assert say(child, "agents").count("ended") == 4
        assert "the run on this network is over" in say(child, "start")
        assert "end reason=" in say(child, "tail h1")
        assert "2 received" in say(child, "h1 ping -U -c 2 -i 0.1 h2")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    assert cli.summary()["status"] == "completed"


def test_a_failed_run_with_a_prompt(cli: Cli) -> None:
    with terminal("run", cli.out, "--cli-on-error", "--no-report") as child:
        child.expect("training for")
        cli.wait_for_round(1)
        os.kill(agent_pid(cli.directory(), "h2"), signal.SIGKILL)
        child.expect("the run failed: h2's agent was killed by SIGKILL")
        child.expect_exact(PROMPT)
        assert re.search(r"h2 +failed", say(child, "agents"))
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 1
