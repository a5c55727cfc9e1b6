"""Several runs side by side: groups of seeds, curves with confidence bands, time and bytes to a target, speed-ups.

Pure figures of runs that `compared_runs.py` has read; `compare_report.py` writes them down. What cannot be compared is
refused: another task, stand-in data beside real data, a degraded emulation beside a faithful one. Runs that differ
in more than what is compared are named in a warning, and no speed-up is made of them unless it is asked for unpaired.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

from mnbed.errors import InputError
from mnbed.experiment.labels import find_baseline
from mnbed.results.compared_runs import ComparedRun, RunSet
from mnbed.results.likeness import Difference, differences
from mnbed.results.summary import COMPLETED
from mnbed.results.targets import time_to
from mnbed.run_directory import RunDirectory

_CONFIDENCE = 0.95
_DEGRADED = "degraded"


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
    """The baseline's time over this one's: by seed, of seeds where both reached it; or, unpaired, the baseline's mean
    time over that of each run."""
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
    def degraded(self) -> int:
        """How many of its runs were not faithful."""
        return sum(one.summary.verdict != "faithful" for one in self.runs)

    @property
    def verdicts(self) -> str:
        """ "faithful", or how many were not."""
        return "faithful" if not self.degraded else f"{self.degraded} of {len(self.runs)} {_DEGRADED}"

    def marked(self, name: str) -> str:
        """A name of this group as a table or a figure shows it: what was not faithful is marked."""
        return f"{name} ({self.verdicts})" if self.degraded else name


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
    unpaired: bool = False
    """Speed-ups are of means, not seed by seed."""


def compare(
    found: RunSet,
    *,
    baseline: Mapping[str, str] | None = None,
    targets: Sequence[float] = (),
    anyway: bool = False,
    unpaired: bool = False,
) -> Comparison:
    """Raises InputError where runs cannot be compared, unless wanted `anyway`, or the baseline is none of them.

    baseline: axis -> value; every group is measured against the one that differs from it in these axes alone. None: as
    the sweep says. unpaired: speed-ups are made of means, also of runs that are not alike; else those are refused.
    """
    runs = found.runs
    _check_targets(targets, runs[0].summary.metric)
    warnings = [*found.notes, *_obstacles(found, anyway)]
    chosen = _baseline(found, baseline, warnings)
    groups = {key: [one for one in runs if tuple(one.cell.values()) == key] for key in _cells(runs)}
    against = _against(groups, chosen, found.sweep is not None, unpaired, warnings)
    meant = _meant(found, chosen)
    if not unpaired:
        _check_pairs(groups, against, meant, found)
    warnings += _unlike(groups, chosen if found.sweep is not None else {}, meant)
    warnings += _all_degraded(runs)
    wanted = sorted({*targets, *(float(name) for one in runs for name in one.summary.time_to)})
    return Comparison(
        metric=runs[0].summary.metric,
        best=runs[0].summary.best,
        groups=tuple(
            _group(members, groups.get(against.get(key) or (), []), wanted, unpaired)
            for key, members in groups.items()
        ),
        targets=tuple(wanted),
        baseline=chosen,
        task=runs[0].summary.task or "",
        standin=any(one.summary.standin for one in runs),
        warnings=tuple(dict.fromkeys(warnings)),
        unpaired=unpaired,
    )


def _check_targets(targets: Sequence[float], metric: str) -> None:
    """Raises InputError where a target is none that the metric could reach."""
    for target in targets:
        if not math.isfinite(target) or target <= 0:
            raise InputError(f"--target {target:g}: it must be above 0")
        if metric == "accuracy" and target > 1:
            meant = f": {target / 100:g} for {target:g} %" if target <= 100 else ""
            raise InputError(f"--target {target:g}: an accuracy is a fraction{meant}")


def _remedy(found: RunSet) -> str:
    if found.sweep is not None and any(one.summary.verdict != "faithful" for one in found.runs):
        return "repeat what was degraded: mnbed sweep FILE --redo-degraded; or say --anyway"
    return "compare runs that are alike, or say --anyway"


Cell = tuple[str, ...]
"""The values of a group's axes."""


