"""Finds differences between compared runs other than those being compared: seeds, data, network, durations, ...

A single list of conditions: what the experiment says, what the run determined (dilation, data split, choice of
stragglers), and which software ran it. `comparison.py` decides which runs are compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mnbed.experiment.labels import short_names, shortened
from mnbed.results.compared_runs import ComparedRun

# Section or key of an experiment -> what a difference in it is called.
_NAMES = {
    "time.duration": "durations",
    "time.dilation": "dilations",
    "network.delay_backend": "delay backends",
    "network": "networks",
    "overlay": "overlays",
    "task": "tasks",
    "compute": "computing times",
    "evaluate": "evaluation",
}
_MAX_VALUE = 52
_MAX_KEYS = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A condition that is not the same for all runs."""

    what: str
    """E.g. "durations"."""
    text: str
    """The whole sentence."""
    grave: bool = True
    """Whether it makes a ratio of times meaningless; different versions need not."""


def differences(groups: Mapping[str, Sequence[ComparedRun]], meant: Iterable[str]) -> list[Difference]:
    """Differences between groups (label -> runs), or between the runs of a group, other than those `meant`.

    meant: keys of the experiment; everything under `algorithm` always belongs to them.
    """
    meant = {"algorithm", *meant}
    return [
        *_seed_differences(groups),
        *_setting_differences(groups, meant),
        *_drawn_differences(groups, meant),
        *_software_differences(groups),
    ]


def seeds(runs: Iterable[ComparedRun]) -> list[int]:
    """The seeds of all runs, sorted; one that was run twice is listed twice."""
    return sorted(compared.summary.seed for compared in runs if compared.summary.seed is not None)


def seeds_text(runs: Iterable[ComparedRun]) -> str:
    """ "1, 2, 3"; of many that follow each other "1 to 20"."""
    numbers = seeds(runs)
    if len(numbers) > 3 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers)) or "unknown"


def _seed_differences(groups: Mapping[str, Sequence[ComparedRun]]) -> Iterator[Difference]:
    if len({tuple(sorted(set(seeds(runs)))) for runs in groups.values()}) > 1:
        named = "; ".join(f"{label}: {seeds_text(runs)}" for label, runs in groups.items())
        yield Difference(
            what="seeds",
            text=f"different seeds, so different stragglers, splits and initial models: {named}",
        )
    for label, runs in groups.items():
        twice = sorted(seed for seed, count in Counter(seeds(runs)).items() if count > 1)
        if twice:
            names = [compared.run.run_id for compared in runs if compared.summary.seed in twice]
            yield Difference(
                what="seeds",
                text=f"{label}: seed {', '.join(map(str, twice))} more than once, each run counted: {', '.join(names)}",
            )


def _setting_differences(
    groups: Mapping[str, Sequence[ComparedRun]], meant: set[str]
) -> Iterator[Difference]:
    by_name: dict[str, list[str]] = {}
    keys = sorted({key for runs in groups.values() for compared in runs for key in compared.settings})
    differing = [
        key
        for key in keys
        if not _is_meant(key, meant)
        and len({compared.settings.get(key, "none") for runs in groups.values() for compared in runs}) > 1
    ]
    short = short_names(differing)
    for key in differing:
        values: dict[str, list[str]] = {}
        for label, runs in groups.items():
            for value in dict.fromkeys(compared.settings.get(key, "none") for compared in runs):
                values.setdefault(shortened(value, _MAX_VALUE), []).append(label)
        shown = ", ".join(f"{value} ({_labels(labels)})" for value, labels in values.items())
        by_name.setdefault(_name_of(key), []).append(f"{short[key]} is {shown}")
    for name, texts in by_name.items():
        more = f" and {len(texts) - _MAX_KEYS} more keys" if len(texts) > _MAX_KEYS else ""
        yield Difference(what=name, text=f"different {name}: {'; '.join(texts[:_MAX_KEYS])}{more}")


def _is_meant(key: str, meant: set[str]) -> bool:
    return any(key == axis or key.startswith(f"{axis}.") for axis in meant)


def _name_of(key: str) -> str:
    section = key.partition(".")[0]
    return _NAMES.get(key) or _NAMES.get(section) or section


def _labels(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 2} more" if len(labels) > 3 else ""
    return ", ".join(labels if not more else labels[:2]) + more


def _drawn_differences(groups: Mapping[str, Sequence[ComparedRun]], meant: set[str]) -> Iterator[Difference]:
    """Draws that differ although the seed is the same: other software, or other data under the same name."""
    runs = [compared for group in groups.values() for compared in group]
    sections = {key.partition(".")[0] for key in meant}
    varied = {
        _name_of(key) for key in {key for compared in runs for key in compared.settings} if _varies(key, runs)
    }
    for what, section, of_run in _DRAWN:
        # If the section itself differs, that is reported already, or meant.
        if section in sections or _NAMES.get(section) in varied:
            continue
        drawn: dict[tuple[int | None, int], set[str]] = {}
        for compared in runs:
            value = of_run(compared)
            if value is not None:
                same_draw = (compared.summary.seed, compared.summary.nodes)
                drawn.setdefault(same_draw, set()).add(json.dumps(value, sort_keys=True))
        seeds_that_differ = sorted({str(seed) for (seed, _), values in drawn.items() if len(values) > 1})
        if seeds_that_differ:
            yield Difference(
                what=what, text=f"different {what} for the same seed: {', '.join(seeds_that_differ)}"
            )


def _varies(key: str, runs: Sequence[ComparedRun]) -> bool:
    return len({compared.settings.get(key, "none") for compared in runs}) > 1


def _hosts(run: ComparedRun, key: str) -> object:
    hosts = run.environment.get("hosts")
    if not isinstance(hosts, list):
        return None
    return [[host.get("name"), host.get(key)] for host in hosts if isinstance(host, dict)]


# (what, the section that determines it, its value in a run; None: unknown)
_DRAWN = (
    ("data", "task", lambda run: run.environment.get("data")),
    ("splits of the data", "task", lambda run: run.environment.get("partition")),
    ("stragglers", "network", lambda run: _hosts(run, "straggler")),
    ("step times", "compute", lambda run: _hosts(run, "step_time_s")),
    ("overlays", "overlay", lambda run: _hosts(run, "peers")),
)


def _software_differences(groups: Mapping[str, Sequence[ComparedRun]]) -> Iterator[Difference]:
    runs = [compared for group in groups.values() for compared in group]
    for what, values in (
        ("mnbed", {_version(compared) for compared in runs}),
        ("torch", {_of_versions(compared, "torch") for compared in runs}),
        ("processors", {_of_machine(compared, "processor") for compared in runs}),
    ):
        known = sorted(value for value in values if value is not None)
        if len(known) > 1:
            name = f"versions of {what}" if what != "processors" else what
            yield Difference(what=name, text=f"different {name}: {', '.join(known)}", grave=False)


def _version(run: ComparedRun) -> str | None:
    version, revision = run.environment.get("mnbed"), run.environment.get("git_revision")
    if version is None:
        return None
    return f"{version} ({revision})" if revision else str(version)


def _of_versions(run: ComparedRun, package: str) -> str | None:
    versions = run.environment.get("versions")
    value = versions.get(package) if isinstance(versions, dict) else None
    return None if value is None else str(value)


def _of_machine(run: ComparedRun, key: str) -> str | None:
    machine = run.environment.get("machine")
    value = machine.get(key) if isinstance(machine, dict) else None
    return None if value is None else str(value)
