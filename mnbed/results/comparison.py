"""Several runs side by side: groups of seeds, curves with confidence bands, time and bytes to a target, speed-ups.

Pure computation on runs that `compared_runs.py` has read; `compare_report.py` presents the result. Runs that cannot be
compared are refused: different tasks, stand-in next to real data, degraded next to faithful emulations. A warning names
further differences between the runs, and such runs get a speed-up only if an unpaired one is asked for.
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
from mnbed.records.outcome import COMPLETED, DEGRADED, FAITHFUL
from mnbed.results.compared_runs import ComparedRun, RunSet
from mnbed.results.likeness import Difference, differences
from mnbed.results.targets import time_to
from mnbed.run_directory import RunDirectory

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The values of a quantity over seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None for a single value."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def half_width(self) -> float | None:
        """Half width of the 95 % confidence interval of the mean (Student's t); None for a single value."""
        if len(self.values) < 2:
            return None
        from scipy.stats import t

        quantile = float(t.ppf((1 + _CONFIDENCE) / 2, len(self.values) - 1))
        return quantile * stdev(self.values) / math.sqrt(len(self.values))


@dataclass(frozen=True, kw_only=True)
class Target:
    """How a group reached a target."""

    target: float
    times_s: Spread
    """Emulated times of the seeds that reached it."""
    bytes: Spread
    """Bytes sent by all nodes until then."""
    reached: int
    of: int
    speedup: Spread
    """The baseline's time divided by this group's: per seed, where both reached it; or, unpaired, the baseline's mean
    time divided by that of each run."""
    at_least: float | None
    """If only this group reached it: the baseline's whole duration divided by the time needed, minimum over seeds."""


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
    """(emulated time, mean over seeds, half width of the confidence interval)"""
    is_baseline: bool

    @property
    def degraded(self) -> int:
        """Number of its runs that were not faithful."""
        return sum(compared.summary.verdict != FAITHFUL for compared in self.runs)

    @property
    def verdicts(self) -> str:
        """ "faithful", or how many were not."""
        return FAITHFUL if not self.degraded else f"{self.degraded} of {len(self.runs)} {DEGRADED}"

    def marked(self, name: str) -> str:
        """The group's name as shown in tables and figures, with a mark if some runs were not faithful."""
        return f"{name} ({self.verdicts})" if self.degraded else name


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All groups, in the order of the runs."""

    metric: str
    best: str
    """max or min: whether a high or a low value of the metric is better."""
    groups: tuple[Group, ...]
    targets: tuple[float, ...]
    baseline: Mapping[str, str]
    task: str
    standin: bool
    warnings: tuple[str, ...]
    unpaired: bool = False
    """Whether speed-ups are computed from means instead of per seed."""


def compare(
    run_set: RunSet,
    *,
    baseline: Mapping[str, str] | None = None,
    targets: Sequence[float] = (),
    anyway: bool = False,
    unpaired: bool = False,
) -> Comparison:
    """The comparison of those runs.

    baseline: axis -> value; each group is measured against the one that differs from it only in these axes. None: the
    sweep's own. unpaired: compute speed-ups from means, even if other settings differ; otherwise those are refused.
    Raises InputError if runs cannot be compared, unless `anyway` is set, or if the baseline is not among them.
    """
    runs = run_set.runs
    _check_targets(targets, runs[0].summary.metric)
    warnings = [*run_set.notes, *_obstacles(run_set, anyway)]
    chosen = _baseline(run_set, baseline, warnings)
    groups = {
        key: [compared for compared in runs if tuple(compared.cell.values()) == key] for key in _cells(runs)
    }
    against = _against(groups, chosen, run_set.sweep is not None, unpaired, warnings)
    meant = _meant(run_set, chosen)
    if not unpaired:
        _check_pairs(groups, against, meant, run_set)
    warnings += _unlike(groups, chosen if run_set.sweep is not None else {}, meant)
    warnings += _all_degraded(runs)
    wanted = sorted({*targets, *(float(name) for compared in runs for name in compared.summary.time_to)})
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
        standin=any(compared.summary.standin for compared in runs),
        warnings=tuple(dict.fromkeys(warnings)),
        unpaired=unpaired,
    )


def _check_targets(targets: Sequence[float], metric: str) -> None:
    """Raises InputError for a target that the metric cannot reach."""
    for target in targets:
        if not math.isfinite(target) or target <= 0:
            raise InputError(f"--target {target:g}: it must be above 0")
        if metric == "accuracy" and target > 1:
            meant = f": {target / 100:g} for {target:g} %" if target <= 100 else ""
            raise InputError(f"--target {target:g}: an accuracy is a fraction{meant}")


def _remedy(run_set: RunSet) -> str:
    if run_set.sweep is not None and any(compared.summary.verdict != FAITHFUL for compared in run_set.runs):
        return "repeat the degraded runs with mnbed sweep FILE --redo-degraded, or use --anyway"
    return "compare runs of the same kind, or use --anyway"


Cell = tuple[str, ...]
"""The values of a group's axes."""


def _cells(runs: Sequence[ComparedRun]) -> list[Cell]:
    return list(dict.fromkeys(tuple(compared.cell.values()) for compared in runs))


def _baseline(run_set: RunSet, given: Mapping[str, str] | None, warnings: list[str]) -> dict[str, str]:
    """The baseline in terms of the cells. Raises InputError if the given one does not exist."""
    if given:
        return find_baseline(given, run_set.values, "--baseline")
    try:
        return find_baseline(run_set.baseline, run_set.values, "baseline")
    except InputError:
        shown = ", ".join(run_set.baseline.values())
        warnings.append(f"no run of the sweep's baseline, {shown}, has completed: no speed-ups")
        return {}


def _against(
    groups: Mapping[Cell, Sequence[ComparedRun]],
    baseline: Mapping[str, str],
    of_sweep: bool,
    unpaired: bool,
    warnings: list[str],
) -> dict[Cell, Cell]:
    """Group -> the group that its speed-up is measured against. Raises InputError if there is none."""
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
                f"{runs[0].label}: no run of {shown} has otherwise the same settings, to measure its speed-up against",
                "add such a run, leave out --baseline"
                + ("" if unpaired else ", or use --unpaired to allow other differences"),
            )
    return against


