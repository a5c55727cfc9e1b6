"""`mnbed run`, whole: what a user gets."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mnbed.run_directory import RunDirectory
from tests.record_types import run_problems
from tests.system.conftest import CHECKOUT, Cli, agent_pid, marked_processes, runner, wait_until

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

SUMMARY_KEYS = {
    *(
        "run_id",
        "name",
        "algorithm",
        "task",
        "standin",
        "seed",
        "nodes",
        "stragglers",
        "status",
        "emulated_s",
        "wall_s",
    ),
    *(
        "dilation",
        "delay_backend",
        "switch",
        "verdict",
        "reasons",
        "accuracy",
        "loss",
        "rounds",
        "traffic",
        "time_to",
    ),
    *("startup_s", "teardown_s", "agent_memory_mb"),
}


USER = 65534


@dataclass
class Finished:
    """One run that several tests look at."""

    cli: Cli
    run: Path
    done: subprocess.CompletedProcess[str]
    agent_status: str
    """/proc/PID/status of an agent, while it trained."""


@pytest.fixture(scope="module")
def finished() -> Iterator[Finished]:
    with runner() as cli:
        os.chown(cli.out, USER, USER)
        process = cli.start_run(
            "evaluate.targets=[0.11, 0.999]",
            "evaluate.keep_snapshots=true",
            report=True,
            env={"SUDO_UID": str(USER), "SUDO_GID": str(USER), "MNBED_DATA": "/nonexistent"},
        )
        run = cli.wait_for_round()
        status = Path(f"/proc/{agent_pid(run, 'h1')}/status").read_text()
        yield Finished(cli, run, cli.finish(process), status)


def test_a_run_gives_everything_the_contract_names(finished: Finished) -> None:
    done, run = finished.done, finished.run
    assert done.returncode == 0, done.stderr
    for name in (
        "experiment.yaml",
        "environment.json",
        "events.jsonl",
        "metrics.csv",
        "messages.csv",
        "links.csv",
    ):
        assert (run / name).stat().st_size > 0, name
    assert (run / "report.html").read_text().count("<svg") >= 4
    assert list((run / "plots").glob("*.svg"))
    assert list((run / "plots").glob("*.png"))
    assert len(list((run / "snapshots").rglob("*.npy"))) == 4 * 4
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) >= SUMMARY_KEYS
    assert summary["status"] == "completed"
    assert summary["nodes"] == 4
    assert summary["stragglers"] == 2
    assert summary["standin"] is False
    assert summary["emulated_s"] == pytest.approx(3.0)
    assert [row[0] for row in summary["accuracy"]["curve"]] == [0, 1, 2, 3]
    assert summary["accuracy"]["final_mean"] > summary["accuracy"]["curve"][0][1]
    assert summary["rounds"]["min"] >= 10
    assert summary["time_to"]["0.999"] is None
    traffic = summary["traffic"]
    assert 0 < traffic["fragments_received"] <= traffic["fragments_sent"]
    assert traffic["frames_rejected"] == 0
    assert marked_processes() == []
    for text in (str(run), "report.html"):
        assert text in done.stdout.replace("\n", "")


def test_a_runs_files_hold_what_their_types_say(finished: Finished) -> None:
    assert run_problems(RunDirectory(finished.run)) == []


def test_output_without_a_terminal_is_plain_lines(finished: Finished) -> None:
    assert "\x1b" not in finished.done.stdout
    assert "training for 3 emulated s" in finished.done.stdout


def test_the_ledger_adds_up(finished: Finished) -> None:
    run = finished.run
    traffic = json.loads((run / "summary.json").read_text())["traffic"]
    with (run / "messages.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["sent_s"]) for row in rows) == traffic["fragments_sent"]
    assert sum(bool(row["arrived_s"]) for row in rows) == traffic["fragments_received"]
    assert sum(bool(row["dropped_s"]) for row in rows) == traffic["fragments_dropped_stale"]
    for row in rows:
        if row["arrived_s"] and row["begun_s"]:
            # Two links of 5 ms each way: nothing arrives sooner.
            assert float(row["arrived_s"]) - float(row["begun_s"]) >= 0.0095


def test_agents_run_as_the_invoking_user_and_files_are_theirs(finished: Finished) -> None:
    assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in finished.agent_status
    assert {path.stat().st_uid for path in [finished.run, *finished.run.rglob("*")]} == {USER}


def test_the_resolved_experiment_runs_again_with_the_same_choices(finished: Finished, cli: Cli) -> None:
    first = finished.run
    done = cli("run", str(first / "experiment.yaml"), "--out", str(cli.out), "--name", "again", "--no-report")
    assert done.returncode == 0, done.stderr
    second = cli.directory()
    assert not (second / "report.html").exists()
    keys = ("hosts", "partition", "num_parameters", "dilation", "delay_backend", "links", "data")
    one, two = (json.loads((run / "environment.json").read_text()) for run in (first, second))
    assert {key: one[key] for key in keys} == {key: two[key] for key in keys}
    # Nothing is left to this machine's next moment.
    assert one["left_to_machine"]["time.dilation"] == "auto"
    assert two["left_to_machine"] == {}
    kept, again = ((run / "experiment.yaml").read_text().splitlines() for run in (first, second))
    assert kept[1:] == again[1:]
    assert again[0] == "name: again"


def test_the_exec_launch_gives_the_same_kind_of_run(cli: Cli) -> None:
    done = cli.run(
        "agents.launch=exec", "network.topology.nodes=2", "algorithm.degree=1", "network.stragglers.count=1"
    )
    assert done.returncode == 0, done.stderr
    assert cli.summary()["status"] == "completed"
    assert cli.summary()["traffic"]["fragments_received"] > 0
    assert not list((cli.directory() / "nodes").glob("*.orders.json"))
    assert cli.summary()["data"].startswith("scikit-learn")


def test_other_networks_train_too(cli: Cli) -> None:
    more = ["network.topology.degree=3", "time.duration=2s"]
    done = cli.run("network.topology.kind=random_regular", *more, options=["--no-report"])
    assert done.returncode == 0, done.stderr
    assert cli.summary()["traffic"]["fragments_received"] > 0


def test_local_sends_nothing(cli: Cli) -> None:
    done = cli.run("algorithm.name=local", "time.duration=2s", options=["--no-report"])
    assert done.returncode == 0, done.stderr
    assert cli.summary()["traffic"]["bytes_sent"] == 0


def test_real_images_decode_and_train(cli: Cli) -> None:
    archive = Path(
        os.environ.get(
            "MNBED_TEST_IMAGES", CHECKOUT.parent / "shared/data/cifar-10-jpeg/CIFAR-10-images.tar.gz"
        )
    )
    if not archive.exists():
        pytest.skip(f"no real images at {archive}; name some with MNBED_TEST_IMAGES")
    data = cli.out / "data"
    done = cli.finish(
        cli.start(
            *(
                "run",
                str(CHECKOUT / "experiments" / "cifar_stragglers.yaml"),
                "--out",
                str(cli.out),
                "--no-report",
            ),
            *(
                "--set",
                "task.name=image_folder",
                "--set",
                f"task.path={archive}",
                "--set",
                "time.duration=2s",
            ),
            *("--set", "evaluate.every=1s", "--set", "evaluate.samples=100", "--set", f"data_root={data}"),
        )
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(data)
    assert cli.summary()["standin"] is False


def test_the_mininet_prompt_takes_commands_from_standard_input(cli: Cli) -> None:
    done = cli(
        "cli",
        str(CHECKOUT / "experiments" / "quickstart.yaml"),
        text="nodes\nh1 ping -U -c 2 h2\nlinks\niperf h3 h2\nexit\n",
    )
    assert done.returncode == 0, done.stderr
    assert "2 received" in done.stdout
    assert "h1-eth0<->s1-eth1" in done.stdout
    (rate,) = re.findall(r"Results: \['([\d.]+) Mbits/sec'", done.stdout)
    # Links of 10 Mbit/s; Ethernet, IP and TCP headers take a twentieth.
    assert 7.5 < float(rate) < 10
    wait_until(lambda: marked_processes() == [], "processes stay")


def test_the_prompt_ends_with_its_input(cli: Cli) -> None:
    assert cli("cli", str(CHECKOUT / "experiments" / "quickstart.yaml"), text="").returncode == 0
    wait_until(lambda: marked_processes() == [], "processes stay")