def _cells(runs: Sequence[ComparedRun]) -> list[Cell]:
    return list(dict.fromkeys(tuple(one.cell.values()) for one in runs))


def _baseline(found: RunSet, given: Mapping[str, str] | None, warnings: list[str]) -> dict[str, str]:
    """In the words of the cells. Raises InputError where the one that was given is none of them."""
    if given:
        return find_baseline(given, found.values, "--baseline")
    try:
        return find_baseline(found.baseline, found.values, "baseline")
    except InputError:
        shown = ", ".join(found.baseline.values())
        warnings.append(f"no run of the sweep's baseline, {shown}, has completed: no speed-ups")
        return {}


def _against(
    groups: Mapping[Cell, Sequence[ComparedRun]],
    baseline: Mapping[str, str],
    of_sweep: bool,
    unpaired: bool,
    warnings: list[str],
) -> dict[Cell, Cell]:
    """Each group -> the one that its speed-up is measured against. Raises InputError where there is none."""
    if not baseline:
        return {}
    shown = ", ".join(baseline.values())
    against: dict[Cell, Cell] = {}
    of_baseline = [
        key for key, runs in groups.items() if all(runs[0].cell[axis] == baseline[axis] for axis in baseline)
    ]
    for key, runs in groups.items():
        counterpart = tuple({**runs[0].cell, **baseline}.values())
        if counterpart in groups:
            against[key] = counterpart
        elif unpaired and len(of_baseline) == 1:
            against[key] = of_baseline[0]
        elif of_sweep:
            warnings.append(f"{runs[0].label}: no run of its baseline, {shown}, has completed: no speed-up")
        else:
            raise InputError(
                f"{runs[0].label}: no run of {shown} is otherwise like it, to measure its speed-up against",
                "give such a run, leave --baseline out"
                + ("" if unpaired else ", or say --unpaired where it may be unlike"),
            )
    return against


def _meant(found: RunSet, baseline: Mapping[str, str]) -> set[str]:
    """What runs of one setting may differ in: the baseline's axes, and a sweep's own, by key or by section."""
    return {*baseline, *(found.values if found.sweep is not None else ())}


def _check_pairs(
    groups: Mapping[Cell, Sequence[ComparedRun]],
    against: Mapping[Cell, Cell],
    meant: set[str],
    found: RunSet,
) -> None:
    """Raises InputError where a speed-up would be of runs that differ in more than what is compared."""
    problems: list[str] = []
    for key, other in against.items():
        if key == other:
            continue
        pair = {groups[key][0].label: groups[key], groups[other][0].label: groups[other]}
        problems += [
            one.text for one in differences(pair, meant) if one.grave and not _pardoned(one, pair, found)
        ]
    if problems:
        lines = "\n".join(f"    {text}" for text in dict.fromkeys(problems))
        raise InputError(
            f"no speed-up can be told from runs that are not alike:\n{lines}",
            "make them alike, leave --baseline out, or say --unpaired to divide means all the same",
        )


def _pardoned(one: Difference, pair: Mapping[str, Sequence[ComparedRun]], found: RunSet) -> bool:
    """A sweep that is not done yet has pairs of some seeds: those are compared."""
    if one.what != "seeds" or found.sweep is None:
        return False
    first, second = ({run.summary.seed for run in runs} for runs in pair.values())
    return bool(first & second)


def _unlike(
    groups: Mapping[Cell, Sequence[ComparedRun]], baseline: Mapping[str, str], meant: set[str]
) -> list[str]:
    """What differs beside what is compared, among the groups that are alike but for the baseline's axes."""
    settings: dict[Cell, dict[str, Sequence[ComparedRun]]] = {}
    for runs in groups.values():
        rest = (
            tuple(value for axis, value in runs[0].cell.items() if axis not in baseline) if baseline else ()
        )
        settings.setdefault(rest, {})[runs[0].label] = runs
    return [one.text for side_by_side in settings.values() for one in differences(side_by_side, meant)]


