"""Events as a user writes them: applied on time, journalled, survived by the nodes, shown in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system.conftest import Cli

pytestmark = pytest.mark.root

EASY = ("time.dilation=1", "compute.step_time=20ms", "task.local_steps=4", "algorithm.degree=2")


def with_events(*events: dict[str, Any]) -> str:
    return f"network.events={json.dumps(events)}"


def records(run: Path, node: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "nodes" / f"{node}.jsonl").read_text().splitlines()]


def applied(run: Path) -> list[dict[str, Any]]:
    return [record for record in records(run, "controller") if record["event"] == "applied"]


def parameters(run: Path, node: str) -> dict[int, np.ndarray]:
    folder = run / "snapshots" / node
    return {int(path.stem): np.load(path) for path in folder.glob("*.npy")}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b))


@pytest.mark.quiet
def test_every_kind_of_event_is_applied_in_time(cli: Cli) -> None:
    done = cli.run(
        *EASY,
        "time.duration=8s",
        with_events(
            {"at": "1s", "link": ["h1", "s1"], "bandwidth": "1mbit", "delay": "30ms", "for": "2s"},
            {
                "at": "1500ms",
                "link": ["h2", "s1"],
                "action": "flap",
                "down": "200ms",
                "up": "300ms",
                "times": 2,
            },
            {"at": "2s", "node": "h3", "action": "crash", "downtime": "1s"},
            {"at": "4s", "partition": [["h1", "h2"], ["h3", "h4"]], "for": "1s"},
            {"at": "5500ms", "node": "h4", "action": "pause", "for": "1s"},
            {"at": "7s", "node": "h1", "action": "kill"},
            {"at": "7s", "link": ["h2", "s1"], "loss": 0.01},
        ),
        options=["--strict"],
        report=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = cli.directory()
    happened = applied(run)
    assert [(event["planned_s"], event["text"]) for event in happened] == [
        (1, "h1 - s1: bandwidth 1mbit, delay 30ms"),
        (1.5, "h2 - s1 down"),
        (1.7, "h2 - s1 up"),
        (2, "h2 - s1 down"),
        (2, "h3 killed"),
        (2.2, "h2 - s1 up"),
        (3, "h1 - s1: as before"),
        (3, "h3 restarts from its last snapshot"),
        (4, "partition h1 h2 | h3 h4"),
        (5, "partition heals"),
        (5.5, "h4 paused"),
        (6.5, "h4 resumes"),
        (7, "h1 killed"),
        (7, "h2 - s1: loss 0.01"),
    ]
    assert all(0 <= event["late_s"] < 0.05 for event in happened)
    (checked,) = [record for record in records(run, "controller") if record["event"] == "shaping_checked"]
    assert checked["differences"] == []
    summary = cli.summary()
    # No torn frame of a killed node, no length of a pause counts against the emulation.
    assert (summary["status"], summary["verdict"], summary["reasons"]) == ("completed", "faithful", [])
    page = (run / "report.html").read_text()
    assert "partition h1 h2 | h3 h4" in page
    assert "<h2>Events</h2>" in page


def test_a_restarted_node_resumes_from_the_requested_state(cli: Cli) -> None:
    keep = ("evaluate.keep_snapshots=true", "evaluate.every=1s", "time.duration=7s")
    crashes = with_events(
        {"at": "3500ms", "node": "h1", "action": "crash", "downtime": "1s", "state": "last"},
        {"at": "3500ms", "node": "h2", "action": "crash", "downtime": "1s", "state": "fresh"},
    )
    done = cli.run(*EASY[:-1], *keep, "algorithm.name=local", crashes, options=["--no-report"])
    assert done.returncode == 0, done.stderr
    run = cli.directory()
    for node, fresh in (("h1", False), ("h2", True)):
        models = parameters(run, node)
        # Nobody took a snapshot while it was gone.
        assert sorted(models) == [0, 1, 2, 3, 5, 6, 7]
        to_last, to_first = distance(models[5], models[3]), distance(models[5], models[0])
        assert (to_first < to_last) is fresh, (node, to_last, to_first)
        journal = records(run, node)
        assert [record["life"] for record in journal if record["event"] == "ready"] == [0, 1]
        rounds = [record["round"] for record in journal if record["event"] == "round"]
        assert rounds == sorted(set(rounds))
        steps = [record["steps"] for record in journal if record["event"] == "round"]
        assert steps == sorted(steps)
        assert [record["reason"] for record in journal if record["event"] == "end"] == ["finished"]
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len([row for row in rows if row.startswith("h1,")]) == 7


def test_a_restarted_node_exchanges_models_again(cli: Cli) -> None:
    crash = with_events({"at": "2s", "node": "h2", "action": "crash", "downtime": "1s", "state": "fresh"})
    done = cli.run(*EASY, "time.duration=5s", crash, options=["--no-report"])
    assert done.returncode == 0, done.stderr
    run = cli.directory()
    back = next(record["t"] for record in applied(run) if record["text"] == "h2 restarts afresh")
    # It is heard, and it hears.
    heard = [
        record for record in records(run, "h1") if record["event"] == "arrived" and record["sender"] == "h2"
    ]
    assert [record for record in heard if record["t"] > back + 0.5]
    assert not [record for record in heard if 2.5 < record["t"] < back]
    assert [
        record for record in records(run, "h2") if record["event"] == "arrived" and record["t"] > back + 0.5
    ]
    # No fragment of its second life has a round of its first.
    sent = [
        (record["round"], record["fragment"], record["peer"], record["t"] > back)
        for record in records(run, "h2")
        if record["event"] == "sent"
    ]
    assert max(number for number, *_, second in sent if not second) < min(
        number for number, *_, second in sent if second
    )
    assert cli.summary()["accuracy"]["final_mean"] > 0.3


def test_agents_started_one_by_one_restart_too(cli: Cli) -> None:
    crash = with_events({"at": "1s", "node": "h2", "action": "crash", "downtime": "500ms"})
    # Importing torch anew takes seconds.
    slow = ("agents.launch=exec", "time.duration=5s", "time.dilation=2", "network.topology.nodes=3")
    done = cli.run(*EASY[1:], *slow, crash, options=["--no-report"])
    assert done.returncode == 0, done.stderr
    journal = records(cli.directory(), "h2")
    assert [record["life"] for record in journal if record["event"] == "ready"] == [0, 1]
    assert journal[-1]["event"] == "end"


def test_a_run_whose_nodes_are_all_killed_ends_with_what_there_is(cli: Cli) -> None:
    everybody = with_events({"at": "1500ms", "nodes": ["h1", "h2", "h3", "h4"], "action": "kill"})
    done = cli.run(*EASY, "time.duration=20s", everybody, options=["--no-report"])
    assert done.returncode == 0, done.stderr
    summary = cli.summary()
    assert summary["status"] == "completed"
    # Nobody was there to wait for.
    assert summary["emulated_s"] < 10


def test_a_paused_node_does_not_keep_the_run_from_ending(cli: Cli) -> None:
    pause = with_events({"at": "1s", "node": "h2", "action": "pause"})
    done = cli.run(*EASY, "time.duration=3s", pause, options=["--no-report"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_trace_shapes_its_link_and_the_run_directory_runs_again(cli: Cli, tmp_path: Path) -> None:
    experiment = tmp_path / "traced.yaml"
    (tmp_path / "cell.csv").write_text("time,bandwidth\n0,5mbit\n1,500kbit\n1.5,8mbit\n")
    quickstart = (Path(__file__).parents[2] / "experiments" / "quickstart.yaml").read_text()
    experiment.write_text(
        quickstart.replace("  stragglers:", "  events: [{link: [h1, s1], trace: cell.csv}]\n  stragglers:")
    )
    short = ("--set", "time.duration=2s", "--set", "evaluate.every=1s", "--no-report", "--out", str(cli.out))
    done = cli("run", str(experiment), *short)
    assert done.returncode == 0, done.stderr
    run = cli.directory()
    assert [event["text"] for event in applied(run)] == [
        "h1 - s1: bandwidth 5mbit",
        "h1 - s1: bandwidth 500kbit",
        "h1 - s1: bandwidth 8mbit",
    ]
    (tmp_path / "cell.csv").unlink()
    again = cli("plan", str(run / "experiment.yaml"))
    assert again.returncode == 0, again.stderr
    assert "h1 - s1: bandwidth 500kbit" in again.stdout


def test_wrong_events_are_refused_before_anything_is_built(cli: Cli) -> None:
    done = cli.run(with_events({"at": "1s", "node": "h9", "action": "kill"}))
    assert done.returncode == 2
    assert "network.events[0].node: no host 'h9'" in done.stderr
    assert not list(cli.out.iterdir())
