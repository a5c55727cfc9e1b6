"""When snapshots are due, and that a reader never sees half of one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from node_agent.snapshots import SnapshotSchedule, save_snapshot


def walk(every_s: float, duration_s: float, step_s: float) -> list[tuple[int, float]]:
    """(instant, end of the last step before it) as the training loop asks."""
    schedule, slot = SnapshotSchedule(every_s, duration_s), 0.0
    taken = [(instant, slot) for instant in schedule.due(step_s)]
    while slot + step_s <= duration_s + 1e-9:
        slot += step_s
        taken += [(instant, slot) for instant in schedule.due(min(slot + step_s, duration_s))]
    return taken + [(instant, slot) for instant in schedule.due(math.inf)]


def test_every_instant_sees_the_steps_that_ended_by_then() -> None:
    taken = walk(1.0, 3.0, 0.3)
    assert [instant for instant, _ in taken] == [0, 1, 2, 3]
    assert [slot for _, slot in taken] == pytest.approx([0.0, 0.9, 1.8, 3.0])


def test_the_end_is_an_instant_even_off_the_grid() -> None:
    schedule = SnapshotSchedule(2.0, 5.0)
    assert [schedule.time_of(instant) for instant in schedule.due(math.inf)] == [0, 2, 4, 5]


def test_rounding_neither_adds_nor_removes_an_instant() -> None:
    assert [instant for instant, _ in walk(0.1, 1.0, 0.02)] == list(range(11))


def test_a_period_longer_than_the_run_gives_start_and_end() -> None:
    assert list(SnapshotSchedule(10.0, 3.0).due(math.inf)) == [0, 1]


def test_a_snapshot_is_the_parameters(tmp_path: Path) -> None:
    values = np.arange(5, dtype=np.float32)
    path = save_snapshot(tmp_path, "h3", 7, values)
    assert path == tmp_path / "snapshots" / "h3" / "00007.npy"
    assert (np.load(path) == values).all()
    assert [item.name for item in path.parent.iterdir()] == ["00007.npy"]


def test_past_instants_are_skipped() -> None:
    schedule = SnapshotSchedule(1.0, 5.0)
    schedule.skip_until(2.4)
    assert list(schedule.due(4.0)) == [3]
    schedule.skip_until(4.0)
    assert list(schedule.due(math.inf)) == [4, 5]
