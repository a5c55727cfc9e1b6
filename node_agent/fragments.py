"""Cutting a flat parameter vector into fragments, keeping received ones, and averaging them in.

All nodes share one random permutation of the parameters; a fragment is a contiguous slice of the permuted
vector. So no index lists are sent, a cut is one gather whose slices are sent as they are, and a received
fragment is added in one vector operation. This module does not know which algorithm uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from node_agent.wire import Fragment, fragment_size

# If Omega was written as a rounded 1/n, 1/Omega may lie a hair above n: that is still n fragments.
_CEIL_TOLERANCE = 1e-9


def num_fragments_for(fraction: float) -> int:
    """ceil(1/Omega): 0.1 -> 10, 0.3 -> 4, 1 -> 1. Raises ValueError outside (0, 1]."""
    if not 0 < fraction <= 1:
        raise ValueError(f"a fragment's fraction must be above 0 and at most 1, not {fraction}")
    return max(1, math.ceil((1 - _CEIL_TOLERANCE) / fraction))


class FragmentLayout:
    """Which parameters make up which fragment; equal on all nodes that use the same three numbers.

    The permutation is numpy.random.Generator(PCG64(permutation_seed)).permutation(num_parameters). NumPy may
    change that stream between releases, so all agents of a run use one NumPy. One fragment with seed 0 is the
    vector itself.
    """

    def __init__(self, num_parameters: int, num_fragments: int, permutation_seed: int) -> None:
        """Raises ValueError if there are more fragments than parameters."""
        if not 1 <= num_fragments <= num_parameters:
            raise ValueError(f"{num_parameters} parameters cannot be cut into {num_fragments} fragments")
        self.num_parameters = num_parameters
        self.num_fragments = num_fragments
        self.permutation_seed = permutation_seed
        self._slices = _slices(num_parameters, num_fragments)
        # Index arrays are int64, at twice the memory of int32: NumPy converts any other type at every use (measured:
        # 1.3 to 2 times the time).
        self._order: NDArray[np.intp] | None = None
        self._inverse: NDArray[np.intp] | None = None
        if (num_fragments, permutation_seed) != (1, 0):
            generator = np.random.Generator(np.random.PCG64(permutation_seed))
            self._order = generator.permutation(num_parameters).astype(np.intp, copy=False)
            self._inverse = np.empty_like(self._order)
            self._inverse[self._order] = np.arange(num_parameters)

    def size_of(self, index: int) -> int:
        """Number of parameters in that fragment."""
        return fragment_size(self.num_parameters, self.num_fragments, index)

    def parameters_of(self, index: int) -> NDArray[np.intp]:
        """Which parameters that fragment holds, in its order."""
        part = self._slices[index]
        return np.arange(part.start, part.stop) if self._order is None else self._order[part].copy()

    def cut(self, values: NDArray[np.float32]) -> list[memoryview]:
        """All fragments as read-only bytes (little-endian float32): a copy, so `values` may change."""
        permuted = self._permuted(values).astype("<f4", copy=False)
        data = permuted.view(np.uint8).data.toreadonly()
        return [data[4 * part.start : 4 * part.stop] for part in self._slices]

    def average_into(self, values: NDArray[np.float32], fragments: Iterable[Fragment]) -> None:
        """Replace each parameter, in place, by the plain mean of its own value and every received copy.

        Parameters without a copy keep their bits. Copies are summed in the order of their senders, so the
        result does not depend on the order of arrival.
        """
        copies: dict[int, list[Fragment]] = {}
        for fragment in sorted(fragments, key=lambda fragment: (fragment.sender, fragment.round)):
            copies.setdefault(fragment.index, []).append(fragment)
        if not copies:
            return
        permuted = values if self._order is None else self._permuted(values)
        for index, received in copies.items():
            part = permuted[self._slices[index]]
            for fragment in received:
                part += fragment.values
            part /= np.float32(len(received) + 1)
        if self._inverse is not None:
            _gather(permuted, self._inverse, values)

    def _permuted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._order is None:
            return np.array(values)
        out: NDArray[np.float32] = np.empty(self.num_parameters, np.float32)
        _gather(values, self._order, out)
        return out


def average_redrawn(
    values: NDArray[np.float32],
    fragments: Iterable[Fragment],
    layout_of: Callable[[int], FragmentLayout],
) -> None:
    """The same mean if every round has its own permutation, so that a parameter's copies lie in different fragments.

    Only the latest copy of a parameter from each sender counts. `layout_of`: permutation seed -> layout.
    """
    total: NDArray[np.float32] = values.copy()
    count: NDArray[np.float32] = np.ones(len(values), np.float32)
    by_sender: dict[int, list[Fragment]] = {}
    for fragment in sorted(
        fragments, key=lambda fragment: (fragment.sender, -fragment.round, fragment.index)
    ):
        by_sender.setdefault(fragment.sender, []).append(fragment)
    for received in by_sender.values():
        several = received[0].round != received[-1].round
        seen = np.zeros(len(values), bool) if several else None
        for fragment in received:
            order = layout_of(fragment.permutation_seed).parameters_of(fragment.index)
            copies = fragment.values
            if seen is not None:
                new = ~seen[order]
                seen[order] = True
                order, copies = order[new], copies[new]
            total[order] += copies
            count[order] += 1
    received_any = count > 1
    values[received_any] = (total / count)[received_any]


class RedrawnStore:
    """Everything that arrived since the last aggregation, once each, if every round has its own cut. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[tuple[int, int, int], Fragment] = {}
        self._taken: dict[int, tuple[int, set[int]]] = {}
        """Sender -> the newest round taken, and which fragments of that round."""

    def put(self, fragment: Fragment) -> bool:
        """Keep it unless it was taken before, or is older than what was; returns whether it was kept."""
        with self._lock:
            newest, indices = self._taken.get(fragment.sender, (-1, set()))
            if fragment.round < newest or (fragment.round == newest and fragment.index in indices):
                return False
            self._waiting[fragment.sender, fragment.round, fragment.index] = fragment
            return True

    def take_all(self) -> list[Fragment]:
        """Everything kept, sorted by fragment and sender; the store is empty afterwards."""
        with self._lock:
            taken = list(self._waiting.values())
            self._waiting.clear()
            for fragment in taken:
                newest, indices = self._taken.get(fragment.sender, (-1, set()))
                if fragment.round > newest:
                    self._taken[fragment.sender] = (fragment.round, {fragment.index})
                elif fragment.round == newest:
                    indices.add(fragment.index)
        return sorted(taken, key=lambda fragment: (fragment.index, fragment.sender, fragment.round))

    def forget(self, sender: int) -> None:
        """The sender may have restarted: whatever comes next from it counts as new."""
        with self._lock:
            self._taken.pop(sender, None)


