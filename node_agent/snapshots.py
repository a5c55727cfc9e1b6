"""Snapshots: a node's flat parameters at emulated instants, written to be evaluated after the network is down."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node_agent.full_disk import naming

# Instants are multiples of a decimal period; this forgives the rounding of floating-point sums.
_EPSILON_S = 1e-9


class SnapshotSchedule:
    """Instants 0, every, 2 every, ... and the experiment's end."""

    def __init__(self, every_s: float, duration_s: float) -> None:
        self._every_s = every_s
        self._duration_s = duration_s
        self._last = math.ceil(duration_s / every_s - _EPSILON_S)
        self._next = 0

    def skip_until(self, now_s: float) -> None:
        """Skip the instants that have passed while the agent was not running."""
        while self._next <= self._last and self.time_of(self._next) < now_s - _EPSILON_S:
            self._next += 1

    def time_of(self, instant: int) -> float:
        """Emulated seconds of that instant."""
        return min(instant * self._every_s, self._duration_s)

    def due(self, until_s: float) -> Iterator[int]:
        """Every instant before `until_s` that no earlier call returned; math.inf gives all that are left."""
        while self._next <= self._last and self.time_of(self._next) < until_s - _EPSILON_S:
            yield self._next
            self._next += 1


def save_snapshot(run: Path, node: str, instant: int, values: NDArray[np.float32]) -> Path:
    """Write snapshots/<node>/<instant>.npy; a reader never sees half a file. Raises OSError if the disk is full."""
    folder = run / "snapshots" / node
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{instant:05d}.npy"
    partial = path.with_suffix(".partial")
    with naming(partial), partial.open("wb") as file:
        # Not np.save: its error on a full disk does not mention the disk.
        header = np.lib.format.header_data_from_array_1_0(values)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(values).data)
    os.replace(partial, path)
    return path
