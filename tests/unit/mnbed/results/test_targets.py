"""Targets: one definition for all tables, in the direction that the task declares."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import pytest

from mnbed.results import exchange, make_results
from mnbed.results.compared_runs import read_runs
from mnbed.results.comparison import compare
from mnbed.results.targets import time_to
from node_agent.tasks.digits import Digits
from tests.unit.mnbed.results.builder import RunBuilder


def test_a_target_is_reached_between_two_instants() -> None:
    assert time_to([(0, 0.1), (2, 0.3), (4, 0.7)], 0.4, "max") == pytest.approx(2.5)
    assert time_to([(0, 0.1), (2, 0.3)], 0.4, "max") is None
    assert time_to([(0, 0.5)], 0.4, "max") == 0
    assert time_to([(0, 1.2), (2, 1.0), (4, 0.9)], 0.95, "min") == pytest.approx(3.0)


def test_summary_and_compare_say_the_same(tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        builder = RunBuilder(path=tmp_path / f"run{seed}", targets=(0.3, 0.35))
        run = builder.build()
        builder.evaluate(run)
        summary = make_results(run, report=False)
        paths.append(run.path)
    (group,) = compare(read_runs(paths), baseline={}, anyway=True).groups
    for target in group.targets:
        assert target.times_s.values[0] == summary.time_to[f"{target.target:g}"]
    assert summary.time_to["0.3"] not in (3.0, 4.0)


class PerplexDigits(Digits):
    """A task whose metric is neither accuracy nor rmse, and of which less is better."""

    METRIC: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "min")


@pytest.mark.parametrize(("best", "reached"), [("max", None), ("min", 0.0)])
def test_the_direction_is_the_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str, reached: float | None
) -> None:
    """Every accuracy is below 0.99 from the start: if less were better, the target would be reached at once."""
    monkeypatch.setattr(
        exchange, "task_class", {"max": lambda _: Digits, "min": lambda _: PerplexDigits}[best]
    )
    builder = RunBuilder(path=tmp_path / "run", targets=(0.99,))
    run = builder.build()
    builder.evaluate(run)
    summary = make_results(run, report=False)
    assert (summary.best, summary.time_to["0.99"]) == (best, reached)
    found = compare(read_runs([run.path]), baseline={})
    assert found.best == best
    assert found.groups[0].targets[0].reached == (0 if reached is None else 1)
