"""Failures caused on purpose: each gives one clear message and the right exit status, and keeps what was collected."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mnbed.errors import MachineError
from mnbed.experiment.loading import load_experiment
from mnbed.network.build import Network, build_network
from mnbed.plan.make import make_plan
from mnbed.run import job as job_module
from node_agent.namespaces import enter_network_namespace
from tests.network.plans import facts
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


def assert_one_message(done: subprocess.CompletedProcess[str], status: int, *parts: str) -> None:
    assert done.returncode == status, (done.stdout, done.stderr)
    for part in parts:
        assert part in done.stderr, done.stderr
    assert marked_processes() == []


def test_ctrl_c_keeps_and_evaluates_what_there_is(cli: Cli) -> None:
    process = cli.start_run("time.duration=60s", report=True)
    cli.wait_for_round(8)
    os.kill(process.pid, signal.SIGINT)
    done = cli.finish(process)
    assert_one_message(done, 130, "interrupted")
    summary = cli.summary()
    assert summary["status"] == "interrupted"
    assert 0 < summary["emulated_s"] < 60
    assert len(summary["accuracy"]["curve"]) >= 1
    assert (cli.directory() / "report.html").exists()


def test_sigterm_does_the_same(cli: Cli) -> None:
    process = cli.start_run("time.duration=60s")
    cli.wait_for_round(1)
    os.kill(process.pid, signal.SIGTERM)
    assert_one_message(cli.finish(process), 130, "interrupted")
    assert cli.summary()["status"] == "interrupted"


def test_ctrl_c_while_building_takes_everything_down(cli: Cli) -> None:
    process = cli.start_run("network.topology.nodes=40", "network.stragglers.count=2")
    wait_until(lambda: len(marked_processes()) > 10, "nothing is being built")
    os.kill(process.pid, signal.SIGINT)
    assert_one_message(cli.finish(process), 130, "interrupted")


def test_a_killed_agent_fails_the_run_and_the_others_are_evaluated(cli: Cli) -> None:
    process = cli.start_run("time.duration=60s")
    run = cli.wait_for_round(8)
    os.kill(agent_pid(run, "h2"), signal.SIGKILL)
    assert_one_message(cli.finish(process), 1, "h2's agent was killed by SIGKILL")
    summary = cli.summary()
    assert summary["status"] == "failed"
    assert any("h2" in reason for reason in summary["reasons"])
    assert len(summary["accuracy"]["curve"]) >= 1
    kept = [json.loads(line) for line in (run / "nodes" / "h2.jsonl").read_text().splitlines()]
    assert sum(record["event"] == "round" for record in kept) >= 8


def test_a_killed_controller_leaves_nothing_alive_and_its_journals_can_be_reported(cli: Cli) -> None:
    process = cli.start_run("time.duration=60s")
    run = cli.wait_for_round(8)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: marked_processes() == [], "agents or shells outlive their controller")
    done = cli("clean")
    assert done.returncode == 0, done.stderr
    assert not list(Path("/run/mnbed").glob("run-*"))
    done = cli("report", str(run))
    assert done.returncode == 0, done.stderr
    summary = cli.summary()
    assert summary["status"] == "failed"
    assert summary["rounds"]["min"] >= 8


def test_a_second_run_at_once_is_refused(cli: Cli) -> None:
    first = cli.start_run("time.duration=60s")
    cli.wait_for_round(1)
    done = cli("run", str(QUICKSTART), "--out", str(cli.out))
    assert done.returncode == 3
    assert f"another mnbed is at work: process {first.pid}" in done.stderr
    assert cli("clean").returncode == 3
    os.kill(first.pid, signal.SIGINT)
    assert cli.finish(first).returncode == 130
    assert len(list(cli.out.iterdir())) == 1


def test_random_bytes_to_an_agent_are_counted_and_harm_nothing(cli: Cli) -> None:
    process = cli.start_run("time.duration=6s")
    run = cli.wait_for_round(3)
    pid = agent_pid(run, "h1")

    def attack() -> None:
        enter_network_namespace(pid)
        for _ in range(3):
            with socket.create_connection(("10.0.0.1", 9000), timeout=10) as foreign:
                foreign.sendall(os.urandom(4096))
                with contextlib.suppress(OSError):
                    foreign.recv(1)

    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(attack).result()
    done = cli.finish(process)
    assert done.returncode == 0, done.stderr
    summary = cli.summary()
    assert summary["status"] == "completed"
    assert summary["traffic"]["frames_rejected"] == 3
    assert summary["accuracy"]["final_mean"] > 0.3


def test_a_busy_port_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody listens in h2 before the agent does. Everything but the intruder is the real run."""

    @contextlib.contextmanager
    def with_intruder(*arguments: Any) -> Iterator[Network]:
        with build_network(*arguments) as network, ThreadPoolExecutor(max_workers=1) as pool:

            def listen() -> socket.socket:
                enter_network_namespace(network.pid("h2"))
                return socket.create_server(("10.0.0.2", 9000))

            with pool.submit(listen).result():
                yield network

    monkeypatch.setattr(job_module, "build_network", with_intruder)
    plan = make_plan(load_experiment(QUICKSTART, SHORT), facts())
    outcome = job_module.Job(plan, out=tmp_path / "runs", report=False, console=Console(quiet=True)).execute()
    assert "MNBED_RUN" not in os.environ
    assert isinstance(outcome.error, MachineError)
    assert "h2: cannot listen on 10.0.0.2:9000: Address already in use" in outcome.error.message
    assert "agents.port" in str(outcome.error)


def test_missing_data_names_the_remedy(cli: Cli) -> None:
    done = cli.finish(
        cli.start(
            *("run", str(CHECKOUT / "experiments" / "cifar_stragglers.yaml"), "--out", str(cli.out)),
            *sets("task.on_missing=fail", f"data_root={cli.out}/none"),
        )
    )
    assert_one_message(done, 3, "CIFAR-10", "cifar-10-python.tar.gz", "remedy")


def test_unreadable_data_is_reported_clearly(cli: Cli) -> None:
    broken = cli.out / "broken.tar.gz"
    broken.write_bytes(b"no archive at all")
    done = cli.run("task.name=image_folder", f"task.path={broken}", f"data_root={cli.out}/data")
    assert_one_message(done, 3, "task.path", "broken.tar.gz", "cannot be read as an archive")


def test_wrong_input_names_the_keys(cli: Cli) -> None:
    assert_one_message(cli.run("seed=-1", "task.lr=0"), 2, "seed", "task.lr")


def test_an_unreadable_file_is_named(cli: Cli) -> None:
    assert_one_message(cli("run", "/nonexistent.yaml"), 2, "/nonexistent.yaml")


def test_without_root_the_remedy_is_sudo(cli: Cli) -> None:
    drop = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    code = f"{drop}; from mnbed.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(QUICKSTART), "--out", str(cli.out)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("this checkout cannot be read by other users")
    assert_one_message(done, 3, "root", "sudo")
    assert not list(cli.out.iterdir())


def test_a_full_disk_ends_the_run_with_a_message(cli: Cli) -> None:
    small = cli.out / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], check=True)
    try:
        process = cli.start(
            "run",
            str(QUICKSTART),
            "--out",
            str(small),
            *sets(*SHORT, "time.duration=30s", "evaluate.every=100ms"),
        )
        done = cli.finish(process)
        assert done.returncode in (1, 3)
        assert "No space left on device" in done.stderr
        wait_until(lambda: marked_processes() == [], "processes stay")
    finally:
        time.sleep(0.1)
        subprocess.run(["umount", "-l", str(small)], check=True)
