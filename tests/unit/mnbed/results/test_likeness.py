"""Differences between compared runs: reported above the table, and no speed-up across them; sweeps' own rules."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnbed.errors import InputError
from mnbed.records.sweep import SweepEntry, SweepRecord, write_sweep
from mnbed.results.compared_runs import read_runs
from mnbed.results.comparison import compare
from tests.unit.mnbed.results.comparing import Run, compared_run, compared_sweep, shown

__all__ = ["compared_run", "compared_sweep"]

# --- Differences between runs ---

# What the second run changes, and the difference reported. All but the last forbid a speed-up.
UNLIKE: dict[str, tuple[dict[str, Any], str]] = {
    "seed": (
        {"seed": 2},
        "different seeds, so different stragglers, splits and initial models: divshare: 2; swift: 1",
    ),
    "duration": ({"duration": "9s"}, "different durations: duration is 9s"),
    "network": ({"stragglers": 4}, "different networks: count is 4"),
    "dilation": ({"dilation": 3.0}, "different dilations: dilation is 3 (divshare), 2 (swift)"),
    "task settings": ({"lr": 0.3}, "different tasks: lr is 0.3"),
    "data": ({"data": "others"}, "different data for the same seed: 1"),
    "split": ({"partition": [[11]]}, "different splits of the data for the same seed: 1"),
    "stragglers": ({"slow": ("h2",)}, "different stragglers for the same seed: 1"),
}
ARMS = ("divshare", "swift")


@pytest.mark.parametrize("what", UNLIKE)
def test_a_difference_is_reported_above_the_table(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    other, words = UNLIKE[what]
    paths = [str(run("divshare", **other)), str(run("swift"))]
    for form in ([], ["--markdown"]):
        status, out, _ = shown(capsys, *paths, "--out", str(tmp_path / "c"), *form)
        assert status == 0
        above, _, below = out.partition("final accuracy")
        assert words in above
        assert below
    assert words.partition(":")[0] in (tmp_path / "c" / "compare.html").read_text()


@pytest.mark.parametrize("what", UNLIKE)
def test_runs_that_differ_get_no_speed_up_unless_unpaired(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    other, words = UNLIKE[what]
    paths = [str(run("divshare", **other)), str(run("swift", slope=0.05))]
    asked = ("--baseline", "algorithm=swift", "--target", "0.2", "--out", str(tmp_path / "c"))
    status, out, err = shown(capsys, *paths, *asked)
    assert (status, out) == (2, "")
    assert "--unpaired" in err
    assert words in err or "no run of swift has otherwise the same settings" in err
    assert not (tmp_path / "c").exists()
    status, out, _ = shown(capsys, *paths, *asked, "--unpaired")
    assert status == 0
    assert words in out.partition("final accuracy")[0]
    assert "speed-up, unpaired" in out
    # 0.2: after 1 s against 2 s.
    assert "2.00 x" in out


def test_different_software_is_reported_but_does_not_prevent_a_speed_up(run: Run) -> None:
    found = compare(read_runs([run(), run("swift", mnbed="0.2.0")]), baseline={"algorithm": "swift"})
    assert found.warnings == ("different versions of mnbed: 0.1.0, 0.2.0",)


def test_runs_without_differences_are_compared_without_a_warning(run: Run) -> None:
    paths = [run(name, seed, targets=[0.1 * seed]) for name in ARMS for seed in (1, 2)]
    found = compare(read_runs(paths), baseline={"algorithm": "swift"})
    assert found.warnings == ()
    assert [group.label for group in found.groups] == list(ARMS)


def test_a_dilation_that_was_chosen_automatically_makes_no_groups(run: Run) -> None:
    """Nor does a rerun, whose experiment says what the machine chose the first time."""
    paths = [
        run("divshare", 1, dilation=2.0),
        run("divshare", 2, dilation=3.8),
        run("divshare", 3, dilation=2.0),
    ]
    (group,) = (found := compare(read_runs(paths))).groups
    assert len(group.runs) == 3
    assert found.warnings == ("different dilations: dilation is 2 (all), 3.8 (all)",)


def test_all_spellings_of_an_algorithm_are_the_same(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = [
        run("ad_psgd", 1),
        run("AD-PSGD", 2),
        run("ad-psgd", 3),
        *(run("DivShare", seed) for seed in (1, 2, 3)),
    ]
    for spelling in ("ad_psgd", "Ad-Psgd"):
        found = compare(read_runs(paths), baseline={"algorithm": spelling})
        assert [(group.label, len(group.runs)) for group in found.groups] == [("ad-psgd", 3), ("divshare", 3)]
        assert [group.is_baseline for group in found.groups] == [True, False]
    status, out, _ = shown(
        capsys, *map(str, paths), "--baseline", "algorithm.name=AD_PSGD", "--out", str(tmp_path / "c")
    )
    assert status == 0
    assert "AD" not in out
    assert "_" not in out.partition("page:")[0]


def test_another_text_of_ones_own_algorithm_is_another_group(run: Run) -> None:
    """Same name, same file, changed in between; and the same text in another place."""
    paths = [
        run("mine", seed, settings={"module": f"/{place}/mine.py"}, digest=digest)
        for seed, place, digest in ((1, "a", "11aa11aa"), (2, "b", "11aa11aa"), (3, "a", "22bb22bb"))
    ]
    assert [(group.label, len(group.runs)) for group in compare(read_runs(paths)).groups] == [
        ("module=mine.py #11aa11", 2),
        ("module=mine.py #22bb22", 1),
    ]


def test_two_runs_of_the_same_seed_are_both_counted_and_reported(run: Run) -> None:
    paths = [run("divshare", 1, slope=0.1), run("divshare", 1, slope=0.05), run("swift", 1, slope=0.02)]
    found = compare(read_runs(paths), targets=[0.2])
    assert found.groups[0].targets[0].times_s.values == pytest.approx((1.0, 2.0))
    assert (found.groups[0].targets[0].reached, found.groups[0].targets[0].of) == (2, 2)
    (warning,) = found.warnings
    assert "divshare: seed 1 more than once, each run counted: " in warning
    assert paths[0].name in warning
    assert paths[1].name in warning
    with pytest.raises(InputError, match="seed 1 more than once"):
        compare(read_runs(paths), baseline={"algorithm": "swift"}, targets=[0.2])


def test_a_run_given_twice_is_counted_once(run: Run) -> None:
    path = run()
    found = compare(read_runs([path, path / ".." / path.name, run("swift")]))
    assert [len(group.runs) for group in found.groups] == [1, 1]
    assert found.warnings == ("a run given more than once is counted once",)


def test_the_seeds_are_named(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = [run("divshare", seed) for seed in (3, 7)] + [run("swift", seed) for seed in (1, 2, 3, 4)]
    _, out, _ = shown(capsys, *map(str, paths), "--out", str(tmp_path / "c"))
    (line,) = [line for line in out.splitlines() if line.startswith("seeds ")]
    assert line.split("  ")[-1].strip() == "1 to 4"
    assert "3, 7" in line
    with (tmp_path / "c" / "compare.csv").open(newline="") as file:
        assert [(row["seeds"], row["runs"]) for row in csv.DictReader(file)] == [
            ("3 7", "2"),
            ("1 2 3 4", "4"),
        ]


def test_degraded_runs_are_marked_wherever_their_group_is_named(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = [run("divshare", 1), run("divshare", 2, verdict="degraded"), run("swift", 1), run("swift", 2)]
    _, out, _ = shown(capsys, *map(str, paths), "--anyway", "--markdown", "--out", str(tmp_path / "c"))
    assert "|  | divshare (1 of 2 degraded) | swift |" in out
    assert "divshare (1 of 2 degraded)" in (tmp_path / "c" / "curves.svg").read_text()
    with (tmp_path / "c" / "compare.csv").open(newline="") as file:
        assert [row["degraded"] for row in csv.DictReader(file)] == ["1", "0"]


def test_a_warning_says_when_no_run_was_faithful(run: Run) -> None:
    found = compare(read_runs([run(verdict="degraded"), run("swift", verdict="degraded")]))
    assert found.warnings == (
        "no emulation was faithful: the results reflect this machine as much as the algorithms",
    )


def test_unknown_facts_of_a_run_are_reported(run: Run) -> None:
    path = run()
    (path / "environment.json").unlink()
    (warning,) = compare(read_runs([path, run("swift")])).warnings
    assert warning.startswith("environment.json is missing or damaged")
    assert warning.endswith(path.name)


def test_long_values_with_the_same_beginning_stay_distinct(run: Run) -> None:
    long = "x" * 200
    found = read_runs([run(settings={"module": f"{long}1"}), run(settings={"module": f"{long}2"})])
    assert len({one.label for one in found.runs}) == 2
    lr = read_runs([run(lr=[0.1] * 60), run(lr=[0.1] * 59 + [0.2])])
    assert len({one.label for one in lr.runs}) == 2


# --- Sweeps ---


def test_comparing_an_unfinished_sweep_reports_missing_runs_and_pairs_the_rest(
    run: Run, sweep: Callable[..., Path]
) -> None:
    entries: list[tuple[str, Path | None, int]]
    entries = [("divshare", run("divshare", 1), 1), ("swift", run("swift", 1, slope=0.05), 1)]
    entries += [("divshare", run("divshare", 2), 2), ("swift", None, 2)]
    found = compare(read_runs([sweep("s", entries, baseline={"algorithm": "swift"})]), targets=[0.2])
    assert found.warnings[0] == "1 of 4 runs have not completed and are left out: swift seed 2 (not run yet)"
    assert "different seeds" in found.warnings[1]
    assert found.groups[0].targets[0].speedup.values == pytest.approx((2.0,))


def test_a_sweep_whose_baseline_has_not_run_yet_is_shown_without_speed_ups(
    run: Run, sweep: Callable[..., Path]
) -> None:
    entries: list[tuple[str, Path | None, int]]
    entries = [("divshare", run("divshare", 1), 1), ("swift", None, 1)]
    found = compare(read_runs([sweep("s", entries, baseline={"algorithm": "swift"})]))
    assert found.baseline == {}
    assert any("baseline, swift, has completed: no speed-ups" in text for text in found.warnings)


def test_a_sweep_with_degraded_runs_says_how_to_repeat_them(run: Run, sweep: Callable[..., Path]) -> None:
    entries = [("divshare", run(), 1), ("swift", run("swift", verdict="degraded"), 1)]
    with pytest.raises(InputError, match="others degraded") as error:
        compare(read_runs([sweep("s", entries)]))
    assert "--redo-degraded" in str(error.value)


def test_a_sweeps_own_cells_may_not_hide_other_durations(run: Run, sweep: Callable[..., Path]) -> None:
    entries = [("divshare", run("divshare", duration="9s"), 1), ("swift", run("swift"), 1)]
    folder = sweep("s", entries, baseline={"algorithm": "swift"})
    with pytest.raises(InputError, match=r"different durations: duration is 9s \(divshare\), 6s \(swift\)"):
        compare(read_runs([folder]))
    assert compare(read_runs([folder]), unpaired=True).warnings == (
        "different durations: duration is 9s (divshare), 6s (swift)",
    )


def test_two_sweeps_with_equal_cells_stay_apart(run: Run, sweep: Callable[..., Path]) -> None:
    """Both have a cell `divshare`: their labels are what differs."""
    first = sweep("a", [("divshare", run("divshare", stragglers=0), 1)])
    second = sweep("b", [("divshare", run("divshare", stragglers=4), 1)])
    found = read_runs([first, second])
    assert found.sweep is None
    assert [one.label for one in found.runs] == ["count=0", "count=4"]


def test_a_dilation_that_a_sweep_chose_makes_no_groups_either(run: Run, tmp_path: Path) -> None:
    """Its runs were given one number, and those of another sweep over the same cells another."""
    paths: list[Path] = []
    for name, dilation in (("a", 2.0), ("b", 3.0)):
        path = run("divshare", len(paths) + 1, dilation=dilation, left={})
        folder = tmp_path / f"sweep-{name}"
        folder.mkdir()
        paths.append(path.rename(folder / path.name))
        entry = SweepEntry(cell={}, label="all", seed=1, digest="d", directory=path.name, dilation=dilation)
        write_sweep(folder, SweepRecord(name=name, base="base.yaml", runs=(entry,)))
    (group,) = compare(read_runs(paths)).groups
    assert len(group.runs) == 2
    for path in paths:
        (path.parent / "sweep.json").unlink()
    assert len(compare(read_runs(paths)).groups) == 2