def _all_degraded(runs: Sequence[ComparedRun]) -> list[str]:
    if all(one.summary.verdict != "faithful" for one in runs):
        return ["no emulation was faithful: the figures are this machine's as much as the algorithms'"]
    return []


def _obstacles(found: RunSet, anyway: bool) -> list[str]:
    """Why the runs should not be compared. Raises InputError with it, unless it is wanted `anyway`."""
    obstacles = list(_found_obstacles(found.runs))
    if obstacles and not anyway:
        raise InputError("; ".join(obstacles), _remedy(found))
    return obstacles


def _found_obstacles(runs: Sequence[ComparedRun]) -> Iterable[str]:
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


def _group(
    runs: Sequence[ComparedRun], baseline: Sequence[ComparedRun], targets: Sequence[float], unpaired: bool
) -> Group:
    def spread(values: Iterable[float | None]) -> Spread:
        return Spread(values=tuple(value for value in values if value is not None))

    return Group(
        label=runs[0].label,
        cell=runs[0].cell,
        runs=tuple(runs),
        final=spread(one.score.final_mean for one in runs),
        stragglers_final=spread(one.score.stragglers_final_mean for one in runs),
        mean_model=spread(one.score.mean_model for one in runs),
        rounds=spread(one.summary.rounds.mean for one in runs),
        gigabytes=spread(
            None if one.summary.traffic.bytes_sent is None else one.summary.traffic.bytes_sent / 1e9
            for one in runs
        ),
        targets=tuple(_target(target, runs, baseline, unpaired) for target in targets),
        curve=_mean_curve(runs),
        is_baseline=bool(baseline) and baseline[0] is runs[0],
    )


def _target(
    target: float, runs: Sequence[ComparedRun], baseline: Sequence[ComparedRun], unpaired: bool
) -> Target:
    reached = [(one, t) for one in runs if (t := _time_to(one, target)) is not None]
    ratios, bounds = (_unpaired_ratios if unpaired else _paired_ratios)(target, reached, baseline)
    spent = [found for one, t in reached if (found := bytes_until(one.run, t)) is not None]
    return Target(
        target=target,
        times_s=Spread(values=tuple(t for _, t in reached)),
        bytes=Spread(values=tuple(spent)),
        reached=len(reached),
        of=len(runs),
        speedup=Spread(values=tuple(ratios)),
        at_least=min(bounds) if bounds and not ratios else None,
    )


def _time_to(one: ComparedRun, target: float) -> float | None:
    return time_to(one.curve, target, one.summary.best)


Ratios = tuple[list[float], list[float]]
"""(the baseline's time over a run's, the baseline's whole duration over a run's time where it never got there)"""


def _paired_ratios(
    target: float, reached: Sequence[tuple[ComparedRun, float]], baseline: Sequence[ComparedRun]
) -> Ratios:
    """Seed by seed: the same seed means the same stragglers and the same split of the data."""
    others = {one.summary.seed: one for one in baseline}
    ratios, bounds = [], []
    for one, t in reached:
        other = others.get(one.summary.seed)
        if other is None or t <= 0:
            continue
        base = _time_to(other, target)
        if base is None:
            bounds.append((other.summary.emulated_s or 0.0) / t)
        else:
            ratios.append(base / t)
    return ratios, bounds


def _unpaired_ratios(
    target: float, reached: Sequence[tuple[ComparedRun, float]], baseline: Sequence[ComparedRun]
) -> Ratios:
    times = [base for other in baseline if (base := _time_to(other, target)) is not None]
    shortest = min((other.summary.emulated_s or 0.0 for other in baseline), default=0.0)
    ratios = [fmean(times) / t for _, t in reached if times and t > 0]
    bounds = [shortest / t for _, t in reached if baseline and not times and t > 0]
    return ratios, bounds


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