def _meant(run_set: RunSet, baseline: Mapping[str, str]) -> set[str]:
    """The keys or sections in which compared runs may differ: the axes of the baseline, and of a sweep."""
    return {*baseline, *(run_set.values if run_set.sweep is not None else ())}


def _check_pairs(
    groups: Mapping[Cell, Sequence[ComparedRun]],
    against: Mapping[Cell, Cell],
    meant: set[str],
    run_set: RunSet,
) -> None:
    """Raises InputError if the runs of a speed-up would differ in more than what is compared."""
    problems: list[str] = []
    for key, other in against.items():
        if key == other:
            continue
        pair = {groups[key][0].label: groups[key], groups[other][0].label: groups[other]}
        problems += [
            difference.text
            for difference in differences(pair, meant)
            if difference.grave and not _pardoned(difference, pair, run_set)
        ]
    if problems:
        lines = "\n".join(f"    {text}" for text in dict.fromkeys(problems))
        raise InputError(
            f"no speed-up can be computed, because of differences between the runs:\n{lines}",
            "remove the differences, leave out --baseline, or use --unpaired to divide the means regardless",
        )


def _pardoned(difference: Difference, pair: Mapping[str, Sequence[ComparedRun]], run_set: RunSet) -> bool:
    """Whether an unfinished sweep lacks some seeds, but has pairs of others that can be compared."""
    if difference.what != "seeds" or run_set.sweep is None:
        return False
    first, second = ({run.summary.seed for run in runs} for runs in pair.values())
    return bool(first & second)


def _unlike(
    groups: Mapping[Cell, Sequence[ComparedRun]], baseline: Mapping[str, str], meant: set[str]
) -> list[str]:
    """Further differences between groups that are meant to differ only in the baseline's axes."""
    settings: dict[Cell, dict[str, Sequence[ComparedRun]]] = {}
    for runs in groups.values():
        rest = (
            tuple(value for axis, value in runs[0].cell.items() if axis not in baseline) if baseline else ()
        )
        settings.setdefault(rest, {})[runs[0].label] = runs
    return [
        difference.text
        for side_by_side in settings.values()
        for difference in differences(side_by_side, meant)
    ]


