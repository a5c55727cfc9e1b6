"""A sweep: a base experiment, a grid of changes to it, and seeds. Each point of the grid is a cell with its runs.

    name: cifar-small
    base: ../cifar_stragglers.yaml           # an experiment, relative to this file
    set: {time.duration: 30s}                # for every cell
    grid:                                    # each axis: values of a key, or named sets of changes
      algorithm:
        divshare: {algorithm.name: divshare}
        ad-psgd: {algorithm.name: ad-psgd, algorithm.variant: artifact}
      network.stragglers.factor: [1, 5]
    seeds: [1, 2, 3]
    baseline: {algorithm: ad-psgd}           # optional: what `mnbed compare` measures speed-ups against

Pure: nothing here looks at the machine or at earlier runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mnbed.errors import InputError
from mnbed.experiment.fields import did_you_mean, name_problem
from mnbed.experiment.labels import (
    ALGORITHM,
    ALGORITHM_NAME,
    algorithm_label,
    cell_label,
    find_baseline,
    short_names,
    value_label,
)
from mnbed.experiment.loading import dump_experiment, load_experiment, read_experiment_text
from mnbed.experiment.ready_made import find
from mnbed.experiment.sections import Experiment
from mnbed.experiment.yaml_source import Source, parse_yaml
from topologies.reading import brief

_KEYS = ("name", "base", "set", "grid", "seeds", "baseline")
_SECTIONS = {item.name for item in fields(Experiment)} - {"name"}
_MAX_RUNS = 10_000
# Keys of an experiment that the sweep itself sets -> how.
_OWN_KEYS = {
    "seed": "a sweep lists its seeds under `seeds`",
    "name": "a sweep's runs are named by their cell and seed",
}


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a sweep."""

    cell: Mapping[str, str]
    """Axis -> name of the value or change; identifies the cell."""
    seed: int
    overrides: tuple[str, ...]
    """The `--set` arguments of `mnbed run`."""
    experiment: Experiment

    @property
    def label(self) -> str:
        """Name of the cell; the same for all its seeds."""
        return cell_label(self.cell)

    @property
    def name(self) -> str:
        """Name of the run; its directory ends in it."""
        slug = re.sub(r"[^a-zA-Z0-9.]+", "-", self.label).strip("-").lower()
        return f"{slug}-seed{self.seed}"

    @property
    def digest(self) -> str:
        """Digest of the resolved experiment and of the user's own algorithm, if any; a change of it repeats the run."""
        digest = hashlib.sha256(dump_experiment(self.experiment).encode())
        if self.experiment.algorithm.module is not None:
            digest.update(Path(self.experiment.algorithm.module).read_bytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs, in order: every cell with the first seed, then with the second, so early results cover all cells."""

    name: str
    base: Path
    runs: tuple[PlannedRun, ...]
    baseline: Mapping[str, str] = field(default_factory=dict)
    compared: frozenset[str] = frozenset()
    """Axes whose values are compared, all else equal: the baseline's, and those that only change the algorithm."""

    def setting(self, run: PlannedRun) -> tuple[tuple[str, str], ...]:
        """What a run has in common with the runs it is compared with, apart from the seed."""
        return tuple((axis, value) for axis, value in run.cell.items() if axis not in self.compared)


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in that file or of that name, all its experiments checked; `overrides` apply to each.

    Raises InputError.
    """
    path = find(path)
    source = _read(path)
    data = source.data
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key in _OWN_KEYS:
            raise InputError(f"--set {text}: {_OWN_KEYS[key]}")
    axes = _axes(source, data.get("grid") or {})
    seeds = _seeds(source, data.get("seeds", [1]))
    num_cells = math.prod(len(values) for values in axes.values())
    if num_cells * len(seeds) > _MAX_RUNS:
        raise _wrong(source, "grid", f"{num_cells * len(seeds):,} runs; at most {_MAX_RUNS:,} are allowed")
    common = [*_overrides(source, ("set",), data.get("set") or {}), *overrides]
    runs = [
        _planned_run(source, path.parent / data["base"], common, axes, chosen, seed)
        for seed in seeds
        for chosen in itertools.product(*axes.values())
    ]
    _check_names(source, runs)
    # The sweep's directory is called by it.
    name = data.get("name", path.stem)
    if problem := name_problem(name):
        raise _wrong(source, "name", f"got {brief(name)}; {problem}")
    baseline = _baseline(source, data, axes)
    algorithms = {axis for axis, values in axes.items() if all(_of_algorithm(texts) for _, texts in values)}
    return Sweep(
        name=name,
        base=path.parent / data["base"],
        runs=tuple(runs),
        baseline=baseline,
        compared=frozenset({*baseline, *algorithms}),
    )


def _read(path: Path) -> Source:
    """The sweep's file, with its own keys checked."""
    source = parse_yaml(read_experiment_text(path), str(path))
    data = source.data
    if "base" not in data and data.keys() & _SECTIONS:
        raise InputError(
            f"{path}: an experiment, not a sweep", f"`mnbed run {path}` runs it; a sweep has a `base`"
        )
    for key in data:
        if key not in _KEYS:
            raise _wrong(source, key, f"no such key{did_you_mean(key, _KEYS)}")
    if not isinstance(data.get("base"), str):
        given = f"got {brief(data['base'])}" if "base" in data else "missing"
        raise _wrong(source, "base", f"{given}; it must be an experiment file, relative to this one")
    return source


def _planned_run(
    source: Source, base: Path, common: Sequence[str], axes: Iterable[str], chosen: Sequence[Value], seed: int
) -> PlannedRun:
    changes = tuple(text for _, texts in chosen for text in texts)
    cell = dict(zip(axes, (name for name, _ in chosen), strict=True))
    given = (*common, *changes, f"seed={seed}")
    try:
        experiment = load_experiment(base, given, note=lambda _: None)
    except InputError as error:
        # The user did not type this --set: it comes from the sweep's file.
        message = error.message
        for text in _changes(source, changes, given):
            message = message.replace(f"--set {text}: ", f"{source.file}: ")
        raise InputError(message, error.remedy) from None
    return PlannedRun(cell=cell, seed=seed, overrides=given, experiment=experiment)


def _changes(source: Source, of_grid: Sequence[str], given: Sequence[str]) -> list[str]:
    """Those of the overrides that come from the sweep's file."""
    of_file = {*of_grid, *_overrides(source, ("set",), source.data.get("set") or {})}
    return [text for text in given if text in of_file]


Value = tuple[str, list[str]]
"""(name of the value, its overrides)"""
Axis = list[Value]


def _axes(source: Source, grid: Any) -> dict[str, Axis]:
    if not isinstance(grid, dict):
        raise _wrong(source, "grid", "it must be a mapping of axes")
    axes: dict[str, Axis] = {}
    short = short_names(grid)
    for axis, values in grid.items():
        if isinstance(values, dict) and values:
            axes[axis] = [
                (
                    algorithm_label(str(name)) if axis == ALGORITHM else str(name),
                    _overrides(source, ("grid", axis, name), change or {}),
                )
                for name, change in values.items()
            ]
        elif isinstance(values, list) and values:
            axes[axis] = [_listed(source, axis, short[axis], value) for value in values]
        else:
            raise _wrong(source, f"grid.{axis}", "it must be a list of values, or a mapping of named changes")
        names = [name for name, _ in axes[axis]]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise _wrong(source, f"grid.{axis}", f"{', '.join(twice)} is given more than once")
    _check_axes(source, axes)
    return axes


def _listed(source: Source, axis: str, short: str, value: Any) -> Value:
    """A value of a key; names of algorithms may be listed under `algorithm` itself."""
    key = ALGORITHM_NAME if axis == ALGORITHM and isinstance(value, str) else axis
    _check_key(source, f"grid.{axis}", key)
    return value_label(key, short, _text(value)), [_set(key, value)]


def _check_axes(source: Source, axes: Mapping[str, Axis]) -> None:
    """Refuses a key changed by two axes: it would have the last one's value under the labels of both."""
    owners: dict[str, str] = {}
    for axis, values in axes.items():
        for key in {text.partition("=")[0] for _, texts in values for text in texts}:
            if owners.setdefault(key, axis) != axis:
                raise _wrong(source, f"grid.{axis}", f"{key} is already changed by the axis {owners[key]}")


def _of_algorithm(overrides: Sequence[str]) -> bool:
    return all(text.startswith("algorithm.") for text in overrides)


def _check_names(source: Source, runs: Sequence[PlannedRun]) -> None:
    """Refuses two runs of the same name: they would overwrite each other's log."""
    labels: dict[str, str] = {}
    for run in runs:
        other = labels.setdefault(run.name, run.label)
        if other != run.label:
            text = f"{other!r} and {run.label!r} differ only in characters that file names leave out"
            raise _wrong(source, "grid", text)


def _overrides(source: Source, where: tuple[str, ...], changes: Any) -> list[str]:
    if not isinstance(changes, dict):
        raise _wrong(source, ".".join(where), "it must be a mapping such as {algorithm.name: divshare}")
    for key in changes:
        _check_key(source, ".".join(where), key)
    return [_set(key, value) for key, value in changes.items()]


def _check_key(source: Source, where: str, key: str) -> None:
    """Refuses keys that the sweep itself sets for each run."""
    if key in _OWN_KEYS:
        raise _wrong(source, where, f"{key}: {_OWN_KEYS[key]}")


def _set(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _seeds(source: Source, given: Any) -> list[int]:
    number = isinstance(given, int) and not isinstance(given, bool)
    # Checked before the list is made, so that a mistyped number cannot fill the memory.
    if number and given > _MAX_RUNS:
        raise _wrong(source, "seeds", f"got {brief(given)}; at most {_MAX_RUNS:,} runs are allowed")
    seeds = list(range(1, given + 1)) if number else given
    good = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not good or len(set(seeds)) < len(seeds):
        raise _wrong(
            source, "seeds", f"got {brief(given)}; it must be a number of seeds, or a list of distinct seeds"
        )
    return list(seeds)


def _baseline(source: Source, data: Mapping[str, Any], axes: Mapping[str, Axis]) -> dict[str, str]:
    given = data.get("baseline") or {}
    if not isinstance(given, dict):
        raise _wrong(source, "baseline", "it must name a value of an axis: {algorithm: ad-psgd}")
    texts = {axis: _text(value) for axis, value in given.items()}
    line = source.line(("baseline",))
    where = f"{source.file}{f':{line}' if line else ''}: baseline"
    return find_baseline(texts, {axis: [name for name, _ in values] for axis, values in axes.items()}, where)


def _wrong(source: Source, key: str, text: str) -> InputError:
    line = source.line(tuple(key.split("."))) if key in source.data else source.line((key.split(".")[0],))
    return InputError(f"{source.file}{f':{line}' if line else ''}: {key}: {text}")
