"""The models to evaluate, found among the snapshots, and their scores, kept in evaluation.jsonl.

evaluation.jsonl contains one object per line: node (or "mean_model"), instant, t, and every score of the task
("accuracy", "loss", ...); or `error` if a snapshot could not be evaluated. A score that is NaN or infinite is null.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnbed.results.journals import parse_record
from mnbed.run_directory import RunDirectory

MEAN_MODEL = "mean_model"
"""In place of a node's name: the mean of all models at an instant."""

# An instant that few nodes reached (the run was stopped, or half of them had died) has no meaningful mean.
MIN_SHARE_OF_NODES = 0.5

Score = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """A model to evaluate."""

    node: str
    instant: int
    t: float | None
    """Emulated seconds."""
    files: tuple[Path, ...]
    """Its snapshot; for the averaged model, the snapshots of all nodes."""


@dataclass(frozen=True)
class Scores:
    """The content of evaluation.jsonl."""

    by_key: Mapping[tuple[str, int], Score]
    """(node, instant) -> its line."""

    def value(self, node: str, instant: int, key: str) -> float | None:
        """That score; None if it was not evaluated or is not a number."""
        value = self.by_key.get((node, instant), {}).get(key)
        return float(value) if isinstance(value, (int, float)) else None

    def names(self) -> list[str]:
        """Names of all scores, "loss" and "accuracy" first."""
        keys = {key for score in self.by_key.values() for key in score}
        return ["loss", "accuracy", *sorted(keys - {"node", "instant", "t", "error", "loss", "accuracy"})]

    def errors(self) -> list[str]:
        """A line for each model that could not be evaluated."""
        return [
            f"{node} at instant {instant}: {score['error']}"
            for (node, instant), score in self.by_key.items()
            if "error" in score
        ]

    def curve(self, key: str, nodes: Collection[str]) -> Curve:
        """Mean of that score over these nodes, at each instant that at least half of them reached."""
        values: dict[int, list[float]] = {}
        times: dict[int, list[float]] = {}
        seen: set[str] = set()
        for (node, instant), score in self.by_key.items():
            value, t = self.value(node, instant, key), score.get("t")
            if node in nodes and value is not None and isinstance(t, (int, float)):
                values.setdefault(instant, []).append(value)
                times.setdefault(instant, []).append(t)
                seen.add(node)
        instants = [k for k in sorted(values) if len(values[k]) >= MIN_SHARE_OF_NODES * len(seen)]
        return Curve(
            instants=instants,
            t=[statistics.median(times[k]) for k in instants],
            mean=[statistics.fmean(values[k]) for k in instants],
            std=[statistics.pstdev(values[k]) for k in instants],
        )


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A score against emulated time; lists of equal length."""

    instants: list[int]
    t: list[float]
    """Emulated seconds."""
    mean: list[float]
    std: list[float]
    """Standard deviation over the nodes, which are the whole population."""


def read_scores(run: RunDirectory) -> Scores:
    """The content of evaluation.jsonl; a truncated line is skipped, a missing file means that nothing is evaluated."""
    try:
        lines = run.evaluation.read_bytes().splitlines()
    except FileNotFoundError:
        return Scores({})
    by_key: dict[tuple[str, int], Score] = {}
    for line in lines:
        try:
            score = json.loads(line)
            by_key[score["node"], score["instant"]] = score
        except (ValueError, KeyError, TypeError):
            continue
    return Scores(by_key)


def snapshot_jobs(run: RunDirectory) -> list[EvaluationJob]:
    """Every snapshot recorded in the nodes' journals, and the averaged model of each instant."""
    jobs = []
    for path in sorted(run.nodes.glob("*.jsonl")):
        if path != run.controller_journal:
            jobs += _jobs_of(run, path)
    return [*jobs, *_mean_jobs(jobs)]


def pending_jobs(run: RunDirectory) -> list[EvaluationJob]:
    """The jobs that are not in evaluation.jsonl and whose snapshots still exist."""
    done = read_scores(run).by_key
    return [
        job
        for job in snapshot_jobs(run)
        if (job.node, job.instant) not in done and any(file.exists() for file in job.files)
    ]


def remove_snapshots(run: RunDirectory) -> None:
    """Delete all snapshots; called once they are evaluated, unless the experiment keeps them."""
    if run.snapshots.is_dir():
        shutil.rmtree(run.snapshots)


def _jobs_of(run: RunDirectory, journal: Path) -> list[EvaluationJob]:
    """The snapshots that the journal lists; its other lines, mostly of the ledger, are not even parsed."""
    jobs: dict[int, EvaluationJob] = {}
    with journal.open("rb") as file:
        for line in file:
            record = parse_record(line) if b'"snapshot"' in line else None
            if record is None or record["event"] != "snapshot":
                continue
            instant, name = record.get("instant"), record.get("file")
            if isinstance(instant, int) and isinstance(name, str):
                t = record.get("instant_s", record.get("t"))
                jobs[instant] = EvaluationJob(
                    node=journal.stem, instant=instant, t=t, files=(run.path / name,)
                )
    return list(jobs.values())


def _mean_jobs(jobs: Sequence[EvaluationJob]) -> list[EvaluationJob]:
    by_instant: dict[int, list[EvaluationJob]] = {}
    for job in jobs:
        by_instant.setdefault(job.instant, []).append(job)
    return [
        EvaluationJob(
            node=MEAN_MODEL,
            instant=instant,
            t=statistics.median(times)
            if (times := [job.t for job in together if job.t is not None])
            else None,
            files=tuple(file for job in together for file in job.files),
        )
        for instant, together in sorted(by_instant.items())
    ]
