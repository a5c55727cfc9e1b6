"""What the settings that tell runs apart are called: in sweeps, in the names of their runs, in comparisons.

An axis is a key of the experiment, `network.stragglers.factor`, or a name that a sweep gave. A value is shown as
`factor=5`; of an algorithm the name alone, in its one spelling.
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


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Key -> the shortest end of it that no other key has: stragglers.count and slow_nodes.count, not count twice."""
    keys = list(dict.fromkeys(keys))
    return {key: _shortest_end(key, [other for other in keys if other != key]) for key in keys}


def _shortest_end(key: str, others: Sequence[str]) -> str:
    parts = key.split(".")
    ends = [".".join(parts[first:]) for first in range(len(parts) - 1, -1, -1)]
    return next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), key)


def value_label(key: str, short: str, value: str) -> str:
    """What the value of a key is called: "factor=5"; of algorithm.name the name alone."""
    return canonical_name(value) if key == ALGORITHM_NAME else shortened(f"{short}={value}")


def shortened(text: str) -> str:
    """A long text, such as a network written out, by its beginning and a digest: two of them stay two."""
    if len(text) <= _MAX_LABEL:
        return text
    return f"{text[: _MAX_LABEL - 12]}... #{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def algorithm_label(name: str) -> str:
    """An algorithm's name in its one spelling; another name as it is."""
    return canonical_name(name) if canonical_name(name) in algorithm_names() else name


def find_axis(given: str, axes: Iterable[str], where: str) -> str:
    """The axis that is meant: its name, or an end of it that no other has.

    Raises InputError, which begins with `where`.
    """
    axes = list(axes)
    if given in axes:
        return given
    if given in (ALGORITHM, ALGORITHM_NAME):
        found = [axis for axis in axes if axis in (ALGORITHM, ALGORITHM_NAME)]
    else:
        found = [axis for axis in axes if axis.endswith(f".{given}")]
    if len(found) == 1:
        return found[0]
    if not axes:
        raise InputError(f"{where}: the runs do not differ in {given}, nor in anything else")
    raise InputError(f"{where}: the runs do not differ in {given}{did_you_mean(given, axes)}")


def find_value(given: str, values: Iterable[str], where: str) -> str:
    """The value that is meant: as it is shown, what stands behind its `=`, or an algorithm in another spelling.

    Raises InputError, which begins with `where`.
    """
    values = list(dict.fromkeys(values))
    if given in values:
        return given
    found = [value for value in values if value.partition("=")[2] == given]
    found = found or [value for value in values if canonical_name(value) == canonical_name(given)]
    if len(found) == 1:
        return found[0]
    raise InputError(f"{where}: no such value{did_you_mean(given, values)}")


def find_baseline(
    given: Mapping[str, str], values: Mapping[str, Sequence[str]], where: str
) -> dict[str, str]:
    """The baseline in the words of the axes; values: axis -> what it may be. Raises InputError."""
    found = {}
    for word, value in given.items():
        shown = f"{where} {word}={value}"
        axis = find_axis(word, values, shown)
        found[axis] = find_value(value, values[axis], shown)
    return found
