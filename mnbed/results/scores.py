"""What there is to evaluate, and what evaluation found: snapshots on one side, evaluation.jsonl on the other.

evaluation.jsonl holds one object per line: node (or "mean_model"), instant, t, and every score of the task
("accuracy", "loss", ...); or, where a snapshot could not be evaluated, `error`. A score that is not a number is null.
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
"""Instead of a node's name: the mean of all models of an instant."""

# An instant that few nodes reached (the run was stopped, or half of them are dead) is no mean over the nodes.
MIN_SHARE_OF_NODES = 0.5

Score = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to evaluate."""

    node: str
    instant: int
    t: float | None
    """Emulated seconds."""
    files: tuple[Path, ...]
    """One snapshot; for the averaged model one of each node."""


@dataclass(frozen=True)
class Scores:
    """All that evaluation.jsonl holds."""

    by_key: Mapping[tuple[str, int], Score]
    """(node, instant) -> its line."""

    def value(self, node: str, instant: int, key: str) -> float | None:
        """That score; None where it was not evaluated or is no number."""
        value = self.by_key.get((node, instant), {}).get(key)
        return float(value) if isinstance(value, (int, float)) else None

    def names(self) -> list[str]:
        """Names of all scores, "loss" and "accuracy" first."""
        found = {key for score in self.by_key.values() for key in score}
        return ["loss", "accuracy", *sorted(found - {"node", "instant", "t", "error", "loss", "accuracy"})]

    def errors(self) -> list[str]:
        """One line for each model that could not be evaluated."""
        return [
            f"{node} at instant {instant}: {score['error']}"
            for (node, instant), score in self.by_key.items()
            if "error" in score
        ]

    def curve(self, key: str, nodes: Collection[str]) -> Curve:
        """That score's mean over these nodes at each instant that at least half of them have."""
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
    """Standard deviation over the nodes (of the population: the nodes are all there are)."""


def read_scores(run: RunDirectory) -> Scores:
    """What is in evaluation.jsonl; a torn line counts as not evaluated. No file: nothing evaluated."""
    try:
        lines = run.evaluation.read_bytes().splitlines()
    except FileNotFoundError:
        return Scores({})
    found: dict[tuple[str, int], Score] = {}
    for line in lines:
        try:
            score = json.loads(line)
            found[score["node"], score["instant"]] = score
        except (ValueError, KeyError, TypeError):
            continue
    return Scores(found)


def snapshot_jobs(run: RunDirectory) -> list[Job]:
    """Every snapshot that the nodes' journals tell of, and each instant's averaged model."""
    jobs = []
    for path in sorted(run.nodes.glob("*.jsonl")):
        if path != run.controller_journal:
            jobs += _jobs_of(run, path)
    return [*jobs, *_mean_jobs(jobs)]


def pending_jobs(run: RunDirectory) -> list[Job]:
    """Those jobs that evaluation.jsonl does not hold, but whose snapshots are there."""
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


def _jobs_of(run: RunDirectory, journal: Path) -> list[Job]:
    """Goes through the journal for snapshots only: most of its lines are the ledger's."""
    jobs: dict[int, Job] = {}
    with journal.open("rb") as file:
        for line in file:
            record = parse_record(line) if b'"snapshot"' in line else None
            if record is None or record["event"] != "snapshot":
                continue
            instant, name = record.get("instant"), record.get("file")
            if isinstance(instant, int) and isinstance(name, str):
                t = record.get("instant_s", record.get("t"))
                jobs[instant] = Job(node=journal.stem, instant=instant, t=t, files=(run.path / name,))
    return list(jobs.values())


def _mean_jobs(jobs: Sequence[Job]) -> list[Job]:
    by_instant: dict[int, list[Job]] = {}
    for job in jobs:
        by_instant.setdefault(job.instant, []).append(job)
    return [
        Job(
            node=MEAN_MODEL,
            instant=instant,
            t=statistics.median(times)
            if (times := [job.t for job in together if job.t is not None])
            else None,
            files=tuple(file for job in together for file in job.files),
        )
        for instant, together in sorted(by_instant.items())
    ]
