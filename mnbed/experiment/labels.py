"""Labels for the settings that distinguish runs: in sweeps, in the names of their runs, in comparisons.

An axis is a key of the experiment, `network.stragglers.factor`, or a name that a sweep defines. A value is shown as
`factor=5`; an algorithm by its name alone, in canonical spelling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from mnbed.errors import InputError
from mnbed.experiment.fields import did_you_mean
from node_agent.algorithms import algorithm_names, canonical_name

ALGORITHM = "algorithm"
ALGORITHM_NAME = "algorithm.name"
_MAX_LABEL = 80
# A sweep that goes on finds its runs by their labels: they are cut at the same place for good.
_DIGEST_ROOM = 12


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its shortest suffix that no other key shares: stragglers.count and slow_nodes.count, not count twice."""
    keys = list(dict.fromkeys(keys))
    return {key: _shortest_end(key, [other for other in keys if other != key]) for key in keys}


def _shortest_end(key: str, others: Sequence[str]) -> str:
    parts = key.split(".")
    ends = [".".join(parts[first:]) for first in range(len(parts) - 1, -1, -1)]
    return next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), key)


def cell_label(cell: Mapping[str, str]) -> str:
    """Of a cell of a sweep, or a group of compared runs (axis -> value): "factor=5, divshare"."""
    return ", ".join(cell.values()) or "all"


def value_label(key: str, short: str, value: str) -> str:
    """Label of a key's value: "factor=5"; for algorithm.name the name alone."""
    return canonical_name(value) if key == ALGORITHM_NAME else shortened(f"{short}={value}")


def shortened(text: str, room: int = _MAX_LABEL) -> str:
    """A long text, such as an inline network, in at most that many characters; a digest keeps texts apart."""
    if len(text) <= room:
        return text
    return f"{text[: room - _DIGEST_ROOM]}... #{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def algorithm_label(name: str) -> str:
    """An algorithm's name in canonical spelling; any other name unchanged."""
    return canonical_name(name) if canonical_name(name) in algorithm_names() else name


def find_axis(given: str, axes: Iterable[str], where: str) -> str:
    """The axis that `given` refers to: its name, or a suffix of it that no other axis shares.

    Raises InputError; its message begins with `where`.
    """
    axes = list(axes)
    if given in axes:
        return given
    if given in (ALGORITHM, ALGORITHM_NAME):
        matching = [axis for axis in axes if axis in (ALGORITHM, ALGORITHM_NAME)]
    else:
        matching = [axis for axis in axes if axis.endswith(f".{given}")]
    if len(matching) == 1:
        return matching[0]
    if not axes:
        raise InputError(f"{where}: the runs do not differ in {given} or in anything else")
    raise InputError(f"{where}: the runs do not differ in {given}{did_you_mean(given, axes)}")


def find_value(given: str, values: Iterable[str], where: str) -> str:
    """The value that `given` refers to: its label, the part after its `=`, or another spelling of an algorithm.

    Raises InputError; its message begins with `where`.
    """
    values = list(dict.fromkeys(values))
    if given in values:
        return given
    matching = [value for value in values if value.partition("=")[2] == given]
    matching = matching or [value for value in values if canonical_name(value) == canonical_name(given)]
    if len(matching) == 1:
        return matching[0]
    raise InputError(f"{where}: no such value{did_you_mean(given, values)}")


def find_baseline(
    given: Mapping[str, str], values: Mapping[str, Sequence[str]], where: str
) -> dict[str, str]:
    """The baseline as axis -> label; values: axis -> the labels it has. Raises InputError."""
    baseline = {}
    for word, value in given.items():
        shown = f"{where} {word}={value}"
        axis = find_axis(word, values, shown)
        baseline[axis] = find_value(value, values[axis], shown)
    return baseline