class FragmentStore:
    """The latest copy of each (sender, fragment) since the last aggregation.

    Thread-safe: the I/O thread puts, the training thread takes. Latest means the highest round, then the last
    to arrive; a fragment that is older than the one already seen from that sender, or a duplicate of one already
    taken, is refused.
    """

    def __init__(self, layout: FragmentLayout) -> None:
        self._layout = layout
        self._lock = Lock()
        self._waiting: dict[tuple[int, int], Fragment] = {}
        self._newest_round: dict[tuple[int, int], int] = {}

    def put(self, fragment: Fragment) -> bool:
        """Keep it unless it is stale; returns whether it was kept.

        Raises ValueError if it was cut by another layout, which the wire should have refused.
        """
        layout = self._layout
        if (fragment.count, fragment.permutation_seed) != (layout.num_fragments, layout.permutation_seed):
            raise ValueError(f"fragment of sender {fragment.sender} was cut by another layout")
        key = (fragment.sender, fragment.index)
        with self._lock:
            newest = self._newest_round.get(key, -1)
            if fragment.round < newest or (fragment.round == newest and key not in self._waiting):
                return False
            self._waiting[key] = fragment
            self._newest_round[key] = fragment.round
            return True

    def take_all(self) -> list[Fragment]:
        """Everything kept, sorted by fragment and sender; the store is empty afterwards."""
        with self._lock:
            taken = list(self._waiting.values())
            self._waiting.clear()
        return sorted(taken, key=lambda fragment: (fragment.index, fragment.sender))

    def forget(self, sender: int) -> None:
        """The sender may have restarted: whatever comes next from it counts as new.

        What it sent before stays until it is taken or replaced.
        """
        with self._lock:
            for key in [key for key in self._newest_round if key[0] == sender]:
                del self._newest_round[key]


def _slices(num_parameters: int, num_fragments: int) -> list[slice]:
    bounds = [0]
    for index in range(num_fragments):
        bounds.append(bounds[-1] + fragment_size(num_parameters, num_fragments, index))
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _gather(source: NDArray[np.float32], indices: NDArray[np.intp], out: NDArray[np.float32]) -> None:
    """out[i] = source[indices[i]]."""
    # Every index is in range, so the mode does not matter; but "raise" would go through an extra buffer.
    np.take(source, indices, out=out, mode="wrap")
