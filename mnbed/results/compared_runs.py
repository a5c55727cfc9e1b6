"""Reads the runs to be compared from their directories: what each is a run of, and under which conditions.

A sweep itself says which cell a run belongs to. Runs given one by one, or from several sweeps, are grouped by the
keys in which their experiments differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnbed.errors import InputError
from mnbed.experiment.labels import ALGORITHM, ALGORITHM_NAME, cell_label, short_names, value_label
from mnbed.records.environment import Environment
from mnbed.records.outcome import COMPLETED
from mnbed.records.sweep import is_sweep, read_sweep
from mnbed.results.collect import read_environment
from mnbed.results.summary import ScoreSummary, Summary, read_summary, task_score
from mnbed.run_directory import RunDirectory
from node_agent.algorithms import canonical_name
from topologies import plain_yaml

# Keys irrelevant to a comparison: names and places, and what is recorded or reported.
_NOT_COMPARED = (
    "seed",
    "name",
    "data_root",
    "agents.",
    "evaluate.targets",
    "evaluate.keep_snapshots",
    "task.on_missing",
)
# Values with which an experiment leaves a choice to the machine.
_LEFT_TO_MACHINE = {"auto", "measured"}
_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run to be compared, and what it is a run of."""

    run: RunDirectory
    summary: Summary
    cell: Mapping[str, str]
    """Axis -> value; identifies its group."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Key of the experiment -> value as text, for the keys that could make a difference."""
    environment: Environment = field(default_factory=Environment)
    """Content of environment.json; empty if it cannot be read."""

    @property
    def label(self) -> str:
        return cell_label(self.cell)

    @property
    def score(self) -> ScoreSummary:
        """The score by which runs of the task are compared."""
        return task_score(self.summary)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(emulated time, mean over the nodes)"""
        return [(row[0], row[1]) for row in self.score.curve]


@dataclass(frozen=True, kw_only=True)
class RunSet:
    """All runs of a comparison."""

    runs: tuple[ComparedRun, ...]
    sweep: Path | None = None
    """The sweep that all runs belong to; None if they were given one by one or belong to several."""
    baseline: Mapping[str, str] = field(default_factory=dict)
    """As given in the sweep."""
    notes: tuple[str, ...] = ()
    """What the user should know about runs that were left out."""

    @property
    def values(self) -> dict[str, list[str]]:
        """Axis -> the values that its runs have."""
        axes = dict.fromkeys(axis for compared in self.runs for axis in compared.cell)
        return {axis: list(dict.fromkeys(run.cell.get(axis, "") for run in self.runs)) for axis in axes}


def read_runs(paths: Sequence[Path]) -> RunSet:
    """The runs in those run directories and sweeps that have a summary. Raises InputError."""
    notes: list[str] = []
    compared: list[ComparedRun] = []
    baseline: dict[str, str] = {}
    sweeps = [path for path in paths if is_sweep(path)]
    for path in paths:
        if path in sweeps:
            runs, baseline, missing = _sweep_runs(path)
            compared += runs
            notes += missing
        else:
            compared.append(_read_run(_run_directory(path), {}))
    unique = {run.run.path.resolve(): run for run in compared}
    if len(unique) < len(compared):
        notes.append("a run given more than once is counted once")
    if not unique:
        raise InputError(
            "; ".join(["no run with results among these", *notes]),
            "run them first: mnbed run, or mnbed sweep",
        )
    unknown = [run.run.run_id for run in unique.values() if not run.environment]
    if unknown:
        more = f" and {len(unknown) - _MAX_NAMED} more" if len(unknown) > _MAX_NAMED else ""
        notes.append(
            "environment.json is missing or damaged, so versions, splits and stragglers cannot be compared: "
            f"{', '.join(unknown[:_MAX_NAMED])}{more}"
        )
    of_one_sweep = len(sweeps) == len(paths) == 1
    return RunSet(
        runs=tuple(unique.values()) if of_one_sweep else tuple(_with_cells(list(unique.values()))),
        sweep=sweeps[0] if of_one_sweep else None,
        baseline=baseline if of_one_sweep else {},
        notes=tuple(notes),
    )


def _run_directory(path: Path) -> RunDirectory:
    if (path / "experiment.yaml").is_file():
        return RunDirectory(path)
    if not path.exists():
        raise InputError(f"{path}: no such directory", "give run directories, or the directory of a sweep")
    inside = sorted(file.parent.name for file in path.glob("*/experiment.yaml"))
    if inside:
        raise InputError(
            f"{path} is neither a run directory nor a sweep, but contains run directories",
            f"give those to compare: {path}/{inside[-1]} ...; all of them: {path}/*",
        )
    raise InputError(f"{path} is neither a run directory nor a sweep")


def _read_run(directory: RunDirectory, cell: Mapping[str, str]) -> ComparedRun:
    summary, environment = read_summary(directory.summary), read_environment(directory, [])
    settings = _flat(_experiment(directory))
    settings = {key: value for key, value in settings.items() if not key.startswith(_NOT_COMPARED)}
    if ALGORITHM_NAME in settings:
        settings[ALGORITHM_NAME] = canonical_name(settings[ALGORITHM_NAME])
    # What the machine chose, also for runs whose experiment still says `auto`.
    if summary.dilation is not None:
        settings["time.dilation"] = f"{summary.dilation:g}"
    if summary.delay_backend is not None:
        settings["network.delay_backend"] = summary.delay_backend
    digest = environment.get("algorithm_digest")
    if digest is not None and "algorithm.module" in settings:
        # Identified by its content, not by its place.
        settings["algorithm.module"] = f"{Path(settings['algorithm.module']).name} #{str(digest)[:6]}"
    return ComparedRun(run=directory, summary=summary, cell=cell, settings=settings, environment=environment)


def _sweep_runs(path: Path) -> tuple[list[ComparedRun], dict[str, str], list[str]]:
    """(completed runs, baseline, a note about the other runs)"""
    sweep = read_sweep(path)
    others = [
        f"{entry.label} seed {entry.seed} ({entry.status or 'not run yet'})"
        for entry in sweep.runs
        if entry.status != COMPLETED
    ]
    runs = [
        _read_run(RunDirectory(path / entry.directory), entry.cell)
        for entry in sweep.runs
        if entry.status == COMPLETED and entry.directory is not None
    ]
    notes = []
    if others:
        more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
        named = ", ".join(others[:_MAX_NAMED])
        notes.append(
            f"{len(others)} of {len(sweep.runs)} runs have not completed and are left out: {named}{more}"
        )
    return runs, sweep.baseline, notes


def _with_cells(runs: Sequence[ComparedRun]) -> Iterable[ComparedRun]:
    """The runs, with the keys in which their experiments differ as cells."""
    keys = sorted({key for compared in runs for key in compared.settings})
    differing = [key for key in keys if len({compared.settings.get(key, "none") for compared in runs}) > 1]
    # What the machine chose differs by chance and does not define groups.
    by_chance = {key for compared in runs for key in _by_chance(compared)}
    axes = [key for key in differing if key not in by_chance]
    short = short_names(axes)
    for compared in runs:
        cell = {key: value_label(key, short[key], compared.settings.get(key, "none")) for key in axes}
        if ALGORITHM_NAME in cell:
            # The name stands for the other settings if each algorithm has its own.
            cell = {key: value for key, value in cell.items() if not key.startswith("algorithm.")} | {
                ALGORITHM: _algorithm_label(compared.settings, [other.settings for other in runs])
            }
        yield ComparedRun(
            run=compared.run,
            summary=compared.summary,
            cell=cell,
            settings=compared.settings,
            environment=compared.environment,
        )


def _by_chance(run: ComparedRun) -> set[str]:
    """The keys that this run's experiment left to the machine."""
    by_sweep = {"time.dilation"} if _dilation_of_sweep(run.run.path) else set()
    left = run.environment.get("left_to_machine")
    if isinstance(left, dict):
        return by_sweep | set(left)
    # Older directories kept the experiment as asked for, and say nothing about the backend.
    asked = {key for key, value in run.settings.items() if value in _LEFT_TO_MACHINE}
    auto = {"time.dilation"} if run.environment.get("dilation_asked") == "auto" else set()
    return by_sweep | asked | auto | {"network.delay_backend"}


def _dilation_of_sweep(path: Path) -> bool:
    """Whether the run belongs to a sweep that chose its dilation."""
    try:
        return path.name in read_sweep(path.parent).dilations
    except InputError:
        return False


def _algorithm_label(settings: Mapping[str, str], all_settings: Sequence[Mapping[str, str]]) -> str:
    """The algorithm's name, and the settings in which runs of that name differ."""
    same = [other for other in all_settings if other.get(ALGORITHM_NAME) == settings.get(ALGORITHM_NAME)]
    keys = sorted({key for other in same for key in other if key.startswith("algorithm.")})
    differing = [key for key in keys if len({other.get(key) for other in same}) > 1]
    more = [f"{key.rpartition('.')[2]}={settings.get(key, 'none')}" for key in differing]
    return " ".join([settings.get(ALGORITHM_NAME, "none"), *more])


def _experiment(directory: RunDirectory) -> dict[str, Any]:
    try:
        data = plain_yaml.load(directory.experiment.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{directory.experiment}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{directory.experiment}: not an experiment")
    return data


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {prefix: value if isinstance(value, str) else json.dumps(value, default=str)}
    flat: dict[str, str] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
