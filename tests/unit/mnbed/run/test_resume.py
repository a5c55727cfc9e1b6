"""What a restarted node resumes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnbed.run.resume import resume_settings
from mnbed.run_directory import RunDirectory
from node_agent.control_messages import Status
from node_agent.counters import Counters


def run_with(tmp_path: Path, *records: dict[str, Any]) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    lines = [json.dumps(record, separators=(",", ":")) for record in records]
    run.node_journal("h1").write_text("\n".join([*lines, '{"event":"round","rou']))
    return run


def status_of(number: int, steps: int, counters: Counters | None = None) -> Status:
    totals = (counters or Counters()).totals()
    return {"t": 3.0, "round": number, "steps": steps, "train_loss": 1.0, "counters": totals}


ROUND = {"event": "round", "round": 6, "steps": 28}
SNAPSHOT = {
    "event": "snapshot",
    "file": "snapshots/h1/00003.npy",
    "steps": 25,
    "bytes_sent": 900,
    "overruns": 3,
}


def test_rounds_and_totals_go_on_from_whatever_is_newest(tmp_path: Path) -> None:
    run = run_with(tmp_path, SNAPSHOT, ROUND)
    status = status_of(5, 30, Counters(bytes_sent=1000, overruns=2))
    found = resume_settings(run, "h1", "last", 1, status)
    assert (found.life, found.round, found.steps) == (1, 7, 30)
    assert (found.counters["bytes_sent"], found.counters["overruns"], found.counters["bytes_received"]) == (
        1000,
        3,
        0,
    )
    assert found.snapshot == "snapshots/h1/00003.npy"


def test_steps_of_the_last_round_count_where_nothing_newer_is_known(tmp_path: Path) -> None:
    assert resume_settings(run_with(tmp_path, SNAPSHOT, ROUND), "h1", "last", 1, status_of(5, 24)).steps == 28


def test_a_fresh_node_keeps_its_rounds_and_loses_its_model(tmp_path: Path) -> None:
    found = resume_settings(run_with(tmp_path, SNAPSHOT, ROUND), "h1", "fresh", 2, status_of(9, 30))
    assert (found.life, found.round, found.snapshot) == (2, 9, None)


def test_a_node_killed_before_it_did_anything_starts_afresh(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    found = resume_settings(run, "h1", "last", 1, None)
    assert (found.round, found.steps, found.snapshot) == (0, 0, None)
    assert not any(found.counters.values())
