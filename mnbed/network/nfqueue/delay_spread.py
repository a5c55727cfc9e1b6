"""Draws delays as netem does: from iproute2's own tables, or uniformly.

A table holds the inverse of a distribution function, scaled so that 8192 is one standard deviation (tc-netem(8)).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

_SCALE = 8192
# Debian and Ubuntu put architecture-dependent files elsewhere; tc looks in the one it was built for.
_FOLDERS = ("/usr/lib/tc", "/usr/lib64/tc", "/usr/share/tc", "/usr/lib/*/tc")


def table_path(name: str) -> Path | None:
    """The file of that distribution; None: it is not installed with iproute2."""
    for folder in _FOLDERS:
        for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}.dist")):
            return path
    return None


@cache
def table(name: str) -> Sequence[int]:
    """The table's values. Raises OSError if the file is missing or holds none."""
    path = table_path(name)
    if path is None:
        raise FileNotFoundError(f"iproute2's table of the distribution {name} is not installed ({name}.dist)")
    lines = (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    values = [int(word) for line in lines for word in line.split()]
    if not values:
        raise OSError(f"{path} holds no values")
    return values


def spread(rng: random.Random, delay_s: float, jitter_s: float, distribution: str) -> Callable[[], float]:
    """A function that draws one delay per call, never below 0. Raises OSError if the table is missing."""
    if distribution == "uniform":
        return lambda: max(0.0, delay_s + jitter_s * (2 * rng.random() - 1))
    values = table(distribution)
    count, step = len(values), jitter_s / _SCALE
    return lambda: max(0.0, delay_s + step * values[int(rng.random() * count)])
