"""Whether runs that stand side by side differ in nothing but what is compared: seeds, data, network, durations, ...

One list of conditions for all: what the experiment says, what the run found (dilation, split of the data, stragglers
drawn), and which software made it. `comparison.py` says which runs stand side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mnbed.experiment.labels import short_names
from mnbed.results.compared_runs import ComparedRun

# Section or key of an experiment -> what is not alike where it differs.
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
_MAX_VALUE = 40
_MAX_KEYS = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One condition that is not the same for all."""

    what: str
    """E.g. "durations"."""
    text: str
    """The whole sentence."""
    grave: bool = True
    """It makes a ratio of times meaningless; versions need not."""


def differences(groups: Mapping[str, Sequence[ComparedRun]], meant: Iterable[str]) -> list[Difference]:
    """What the groups (label -> its runs) differ in, or the runs within one, beside what is `meant` to differ.

    meant: keys of the experiment; whatever begins with `algorithm` is always meant.
    """
    meant = {"algorithm", *meant}
    return [
        *_seed_differences(groups),
        *_setting_differences(groups, meant),
        *_drawn_differences(groups, meant),
        *_software_differences(groups),
    ]


def seeds(runs: Iterable[ComparedRun]) -> list[int]:
    """Of all runs, in order; one that was run twice is there twice."""
    return sorted(one.summary.seed for one in runs if one.summary.seed is not None)


def seeds_text(runs: Iterable[ComparedRun]) -> str:
    """ "1, 2, 3"; of many that follow each other "1 to 20"."""
    found = seeds(runs)
    if len(found) > 3 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found)) or "unknown"


def _seed_differences(groups: Mapping[str, Sequence[ComparedRun]]) -> Iterator[Difference]:
    if len({tuple(sorted(set(seeds(runs)))) for runs in groups.values()}) > 1:
        named = "; ".join(f"{label}: {seeds_text(runs)}" for label, runs in groups.items())
        yield Difference(
            what="seeds",
            text=f"unequal seeds, so other stragglers, splits and initial models: {named}",
        )
    for label, runs in groups.items():
        twice = sorted(seed for seed, count in Counter(seeds(runs)).items() if count > 1)
        if twice:
            names = [one.run.run_id for one in runs if one.summary.seed in twice]
            yield Difference(
                what="seeds",
                text=f"{label}: seed {', '.join(map(str, twice))} more than once, each run counted: {', '.join(names)}",
            )


def _setting_differences(
    groups: Mapping[str, Sequence[ComparedRun]], meant: set[str]
) -> Iterator[Difference]:
    found: dict[str, list[str]] = {}
    keys = sorted({key for runs in groups.values() for one in runs for key in one.settings})
    differing = [
        key
        for key in keys
        if not _is_meant(key, meant)
        and len({one.settings.get(key, "none") for runs in groups.values() for one in runs}) > 1
    ]
    short = short_names(differing)
    for key in differing:
        values: dict[str, list[str]] = {}
        for label, runs in groups.items():
            for value in dict.fromkeys(one.settings.get(key, "none") for one in runs):
                values.setdefault(_shown(value), []).append(label)
        shown = ", ".join(f"{value} ({_labels(labels)})" for value, labels in values.items())
        found.setdefault(_name_of(key), []).append(f"{short[key]} is {shown}")
    for name, texts in found.items():
        more = f" and {len(texts) - _MAX_KEYS} keys more" if len(texts) > _MAX_KEYS else ""
        yield Difference(what=name, text=f"unequal {name}: {'; '.join(texts[:_MAX_KEYS])}{more}")


def _is_meant(key: str, meant: set[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in meant)


def _name_of(key: str) -> str:
    section = key.partition(".")[0]
    return _NAMES.get(key) or _NAMES.get(section) or section


def _shown(value: str) -> str:
    if len(value) <= _MAX_VALUE:
        return value
    return f"{value[:_MAX_VALUE]}... #{hashlib.sha256(value.encode()).hexdigest()[:6]}"


def _labels(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 2} more" if len(labels) > 3 else ""
    return ", ".join(labels if not more else labels[:2]) + more


def _drawn_differences(groups: Mapping[str, Sequence[ComparedRun]], meant: set[str]) -> Iterator[Difference]:
    """What one seed should have drawn alike, and did not: other software, or other data in the same place."""
    runs = [one for found in groups.values() for one in found]
    sections = {key.partition(".")[0] for key in meant}
    varied = {_name_of(key) for key in {key for one in runs for key in one.settings} if _varies(key, runs)}
    for what, section, of_run in _DRAWN:
        # Where the section itself differs, that has been said, or is meant.
        if section in sections or _NAMES.get(section) in varied:
            continue
        drawn: dict[tuple[int | None, int], set[str]] = {}
        for one in runs:
            value = of_run(one)
            if value is not None:
                alike = (one.summary.seed, one.summary.nodes)
                drawn.setdefault(alike, set()).add(json.dumps(value, sort_keys=True))
        unequal = sorted({str(seed) for (seed, _), values in drawn.items() if len(values) > 1})
        if unequal:
            yield Difference(what=what, text=f"unequal {what} of the same seed: {', '.join(unequal)}")


def _varies(key: str, runs: Sequence[ComparedRun]) -> bool:
    return len({one.settings.get(key, "none") for one in runs}) > 1


def _hosts(run: ComparedRun, key: str) -> object:
    hosts = run.environment.get("hosts")
    if not isinstance(hosts, list):
        return None
    return [[host.get("name"), host.get(key)] for host in hosts if isinstance(host, dict)]


# (what, the section that it follows from, of a run; None: not known)
_DRAWN = (
    ("data", "task", lambda run: run.environment.get("data")),
    ("splits of the data", "task", lambda run: run.environment.get("partition")),
    ("stragglers", "network", lambda run: _hosts(run, "straggler")),
    ("step times", "compute", lambda run: _hosts(run, "step_time_s")),
    ("overlays", "overlay", lambda run: _hosts(run, "peers")),
)


def _software_differences(groups: Mapping[str, Sequence[ComparedRun]]) -> Iterator[Difference]:
    runs = [one for found in groups.values() for one in found]
    for what, values in (
        ("mnbed", {_version(one) for one in runs}),
        ("torch", {_of_versions(one, "torch") for one in runs}),
        ("processors", {_of_machine(one, "processor") for one in runs}),
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
    found = run.environment.get("versions")
    value = found.get(package) if isinstance(found, dict) else None
    return None if value is None else str(value)


def _of_machine(run: ComparedRun, key: str) -> str | None:
    found = run.environment.get("machine")
    value = found.get(key) if isinstance(found, dict) else None
    return None if value is None else str(value)
