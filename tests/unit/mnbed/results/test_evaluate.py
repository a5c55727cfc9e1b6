"""Evaluation of snapshots: the real process, on the digits task."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnbed.errors import RunError
from mnbed.results.evaluate import BadSnapshot, mean_parameters, read_snapshot, run_evaluation
from mnbed.results.scores import MEAN_MODEL, pending_jobs, read_scores, remove_snapshots, snapshot_jobs
from mnbed.run_directory import RunDirectory
from node_agent.tasks import create_task
from node_agent.training import FlatModel
from tests.unit.mnbed.results.builder import RunBuilder


def no_progress(_done: int, _total: int) -> None:
    pass


def initial_model(builder: RunBuilder) -> tuple[FlatModel, dict[str, float]]:
    """The task's model and its scores, computed here."""
    experiment = builder.experiment()
    task = create_task(experiment["task"], Path("/nowhere"), experiment["seed"])
    task.load()
    model = FlatModel(task.make_model())
    return model, task.evaluate(model.module, experiment["evaluate"]["samples"])


def lines(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.evaluation.read_text().splitlines()]


def mentions(text: str) -> list[str]:
    """Other processes whose command line holds that text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if text.encode() in command and path.parent.name != str(os.getpid()):
            found.append(path.parent.name)
    return found


def test_every_snapshot_and_the_averaged_model_are_evaluated(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", num_nodes=3, duration_s=2, ledger=False)
    model, expected = initial_model(builder)
    builder.parameters = model.values
    run = builder.build()
    damaged = run.snapshots / "h1" / "00001.npy"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    for name in builder.names:
        np.save(run.snapshots / name / "00002.npy", np.full_like(model.values, math.nan))
    # What an earlier evaluation has done is not repeated, except for its torn last line.
    kept = {"node": "h2", "instant": 0, "t": 0.0, "accuracy": 0.123, "loss": 4.5}
    run.evaluation.write_text(json.dumps(kept) + '\n{"node": "h3", "ins')

    seen: list[tuple[int, int]] = []
    run_evaluation(run, lambda done, total: seen.append((done, total)))

    assert seen == [(done, 12) for done in range(1, 13)]
    scores = read_scores(run)
    assert len(scores.by_key) == 12
    assert scores.value("h2", 0, "accuracy") == 0.123
    for node in ("h1", "h3", MEAN_MODEL):
        assert scores.value(node, 0, "accuracy") == pytest.approx(expected["accuracy"])
        assert scores.value(node, 0, "loss") == pytest.approx(expected["loss"])
    # The averaged model of instant 1 is that of the two nodes whose snapshots are whole.
    assert scores.value(MEAN_MODEL, 1, "loss") == pytest.approx(expected["loss"])
    assert "00001.npy" in scores.by_key["h1", 1]["error"]
    assert "not finite" in scores.by_key["h3", 2]["error"]
    assert "not finite" in scores.by_key[MEAN_MODEL, 2]["error"]
    assert len(scores.errors()) == 5
    assert pending_jobs(run) == []

    before = run.evaluation.read_bytes()
    run_evaluation(run, no_progress)
    assert run.evaluation.read_bytes() == before


def test_a_failure_quotes_the_last_words_of_the_process(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", duration_s=1, parameters=np.zeros(3, np.float32)).build()
    text = run.experiment.read_text()
    run.experiment.write_text(text.replace("name: digits", "name: no_such_task"))
    with pytest.raises(
        RunError, match=r"evaluation failed \(its process exited with status 1\): .*no_such_task"
    ):
        run_evaluation(run, no_progress)


def test_without_an_environment_the_remedy_is_named(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", duration_s=1, parameters=np.zeros(3, np.float32)).build()
    run.environment.unlink()
    with pytest.raises(
        RunError, match=r"the location of the data is unknown: environment.json is missing.*remedy"
    ):
        run_evaluation(run, no_progress)


def test_no_process_outlives_an_interrupted_evaluation(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", duration_s=1, parameters=np.zeros(3, np.float32)).build()
    running: list[str] = []

    def interrupt(_done: int, _total: int) -> None:
        running.extend(mentions(str(run.path)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation(run, interrupt)
    assert running
    assert mentions(str(run.path)) == []


def test_without_snapshots_no_process_is_started(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", duration_s=1).build()
    run.experiment.write_text("not: runnable\n")
    run_evaluation(run, no_progress)
    assert not run.evaluation.exists()


def test_jobs_are_every_nodes_instants_and_the_mean_of_those_that_reached_it(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", num_nodes=3, duration_s=2, killed={"h2": 1})
    jobs = snapshot_jobs(builder.build())
    assert [(job.node, job.instant) for job in jobs if job.node == "h2"] == [("h2", 0), ("h2", 1)]
    means = {
        job.instant: (job.t, [file.parent.name for file in job.files])
        for job in jobs
        if job.node == MEAN_MODEL
    }
    assert means == {0: (0.0, ["h1", "h2", "h3"]), 1: (1.0, ["h1", "h2", "h3"]), 2: (2.0, ["h1", "h3"])}


def test_removing_snapshots_can_be_repeated(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", duration_s=1, parameters=np.zeros(3, np.float32)).build()
    assert list(run.snapshots.glob("*/*.npy"))
    remove_snapshots(run)
    remove_snapshots(run)
    assert not run.snapshots.exists()
    assert pending_jobs(run) == []


def saved(path: Path, values: NDArray[Any]) -> Path:
    np.save(path, values)
    return path


def test_the_mean_of_snapshots_leaves_out_the_bad_ones(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.npy", np.array([1, 2], np.float32))
    three = saved(tmp_path / "b.npy", np.array([3, 6], np.float32))
    bad = tmp_path / "c.npy"
    assert mean_parameters([bad, one, three], 2).tolist() == [2, 4]
    with pytest.raises(BadSnapshot, match=r"c\.npy: No such file"):
        mean_parameters([bad], 2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros(3, np.float32), r"float32 \(3,\), not float32 \(2,\)"),
        (np.zeros(2, np.float64), "float64"),
        (np.array([1, np.inf], np.float32), "1 values that are not finite"),
    ],
)
def test_a_wrong_snapshot_is_refused(tmp_path: Path, values: NDArray[Any], why: str) -> None:
    with pytest.raises(BadSnapshot, match=why):
        read_snapshot(saved(tmp_path / "x.npy", values), 2)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no numpy file at all", b"PK\x03\x04"])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(BadSnapshot, match=r"x\.npy"):
        read_snapshot(path, 2)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(BadSnapshot, match="damaged"):
        read_snapshot(path, 1)
