"""A sweep: one base experiment, a grid of changes to it, and seeds; each point of the grid is a cell with its runs.

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

Pure: nothing here looks at the machine or at what has run already.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnbed.errors import InputError
from mnbed.experiment import Experiment
from mnbed.fields import did_you_mean, name_problem
from mnbed.loading import dump_experiment, load_experiment, read_experiment_text
from mnbed.yaml_source import Source, parse_yaml
from topologies.reading import brief

_KEYS = ("name", "base", "set", "grid", "seeds", "baseline")
_MAX_RUNS = 10_000


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a sweep."""

    cell: Mapping[str, str]
    """Axis -> the value's or change's name: what tells this cell from the others."""
    seed: int
    overrides: tuple[str, ...]
    """`--set` of `mnbed run`."""
    experiment: Experiment

    @property
    def label(self) -> str:
        """What the cell is called; the same for all its seeds."""
        return ", ".join(self.cell.values()) or "all"

    @property
    def name(self) -> str:
        """Name of the run, and of its directory's end."""
        slug = re.sub(r"[^a-zA-Z0-9.]+", "-", self.label).strip("-").lower()
        return f"{slug}-seed{self.seed}"

    @property
    def digest(self) -> str:
        """Of the resolved experiment: another one is another run."""
        return hashlib.sha256(dump_experiment(self.experiment).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs, in order: cell by cell inside each seed, so that an early look has something of everything."""

    name: str
    base: Path
    runs: tuple[PlannedRun, ...]
    baseline: Mapping[str, str] = field(default_factory=dict)


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in that file, every experiment of it checked; `overrides` hold for all. Raises InputError."""
    source = parse_yaml(read_experiment_text(path), str(path))
    data = source.data
    for key in data:
        if key not in _KEYS:
            raise _wrong(source, key, f"no such key{did_you_mean(key, _KEYS)}")
    if not isinstance(data.get("base"), str):
        raise _wrong(source, "base", "missing; it must be an experiment file, relative to this one")
    # It names the sweep's directory, which root makes and hands to the user.
    name = data.get("name", path.stem)
    if problem := name_problem(name):
        raise _wrong(source, "name", f"got {brief(name)}; {problem}")
    base = path.parent / data["base"]
    common = [*_overrides(source, "set", data.get("set") or {}), *overrides]
    axes = _axes(source, data.get("grid") or {})
    seeds = _seeds(source, data.get("seeds", [1]))
    cells = list(itertools.product(*axes.values()))
    if len(cells) * len(seeds) > _MAX_RUNS:
        raise _wrong(source, "grid", f"{len(cells) * len(seeds):,} runs; at most {_MAX_RUNS:,} are allowed")
    runs = []
    for seed in seeds:
        for chosen in cells:
            changes = tuple(text for _, texts in chosen for text in texts)
            cell = dict(zip(axes, (name for name, _ in chosen), strict=True))
            given = (*common, *changes, f"seed={seed}")
            experiment = load_experiment(base, given, note=lambda _: None)
            runs.append(PlannedRun(cell=cell, seed=seed, overrides=given, experiment=experiment))
    return Sweep(name=name, base=base, runs=tuple(runs), baseline=_baseline(source, data, axes))


Axis = list[tuple[str, list[str]]]
"""(name of a value, its overrides)"""


def _axes(source: Source, grid: Any) -> dict[str, Axis]:
    if not isinstance(grid, dict):
        raise _wrong(source, "grid", "it must be a mapping of axes")
    axes: dict[str, Axis] = {}
    for axis, values in grid.items():
        if isinstance(values, dict) and values:
            axes[axis] = [
                (str(name), _overrides(source, f"grid.{axis}.{name}", change or {}))
                for name, change in values.items()
            ]
        elif isinstance(values, list) and values:
            axes[axis] = [
                (f"{axis.rpartition('.')[2]}={_text(value)}", [_set(axis, value)]) for value in values
            ]
        else:
            raise _wrong(source, f"grid.{axis}", "it must be a list of values, or named sets of changes")
    return axes


def _overrides(source: Source, where: str, changes: Any) -> list[str]:
    if not isinstance(changes, dict):
        raise _wrong(source, where, "it must be a mapping such as {algorithm.name: divshare}")
    return [_set(key, value) for key, value in changes.items()]


def _set(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _seeds(source: Source, seeds: Any) -> list[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = list(range(1, seeds + 1))
    good = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not good or len(set(seeds)) < len(seeds):
        raise _wrong(
            source, "seeds", f"got {brief(seeds)}; it must be a number of seeds, or a list of different ones"
        )
    return list(seeds)


def _baseline(source: Source, data: Mapping[str, Any], axes: Mapping[str, Axis]) -> dict[str, str]:
    given = data.get("baseline") or {}
    if not isinstance(given, dict):
        raise _wrong(source, "baseline", "it must say one value of an axis: {algorithm: ad-psgd}")
    for axis, value in given.items():
        known = [name for name, _ in axes.get(axis, [])]
        if axis not in axes:
            raise _wrong(source, f"baseline.{axis}", f"no such axis{did_you_mean(axis, axes)}")
        if str(value) not in known:
            raise _wrong(source, f"baseline.{axis}", f"got {value}{did_you_mean(str(value), known)}")
    return {axis: str(value) for axis, value in given.items()}


def _wrong(source: Source, key: str, text: str) -> InputError:
    line = source.line(tuple(key.split("."))) if key in source.data else source.line((key.split(".")[0],))
    return InputError(f"{source.file}{f':{line}' if line else ''}: {key}: {text}")
