"""Every way in which an emulation lies is provoked for real, and the verdict says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from mnbed.experiment.loading import load_experiment
from mnbed.machine import probe
from mnbed.network.build import Network
from mnbed.network.namespaces import run_in
from mnbed.network.probe import probe_network
from mnbed.plan.make import make_plan
from mnbed.results.summary import Summary
from mnbed.run import job as job_module
from tests.system.conftest import QUICKSTART, SHORT, Cli, agent_pid

pytestmark = [pytest.mark.root, pytest.mark.quiet]

# Little to do at a pace that any machine keeps.
EASY = ("time.dilation=1", "compute.step_time=40ms")


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """That many processes that want a core each, before anybody else; for as long as training takes, no longer."""
    loop = "import os, time\nos.nice(-10)\nend = time.monotonic() + 8\nwhile time.monotonic() < end: pass"
    processes = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def reasons(cli: Cli) -> str:
    summary = cli.summary()
    samples = [
        line
        for line in (cli.directory() / "nodes/controller.jsonl").read_text().splitlines()
        if '"machine"' in line
    ]
    assert summary["verdict"] == "degraded", samples
    return "\n".join(summary["reasons"])


def test_a_run_with_time_to_spare_is_faithful_and_strict_agrees(cli: Cli) -> None:
    done = cli.run(*EASY, options=["--strict", "--no-report"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (cli.summary()["verdict"], cli.summary()["reasons"]) == ("faithful", [])
    records = [
        json.loads(line) for line in (cli.directory() / "nodes/controller.jsonl").read_text().splitlines()
    ]
    (probed,) = [record for record in records if record["event"] == "probe"]
    assert len(probed["directions"]) == 8
    for row in probed["directions"]:
        assert row["measured_bps"] == pytest.approx(row["asked_bps"], rel=0.03)
    for row in probed["paths"]:
        assert row["measured_s"] == pytest.approx(row["asked_s"], abs=1e-3)
    samples = [record for record in records if record["event"] == "machine"]
    assert len(samples) >= 2
    assert all(0 <= record["cpu_busy"] <= 1 for record in samples)
    assert any(record["agents_cpu"] > 0 for record in samples if record["agents_cpu"] is not None)
    (checked,) = [record for record in records if record["event"] == "shaping_checked"]
    assert checked["differences"] == []


def test_a_hog_on_every_core_is_noticed(cli: Cli) -> None:
    cli.patience_s = 300
    running = cli.start_run(*EASY, "time.duration=6s", options=["--no-report"])
    cli.wait_for_round(1)
    with hogs(2 * (os.cpu_count() or 1)):
        done = cli.finish(running)
    assert done.returncode == 0, done.stderr
    assert "all cores were busy" in reasons(cli)


def test_a_qdisc_changed_behind_our_back_is_noticed(cli: Cli) -> None:
    running = cli.start_run(*EASY, options=["--no-report"])
    run = cli.wait_for_round(1)
    change = (
        "class change dev h2-eth0 parent 5: classid 5:1 htb rate 3mbit burst 6000 cburst 6000 quantum 1514"
    )
    run_in(agent_pid(run, "h2"), ["tc", *change.split()], what="changing a rate")
    assert cli.finish(running).returncode == 0
    assert (
        "the shaping was changed from outside during the run: h2-eth0: rate 3000000 bit/s instead of"
        in reasons(cli)
    )


def test_a_qdisc_that_is_gone_is_noticed(cli: Cli) -> None:
    running = cli.start_run(*EASY, options=["--no-report"])
    run = cli.wait_for_round(1)
    run_in(agent_pid(run, "h3"), ["tc", "qdisc", "del", "dev", "h3-eth0", "root"], what="deleting a qdisc")
    assert cli.finish(running).returncode == 0
    assert "h3-eth0: not shaped at all" in reasons(cli)


def test_a_link_that_is_20_percent_off_is_noticed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the read-back's back, as a kernel would that does not do what it says."""

    def tampered(network: Network, *arguments: object) -> object:
        rate = round(0.8 * network.plan.directions["h2", "s1"].wire.bandwidth_bps)
        change = f"class change dev h2-eth0 parent 5: classid 5:1 htb rate {rate}bit burst 4542 cburst 4542"
        run_in(network.pid("h2"), ["tc", *change.split()], what="changing a rate")
        return probe_network(network, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(job_module, "probe_network", tampered)
    summary = run_here(cli.out)
    assert summary.verdict == "degraded"
    assert "1 of 8 probed directions do not have the bandwidth asked for" in "\n".join(summary.reasons)
    assert "h2 -> s1" in "\n".join(summary.reasons)
    assert "(-20%)" in "\n".join(summary.reasons)


def run_here(out: Path) -> Summary:
    """A short run in this process."""
    experiment = load_experiment(QUICKSTART, [*SHORT, *EASY])
    plan = make_plan(experiment, probe())
    job = job_module.Job(plan, out=out, report=False, console=Console(quiet=True))
    outcome = job.execute()
    assert outcome.error is None
    assert outcome.summary is not None
    return outcome.summary


def test_agents_that_stand_in_line_for_a_core_are_noticed(cli: Cli) -> None:
    nodes = 8 * (os.cpu_count() or 1)
    hurried = ("time.dilation=1", "compute.step_time=500us", f"network.topology.nodes={nodes}")
    done = cli.run(*hurried, options=["--no-report"])
    assert done.returncode == 0, done.stderr
    assert "agents waited for a core" in reasons(cli)


def test_too_small_a_dilation_is_noticed_and_strict_exits_1(cli: Cli) -> None:
    done = cli.run("time.dilation=0.1", "compute.step_time=2ms", options=["--strict", "--no-report"])
    assert done.returncode == 1
    assert "--strict was given" in done.stderr
    text = reasons(cli)
    assert "of the local steps took longer than step_time" in text
    assert "raise time.dilation" in text
