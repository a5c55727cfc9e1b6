"""Several runs side by side: groups of seeds, curves with confidence bands, time and bytes to a target, speed-ups.

Pure figures from run directories; `compare_report.py` writes them down. Runs that cannot be compared are refused:
another task, stand-in data beside real data, a degraded emulation beside a faithful one.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from mnbed.errors import InputError
from mnbed.results.summary import COMPLETED, ScoreSummary, Summary, read_summary, task_score
from mnbed.results.targets import time_to
from mnbed.run_directory import RunDirectory

_CONFIDENCE = 0.95
# Differ between runs of one group, or say nothing about what was compared.
_NOT_COMPARED = ("seed", "name", "data_root")
_MAX_LABEL = 80


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run, and what it is a run of."""

    run: RunDirectory
    summary: Summary
    cell: Mapping[str, str]
    """Axis -> value: what tells its group from the others."""

    @property
    def label(self) -> str:
        return ", ".join(self.cell.values()) or "all"

    @property
    def score(self) -> ScoreSummary:
        """Of the metric that the task is compared by."""
        return task_score(self.summary)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(emulated time, mean over the nodes)"""
        return [(row[0], row[1]) for row in self.score.curve]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A quantity over seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Of the sample; None for a single value."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def half_width(self) -> float | None:
        """Of the 95 % confidence interval of the mean, by Student's t; None for a single value."""
        if len(self.values) < 2:
            return None
        from scipy.stats import t

        quantile = float(t.ppf((1 + _CONFIDENCE) / 2, len(self.values) - 1))
        return quantile * stdev(self.values) / math.sqrt(len(self.values))


@dataclass(frozen=True, kw_only=True)
class Target:
    """One group and one target."""

    target: float
    times_s: Spread
    """Emulated; of the seeds that reached it."""
    bytes: Spread
    """Sent by all nodes until then."""
    reached: int
    of: int
    speedup: Spread
    """The baseline's time over this one's, by seed; of seeds where both reached it."""
    at_least: float | None
    """Where only this group reached it: the baseline's whole duration over the time needed, the least of all seeds."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """All runs of one cell."""

    label: str
    cell: Mapping[str, str]
    runs: tuple[ComparedRun, ...]
    final: Spread
    stragglers_final: Spread
    mean_model: Spread
    rounds: Spread
    gigabytes: Spread
    targets: tuple[Target, ...]
    curve: tuple[tuple[float, float, float | None], ...]
    """(emulated time, mean over seeds, half width of its confidence interval)"""
    is_baseline: bool

    @property
    def verdicts(self) -> str:
        """ "faithful", or how many were not."""
        degraded = sum(one.summary.verdict != "faithful" for one in self.runs)
        return "faithful" if not degraded else f"{degraded} of {len(self.runs)} degraded"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All groups, in the order of the runs."""

    metric: str
    best: str
    """max or min: which of the metric is best."""
    groups: tuple[Group, ...]
    targets: tuple[float, ...]
    baseline: Mapping[str, str]
    task: str
    standin: bool
    warnings: tuple[str, ...]


def read_runs(paths: Iterable[Path]) -> tuple[list[ComparedRun], dict[str, str]]:
    """(runs of those run directories and sweeps that have a summary, the sweeps' baseline). Raises InputError."""
    runs: list[ComparedRun] = []
    plain: list[RunDirectory] = []
    baseline: dict[str, str] = {}
    for path in paths:
        if (path / "sweep.json").is_file():
            found, baseline = _sweep_runs(path)
            runs += found
        elif (path / "experiment.yaml").is_file():
            plain.append(RunDirectory(path))
        else:
            raise InputError(f"{path} is neither a run directory nor a sweep's")
    runs += _plain_runs(plain)
    if not runs:
        raise InputError("no run with results was given", "run them first: mnbed run, or mnbed sweep")
    return runs, baseline


def _sweep_runs(path: Path) -> tuple[list[ComparedRun], dict[str, str]]:
    try:
        data = json.loads((path / "sweep.json").read_text())
        entries = [entry for entry in data["runs"] if entry["status"] == COMPLETED]
        runs = [
            ComparedRun(
                run=RunDirectory(path / entry["directory"]),
                summary=read_summary(path / entry["directory"] / "summary.json"),
                cell=entry["cell"],
            )
            for entry in entries
        ]
        return runs, dict(data.get("baseline") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / 'sweep.json'}: not a sweep: {error}") from None


