"""`mnbed compare`: groups, bands, targets, speed-ups by hand-computed values, and what is not compared."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnbed.results.compare_report import _band
from mnbed.results.compared_runs import read_runs
from mnbed.results.comparison import Spread, compare
from tests.unit.mnbed.results.comparing import Run, compared_run, compared_sweep, shown

__all__ = ["compared_run", "compared_sweep"]


def test_a_confidence_interval_by_hand() -> None:
    """Student's t with 2 degrees of freedom at 97.5 %: 4.3027."""
    spread = Spread(values=(1.0, 2.0, 3.0))
    assert (spread.mean, spread.std) == (2.0, 1.0)
    assert spread.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert Spread(values=(1.0,)).half_width is None
    assert Spread(values=()).mean is None


def test_a_band_stays_where_scores_can_be(run: Run) -> None:
    """Two seeds, 0.1 and 0.7 at the end: Student's t of one degree of freedom makes that 0.4 +- 3.8."""
    (group,) = compare(read_runs([run(seed=1, slope=0.0), run(seed=2, slope=0.1)])).groups
    assert group.curve[-1][2] == pytest.approx(12.706 * 0.3, rel=1e-3)
    low, high = _band(group, "accuracy")
    assert (low[-1], high[-1]) == (0.0, 1.0)
    assert _band(group, "rmse")[1][-1] == pytest.approx(0.4 + 12.706 * 0.3, rel=1e-3)


def test_groups_targets_and_speed_ups(run: Run) -> None:
    paths = [run("divshare", seed, slope=0.1) for seed in (1, 2)]
    paths += [run("swift", 1, slope=0.05), run("swift", 2, slope=0.04)]
    found = compare(read_runs(paths), baseline={"algorithm": "swift"}, targets=[0.2])
    assert found.targets == (0.2, 0.35)
    fast, slow = found.groups
    assert (fast.label, slow.label, slow.is_baseline) == ("divshare", "swift", True)
    # 0.2: after 1 s against 2 s and 2.5 s.
    assert fast.targets[0].times_s.values == pytest.approx((1.0, 1.0))
    assert slow.targets[0].times_s.values == pytest.approx((2.0, 2.5))
    assert fast.targets[0].speedup.values == pytest.approx((2.0, 2.5))
    # 0.35: after 2.5 s; the baseline reaches it with seed 1 alone, after 5 s.
    assert fast.targets[1].speedup.values == pytest.approx((2.0,))
    assert (slow.targets[1].reached, slow.targets[1].of) == (1, 2)
    # Two nodes send half a megabyte a second each.
    assert fast.targets[0].bytes.values == pytest.approx((1e6, 1e6))
    assert fast.curve[2][:2] == pytest.approx((2, 0.3))


def test_a_baseline_that_never_reached_the_target_gives_a_bound(run: Run) -> None:
    found = read_runs([run("divshare", slope=0.1), run("swift", slope=0.01)])
    fast, slow = compare(found, baseline={"algorithm": "swift"}, targets=[]).groups
    assert fast.targets[0].speedup.values == ()
    assert fast.targets[0].at_least == pytest.approx(6 / 2.5)
    assert slow.targets[0].reached == 0


def test_settings_that_differ_make_groups(run: Run) -> None:
    found = read_runs([run("divshare", stragglers=0), run("divshare", stragglers=4), run("divshare", 2)])
    assert [one.label for one in found.runs] == ["count=0", "count=4", "count=0"]


# --- Where it is written ---


def test_loose_comparisons_do_not_overwrite_each_other(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    one, two, three = (str(run(name)) for name in ("divshare", "swift", "local"))
    for runs, folder in (
        ((one, two), "compare"),
        ((one, three), "compare-2"),
        ((two, one), "compare"),  # the same runs again: overwritten
        ((one, two, three), "compare-3"),
    ):
        status, out, _ = shown(capsys, *runs)
        assert status == 0
        assert out.rstrip().endswith(f"page: {folder}/compare.html")
    assert sorted(path.name for path in here.iterdir()) == ["compare", "compare-2", "compare-3"]


def test_a_folder_of_ones_own_called_compare_stays(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "compare").mkdir(parents=True)
    (tmp_path / "here" / "compare" / "curves.csv").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    assert shown(capsys, str(run()))[0] == 0
    assert (tmp_path / "here" / "compare" / "curves.csv").read_text() == "mine"


def test_a_sweeps_comparison_is_inside_it_and_is_replaced(
    run: Run, sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep("s", [("divshare", run(), 1)])
    for _ in range(2):
        assert shown(capsys, str(folder))[0] == 0
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["compare"]


def test_an_unwritable_folder_is_reported(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = shown(capsys, str(run()), "--out", str(tmp_path / "file"))
    assert status == 2
    assert "give another folder with --out" in err


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"task": "movielens"}, "different tasks: digits, movielens"),
        ({"standin": True}, "some runs use real data, others a stand-in"),
        ({"verdict": "degraded"}, "some emulations were faithful, others degraded"),
        ({"status": "interrupted"}, "not completed"),
    ],
)
def test_runs_of_different_kinds_are_refused_unless_anyway(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    paths = [str(run("divshare")), str(run("swift", **other))]
    status, _, err = shown(capsys, *paths, "--out", str(tmp_path / "c"))
    assert status == 2
    assert words in err
    status, out, _ = shown(capsys, *paths, "--out", str(tmp_path / "c"), "--anyway")
    assert status == 0
    assert f"{words.partition(':')[0]}" in out.replace("\n", " ")


def test_the_command_writes_page_figures_and_tables(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = [
        str(run(name, seed, slope)) for seed in (1, 2) for name, slope in (("divshare", 0.1), ("swift", 0.03))
    ]
    out = tmp_path / "c"
    status, printed, _ = shown(capsys, *paths, "--baseline", "algorithm=swift", "--out", str(out))
    assert status == 0
    assert "not reached" in printed
    assert "> 2.40 x" in printed
    page = (out / "compare.html").read_text()
    assert "<svg" in page
    assert "95 % confidence" in page
    assert (out / "curves.svg").exists()
    assert (out / "curves.png").exists()
    with (out / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == ["divshare", "swift"]
    assert float(rows[0]["time_mean_s_0.35"]) == pytest.approx(2.5)
    assert rows[1]["time_mean_s_0.35"] == ""
    with (out / "curves.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["group", "emulated_s", "accuracy", "half_width_95"]
    _, text, _ = shown(capsys, *paths, "--out", str(out), "--markdown")
    assert text.startswith("|  | divshare | swift |")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/nonexistent",), "/nonexistent: no such directory"),
        (("/usr",), "/usr is neither a run directory nor a sweep"),
        (("{run}/..",), "but contains run directories"),
        (("{run}", "--target", "80"), "--target 80: an accuracy is a fraction: 0.8 for 80 %"),
        (("{run}", "--target", "nan"), "--target nan: it must be above 0"),
        (("{run}", "--baseline", "algorithm"), "write AXIS=VALUE"),
        (
            ("{run}", "--baseline", "algorithm=swift"),
            "the runs do not differ in algorithm or in anything else",
        ),
    ],
)
def test_bad_input(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    path = str(run())
    status, _, err = shown(capsys, *(one.replace("{run}", path) for one in arguments))
    assert status == 2
    assert words in err
