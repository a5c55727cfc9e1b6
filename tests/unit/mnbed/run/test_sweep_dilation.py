"""Runs of a sweep that are compared share a dilation; finished runs keep theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnbed.errors import InputError
from mnbed.experiment.sections import Experiment
from mnbed.experiment.sweep import Sweep, load_sweep
from mnbed.run.sweep_dilation import shared_dilations

# What each algorithm would get by itself, on links of stragglers or not.
NEEDS = {("divshare", 0): 1.5, ("divshare", 2): 2.0, ("swift", 0): 3.0, ("swift", 2): 1.0}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    (tmp_path / "base.yaml").write_text("time: {duration: 20s}\n")
    (tmp_path / "s.yaml").write_text(
        "base: base.yaml\n"
        "grid:\n"
        "  network.stragglers.count: [0, 2]\n"
        "  algorithm: {divshare: {algorithm.name: divshare}, swift: {algorithm.name: swift}}\n"
        "seeds: 2\n"
        "baseline: {algorithm: swift}\n"
    )
    return load_sweep(tmp_path / "s.yaml")


def needed(experiment: Experiment) -> float:
    return NEEDS[experiment.algorithm.name, experiment.network.stragglers.count]


def shown(sweep: Sweep, chosen: dict[int, float]) -> dict[tuple[str, int], float]:
    return {(sweep.runs[place].label, sweep.runs[place].seed): found for place, found in chosen.items()}


def test_what_is_compared_gets_the_largest_that_any_of_it_needs(sweep: Sweep) -> None:
    found = shown(sweep, shared_dilations(sweep, range(8), [None] * 8, needed))
    assert found == {
        (f"count={count}, {algorithm}", seed): {0: 3.0, 2: 2.0}[count]
        for count in (0, 2)
        for algorithm in ("divshare", "swift")
        for seed in (1, 2)
    }


def test_a_continued_sweep_keeps_its_dilation(sweep: Sweep) -> None:
    """Timed again, a step would give another dilation."""
    known = [2.7, 2.7, None, None, None, None, None, None]
    assert [run.label for run in sweep.runs[:2]] == ["count=0, divshare", "count=0, swift"]
    found = shown(sweep, shared_dilations(sweep, range(2, 8), known, needed))
    assert found["count=0, divshare", 2] == found["count=0, swift", 2] == 2.7
    assert found["count=2, divshare", 1] == 2.0
    assert ("count=0, divshare", 1) not in found


@pytest.mark.usefixtures("sweep")
def test_a_number_in_the_experiment_stays(tmp_path: Path) -> None:
    given = load_sweep(tmp_path / "s.yaml", ["time.dilation=4"])
    assert shared_dilations(given, range(8), [None] * 8, needed) == {}


def test_a_run_that_cannot_be_planned_does_not_count(sweep: Sweep) -> None:
    def fails(experiment: Experiment) -> float:
        if experiment.algorithm.name == "swift":
            raise InputError("no")
        return needed(experiment)

    found = shown(sweep, shared_dilations(sweep, range(8), [None] * 8, fails))
    assert found["count=0, swift", 1] == 1.5


def test_if_no_run_can_be_planned_no_dilation_is_chosen(sweep: Sweep) -> None:
    def fails(_: Experiment) -> float:
        raise InputError("no")

    assert shared_dilations(sweep, range(8), [None] * 8, fails) == {}