def _plain_runs(directories: Sequence[RunDirectory]) -> list[ComparedRun]:
    """Their cells are the keys in which their resolved experiments differ."""
    settings = [_flat(_experiment(directory)) for directory in directories]
    keys = sorted({key for one in settings for key in one})
    axes = [key for key in keys if len({one.get(key, "none") for one in settings}) > 1]
    runs = []
    for directory, one in zip(directories, settings, strict=True):
        cell = {key: f"{key.rpartition('.')[2]}={one.get(key, 'none')}"[:_MAX_LABEL] for key in axes}
        if "algorithm.name" in cell:
            # The name says the rest where each algorithm comes with settings of its own.
            cell = {key: value for key, value in cell.items() if not key.startswith("algorithm.")} | {
                "algorithm": _algorithm_label(one, settings)
            }
        runs.append(ComparedRun(run=directory, summary=read_summary(directory.summary), cell=cell))
    return runs


def _algorithm_label(one: Mapping[str, str], all_settings: Sequence[Mapping[str, str]]) -> str:
    """The algorithm's name, and the settings in which others of that name differ."""
    same = [other for other in all_settings if other.get("algorithm.name") == one["algorithm.name"]]
    keys = sorted({key for other in same for key in other if key.startswith("algorithm.")})
    differing = [key for key in keys if len({other.get(key) for other in same}) > 1]
    more = [f"{key.rpartition('.')[2]}={one.get(key, 'none')}" for key in differing]
    return " ".join([one["algorithm.name"], *more])