def _all_degraded(runs: Sequence[ComparedRun]) -> list[str]:
    if all(compared.summary.verdict != FAITHFUL for compared in runs):
        return ["no emulation was faithful: the results reflect this machine as much as the algorithms"]
    return []


def _obstacles(run_set: RunSet, anyway: bool) -> list[str]:
    """Why the runs should not be compared. Raises InputError with the reasons, unless `anyway` is set."""
    obstacles = list(_found_obstacles(run_set.runs))
    if obstacles and not anyway:
        raise InputError("; ".join(obstacles), _remedy(run_set))
    return obstacles


def _found_obstacles(runs: Sequence[ComparedRun]) -> Iterable[str]:
    for what, values in (
        ("tasks", {f"{compared.summary.task}" for compared in runs}),
        ("metrics", {compared.summary.metric for compared in runs}),
    ):
        if len(values) > 1:
            yield f"the runs have different {what}: {', '.join(sorted(values))}"
    if len({bool(compared.summary.standin) for compared in runs}) > 1:
        yield "some runs use real data, others a stand-in"
    degraded = [compared.run.run_id for compared in runs if compared.summary.verdict != FAITHFUL]
    if degraded and len(degraded) < len(runs):
        more = f" and {len(degraded) - 3} more" if len(degraded) > 3 else ""
        yield f"some emulations were faithful, others degraded: {', '.join(degraded[:3])}{more}"
    ended = [compared.run.run_id for compared in runs if compared.summary.status != COMPLETED]
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
        final=spread(compared.score.final_mean for compared in runs),
        stragglers_final=spread(compared.score.stragglers_final_mean for compared in runs),
        mean_model=spread(compared.score.mean_model for compared in runs),
        rounds=spread(compared.summary.rounds.mean for compared in runs),
        gigabytes=spread(
            None if compared.summary.traffic.bytes_sent is None else compared.summary.traffic.bytes_sent / 1e9
            for compared in runs
        ),
        targets=tuple(_target(target, runs, baseline, unpaired) for target in targets),
        curve=_mean_curve(runs),
        is_baseline=bool(baseline) and baseline[0] is runs[0],
    )


def _target(
    target: float, runs: Sequence[ComparedRun], baseline: Sequence[ComparedRun], unpaired: bool
) -> Target:
    reached = [(compared, t) for compared in runs if (t := _time_to(compared, target)) is not None]
    ratios, bounds = (_unpaired_ratios if unpaired else _paired_ratios)(target, reached, baseline)
    spent = [sent for compared, t in reached if (sent := bytes_until(compared.run, t)) is not None]
    return Target(
        target=target,
        times_s=Spread(values=tuple(t for _, t in reached)),
        bytes=Spread(values=tuple(spent)),
        reached=len(reached),
        of=len(runs),
        speedup=Spread(values=tuple(ratios)),
        at_least=min(bounds) if bounds and not ratios else None,
    )


def _time_to(compared: ComparedRun, target: float) -> float | None:
    return time_to(compared.curve, target, compared.summary.best)


Ratios = tuple[list[float], list[float]]
"""(baseline's time / run's time, baseline's duration / run's time where the baseline never reached the target)"""


def _paired_ratios(
    target: float, reached: Sequence[tuple[ComparedRun, float]], baseline: Sequence[ComparedRun]
) -> Ratios:
    """Seed by seed: the same seed means the same stragglers and the same split of the data."""
    others = {compared.summary.seed: compared for compared in baseline}
    ratios, bounds = [], []
    for compared, t in reached:
        other = others.get(compared.summary.seed)
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
    """Bytes that all nodes had sent by that emulated time, interpolated between instants; None: unknown."""
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
    """The mean curve, at instants that all seeds have."""
    curves = [dict(compared.curve) for compared in runs]
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    rows = []
    for t in common:
        spread = Spread(values=tuple(curve[t] for curve in curves))
        assert spread.mean is not None
        rows.append((t, spread.mean, spread.half_width))
    return tuple(rows)