def _experiment(directory: RunDirectory) -> dict[str, Any]:
    try:
        data = yaml.safe_load(directory.experiment.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{directory.experiment}: cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{directory.experiment}: not an experiment")
    return {key: value for key, value in data.items() if key not in _NOT_COMPARED}


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {prefix: json.dumps(value) if not isinstance(value, str) else value}
    found: dict[str, str] = {}
    for key, item in value.items():
        found |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def compare(
    runs: Sequence[ComparedRun],
    *,
    baseline: Mapping[str, str],
    targets: Sequence[float] = (),
    anyway: bool = False,
) -> Comparison:
    """Raises InputError where runs cannot be compared, unless wanted `anyway`, or the baseline is none of them.

    baseline: axis -> value; every group is measured against the one that differs from it in these axes alone.
    """
    obstacles = list(_obstacles(runs))
    if obstacles and not anyway:
        raise InputError("; ".join(obstacles), "compare runs that are alike, or say --anyway")
    _check_baseline(runs, baseline)
    wanted = sorted({*targets, *(float(name) for one in runs for name in one.summary.time_to)})
    cells = list({one.label: one.cell for one in runs}.items())
    by_label = {label: [one for one in runs if one.label == label] for label, _ in cells}
    groups = []
    for label, cell in cells:
        against = ", ".join({**cell, **baseline}.values()) if baseline else None
        groups.append(_group(label, cell, by_label[label], by_label.get(against or "", []), wanted))
    first = runs[0].summary
    return Comparison(
        metric=first.metric,
        best=first.best,
        groups=tuple(groups),
        targets=tuple(wanted),
        baseline=dict(baseline),
        task=first.task or "",
        standin=any(one.summary.standin for one in runs),
        warnings=tuple(obstacles),
    )


def _obstacles(runs: Sequence[ComparedRun]) -> Iterable[str]:
    for what, values in (
        ("tasks", {f"{one.summary.task}" for one in runs}),
        ("metrics", {one.summary.metric for one in runs}),
    ):
        if len(values) > 1:
            yield f"the runs have different {what}: {', '.join(sorted(values))}"
    if len({bool(one.summary.standin) for one in runs}) > 1:
        yield "some runs have real data, others a stand-in"
    degraded = [one.run.run_id for one in runs if one.summary.verdict != "faithful"]
    if degraded and len(degraded) < len(runs):
        more = f" and {len(degraded) - 3} more" if len(degraded) > 3 else ""
        yield f"some emulations were faithful, others degraded: {', '.join(degraded[:3])}{more}"
    ended = [one.run.run_id for one in runs if one.summary.status != COMPLETED]
    if ended:
        yield f"not completed: {', '.join(ended[:3])}"


def _check_baseline(runs: Sequence[ComparedRun], baseline: Mapping[str, str]) -> None:
    for axis, value in baseline.items():
        known = sorted({one.cell[axis] for one in runs if axis in one.cell})
        if not known:
            axes = sorted({axis for one in runs for axis in one.cell})
            raise InputError(
                f"--baseline {axis}={value}: the runs do not differ in {axis}, but in: {', '.join(axes)}"
            )
        if value not in known:
            raise InputError(f"--baseline {axis}={value}: no such value; there are: {', '.join(known)}")


def _group(
    label: str,
    cell: Mapping[str, str],
    runs: Sequence[ComparedRun],
    baseline: Sequence[ComparedRun],
    targets: Sequence[float],
) -> Group:
    def spread(values: Iterable[float | None]) -> Spread:
        return Spread(values=tuple(value for value in values if value is not None))

    return Group(
        label=label,
        cell=cell,
        runs=tuple(runs),
        final=spread(one.score.final_mean for one in runs),
        stragglers_final=spread(one.score.stragglers_final_mean for one in runs),
        mean_model=spread(one.score.mean_model for one in runs),
        rounds=spread(one.summary.rounds.mean for one in runs),
        gigabytes=spread(
            None if one.summary.traffic.bytes_sent is None else one.summary.traffic.bytes_sent / 1e9
            for one in runs
        ),
        targets=tuple(_target(target, runs, baseline) for target in targets),
        curve=_mean_curve(runs),
        is_baseline=bool(baseline) and baseline[0].label == label,
    )


def _target(target: float, runs: Sequence[ComparedRun], baseline: Sequence[ComparedRun]) -> Target:
    times = {one.summary.seed: time_to(one.curve, target, one.summary.best) for one in runs}
    reached = {seed: t for seed, t in times.items() if t is not None}
    base = {one.summary.seed: time_to(one.curve, target, one.summary.best) for one in baseline}
    ends = {one.summary.seed: one.summary.emulated_s or 0.0 for one in baseline}
    # The same seed means the same stragglers and the same split of the data.
    ratios = [value / t for seed, t in reached.items() if (value := base.get(seed)) is not None and t > 0]
    bounds = [ends[seed] / t for seed, t in reached.items() if seed in base and base[seed] is None and t > 0]
    spent = [
        found
        for one in runs
        if (t := reached.get(one.summary.seed)) is not None and (found := bytes_until(one.run, t)) is not None
    ]
    return Target(
        target=target,
        times_s=Spread(values=tuple(reached.values())),
        bytes=Spread(values=tuple(spent)),
        reached=len(reached),
        of=len(runs),
        speedup=Spread(values=tuple(ratios)),
        at_least=min(bounds) if bounds and not ratios else None,
    )


def bytes_until(run: RunDirectory, t: float) -> float | None:
    """Bytes that all nodes have sent by that emulated time, between instants by a straight line; None: not known."""
    totals: dict[float, float] = {}
    try:
        with run.metrics.open(newline="") as file:
            for row in csv.DictReader(file):
                at = float(row["emulated_s"])
                totals[at] = totals.get(at, 0.0) + float(row["bytes_sent"])
    except (OSError, KeyError, ValueError):
        return None
    points = sorted(totals.items())
    for (t0, sent0), (t1, sent1) in pairwise(points):
        if t0 <= t <= t1:
            return sent0 + (sent1 - sent0) * (t - t0) / (t1 - t0)
    return points[0][1] if points and t <= points[0][0] else None


def _mean_curve(runs: Sequence[ComparedRun]) -> tuple[tuple[float, float, float | None], ...]:
    """At instants that all seeds have."""
    curves = [dict(one.curve) for one in runs]
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    rows = []
    for t in common:
        spread = Spread(values=tuple(curve[t] for curve in curves))
        assert spread.mean is not None
        rows.append((t, spread.mean, spread.half_width))
    return tuple(rows)
