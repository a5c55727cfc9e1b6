"""`mnbed compare`: groups, bands, targets, speed-ups by hand-computed values, and what is not compared."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnbed.cli import main
from mnbed.errors import InputError
from mnbed.results.compare_report import _band
from mnbed.results.compared_runs import read_runs
from mnbed.results.comparison import Spread, compare, crossing

Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes a run directory with an accuracy that rises by `slope` each second from 0.1, and 1 MB sent a second."""

    def make(
        algorithm: str = "divshare",
        seed: int = 1,
        slope: float = 0.1,
        stragglers: int = 0,
        **more: Any,
    ) -> Path:
        path = tmp_path / f"{algorithm}-{stragglers}-{seed}-{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        experiment = {
            "name": "x",
            "seed": seed,
            "algorithm": {"name": algorithm, "stale": "drop", **more.get("settings", {})},
            "network": {"stragglers": {"count": stragglers}, "delay_backend": "netem"},
            "task": {"name": more.get("task", "digits"), "lr": more.get("lr", 0.1)},
            "time": {"duration": more.get("duration", "6s"), "dilation": "auto"},
            "evaluate": {"every": "1s", "targets": more.get("targets", [])},
        }
        environment = {
            "mnbed": more.get("mnbed", "0.1.0"),
            "data": more.get("data", "d"),
            "partition": more.get("partition", [[10 * seed]]),
            "hosts": [
                {
                    "name": name,
                    "straggler": name in more.get("slow", ()),
                    "step_time_s": 0.02,
                    "peers": ["h1", "h2"],
                }
                for name in ("h1", "h2")
            ],
            "left_to_machine": more.get("left", {"time.dilation": "auto"}),
            "algorithm_digest": more.get("digest"),
        }
        (path / "environment.json").write_text(json.dumps(environment))
        (path / "experiment.yaml").write_text(yaml.safe_dump(experiment))
        curve = [[t, round(0.1 + slope * t, 6), 0.01] for t in range(7)]
        score = {"final_mean": curve[-1][1], "mean_model": 0.9, "curve": curve}
        summary = {
            "run_id": path.name,
            "name": "x",
            "algorithm": algorithm,
            "task": more.get("task", "digits"),
            "data": "d",
            "standin": more.get("standin", False),
            "seed": seed,
            "nodes": 2,
            "stragglers": stragglers,
            "status": more.get("status", "completed"),
            "error": None,
            "emulated_s": 6.0,
            "wall_s": 9.0,
            "dilation": more.get("dilation", 2.0),
            "delay_backend": "netem",
            "switch": "bridge",
            "verdict": more.get("verdict", "faithful"),
            "reasons": [],
            "accuracy": score,
            "loss": {},
            "metric": "accuracy",
            "scores": {},
            "exchange": {},
            "rounds": {"mean": 10.0, "min": 10, "max": 10},
            "traffic": {
                "bytes_sent": 6_000_000,
                "bytes_received": 6_000_000,
                "fragments_sent": 1,
                "fragments_dropped_stale": 0,
                "fragments_received": 1,
                "frames_rejected": 0,
            },
            "time_to": more.get("time_to", {"0.35": None}),
            "startup_s": 1.0,
            "teardown_s": 1.0,
            "agent_memory_mb": 1.0,
        }
        (path / "summary.json").write_text(json.dumps(summary))
        rows = [f"h{node},{t},{t * 500_000}" for t in range(7) for node in (1, 2)]
        (path / "metrics.csv").write_text("node,emulated_s,bytes_sent\n" + "\n".join(rows) + "\n")
        return path

    return make


def test_the_crossing_lies_between_two_instants() -> None:
    assert crossing([(0, 0.1), (2, 0.3), (4, 0.7)], 0.4, "accuracy") == pytest.approx(2.5)
    assert crossing([(0, 0.1), (2, 0.3)], 0.4, "accuracy") is None
    assert crossing([(0, 0.5)], 0.4, "accuracy") == 0
    assert crossing([(0, 1.2), (2, 1.0), (4, 0.9)], 0.95, "rmse") == pytest.approx(3.0)


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
    assert fast.curve[2][:2] == (2, pytest.approx(0.3))


def test_a_baseline_that_never_reached_the_target_gives_a_bound(run: Run) -> None:
    found = read_runs([run("divshare", slope=0.1), run("swift", slope=0.01)])
    fast, slow = compare(found, baseline={"algorithm": "swift"}, targets=[]).groups
    assert fast.targets[0].speedup.values == ()
    assert fast.targets[0].at_least == pytest.approx(6 / 2.5)
    assert slow.targets[0].reached == 0


def test_settings_that_differ_make_groups(run: Run) -> None:
    found = read_runs([run("divshare", stragglers=0), run("divshare", stragglers=4), run("divshare", 2)])
    assert [one.label for one in found.runs] == ["count=0", "count=4", "count=0"]


# --- What is not alike ---

# What the second run has -> how that is called. All but the last forbid a speed-up.
UNLIKE: dict[str, tuple[dict[str, Any], str]] = {
    "seed": (
        {"seed": 2},
        "unequal seeds, so other stragglers, splits and initial models: divshare: 2; swift: 1",
    ),
    "duration": ({"duration": "9s"}, "unequal durations: duration is 9s"),
    "network": ({"stragglers": 4}, "unequal networks: count is 4"),
    "dilation": ({"dilation": 3.0}, "unequal dilations: dilation is 3 (divshare), 2 (swift)"),
    "task settings": ({"lr": 0.3}, "unequal tasks: lr is 0.3"),
    "data": ({"data": "others"}, "unequal data of the same seed: 1"),
    "split": ({"partition": [[11]]}, "unequal splits of the data of the same seed: 1"),
    "stragglers": ({"slow": ("h2",)}, "unequal stragglers of the same seed: 1"),
}
ARMS = ("divshare", "swift")


@pytest.mark.parametrize("what", UNLIKE)
def test_what_is_not_alike_is_said_above_the_table(
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
def test_no_speed_up_is_made_of_what_is_not_alike_unless_unpaired(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    other, words = UNLIKE[what]
    paths = [str(run("divshare", **other)), str(run("swift", slope=0.05))]
    asked = ("--baseline", "algorithm=swift", "--target", "0.2", "--out", str(tmp_path / "c"))
    status, out, err = shown(capsys, *paths, *asked)
    assert (status, out) == (2, "")
    assert "--unpaired" in err
    assert words in err or "no run of swift is otherwise like it" in err
    assert not (tmp_path / "c").exists()
    status, out, _ = shown(capsys, *paths, *asked, "--unpaired")
    assert status == 0
    assert words in out.partition("final accuracy")[0]
    assert "speed-up, unpaired" in out
    # 0.2: after 1 s against 2 s.
    assert "2.00 x" in out


def test_other_software_is_said_and_no_obstacle(run: Run) -> None:
    found = compare(read_runs([run(), run("swift", mnbed="0.2.0")]), baseline={"algorithm": "swift"})
    assert found.warnings == ("different versions of mnbed: 0.1.0, 0.2.0",)


def test_runs_that_are_alike_are_compared_without_a_word(run: Run) -> None:
    paths = [run(name, seed, targets=[0.1 * seed]) for name in ARMS for seed in (1, 2)]
    found = compare(read_runs(paths), baseline={"algorithm": "swift"})
    assert found.warnings == ()
    assert [group.label for group in found.groups] == list(ARMS)


def test_a_dilation_that_the_machine_chose_makes_no_groups(run: Run) -> None:
    """Nor does a rerun, whose experiment says what the machine chose the first time."""
    paths = [
        run("divshare", 1, dilation=2.0),
        run("divshare", 2, dilation=3.8),
        run("divshare", 3, dilation=2.0),
    ]
    (group,) = (found := compare(read_runs(paths))).groups
    assert len(group.runs) == 3
    assert found.warnings == ("unequal dilations: dilation is 2 (all), 3.8 (all)",)


def test_every_spelling_of_an_algorithm_is_one(
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


def test_two_runs_of_one_seed_are_both_there_and_said(run: Run) -> None:
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


def test_a_run_that_is_given_twice_counts_once(run: Run) -> None:
    path = run()
    found = compare(read_runs([path, path / ".." / path.name, run("swift")]))
    assert [len(group.runs) for group in found.groups] == [1, 1]
    assert found.warnings == ("a run that was given more than once counts once",)


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


def test_where_nothing_was_faithful_that_is_said(run: Run) -> None:
    found = compare(read_runs([run(verdict="degraded"), run("swift", verdict="degraded")]))
    assert found.warnings == (
        "no emulation was faithful: the figures are this machine's as much as the algorithms'",
    )


def test_what_is_not_known_of_a_run_is_said(run: Run) -> None:
    path = run()
    (path / "environment.json").unlink()
    (warning,) = compare(read_runs([path, run("swift")])).warnings
    assert warning.startswith("environment.json is missing or damaged")
    assert warning.endswith(path.name)


def test_long_values_that_begin_alike_stay_two(run: Run) -> None:
    long = "x" * 200
    found = read_runs([run(settings={"module": f"{long}1"}), run(settings={"module": f"{long}2"})])
    assert len({one.label for one in found.runs}) == 2
    lr = read_runs([run(lr=[0.1] * 60), run(lr=[0.1] * 59 + [0.2])])
    assert len({one.label for one in lr.runs}) == 2


# --- Sweeps ---


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep's directory of runs that are there."""

    def make(name: str, entries: list[tuple[str, Path | None, int]], **more: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = []
        for label, path, seed in entries:
            status = None if path is None else "completed"
            cell = {"algorithm": label}
            rows.append(
                {
                    "cell": cell,
                    "label": label,
                    "seed": seed,
                    "digest": "d",
                    "status": status,
                    "directory": None if path is None else f"../{path.name}",
                }
            )
        (folder / "sweep.json").write_text(json.dumps({"name": name, "runs": rows, **more}))
        return folder

    return make


def test_an_early_look_at_a_sweep_says_what_is_missing_and_pairs_the_rest(
    run: Run, sweep: Callable[..., Path]
) -> None:
    entries = [("divshare", run("divshare", 1), 1), ("swift", run("swift", 1, slope=0.05), 1)]
    entries += [("divshare", run("divshare", 2), 2), ("swift", None, 2)]
    found = compare(read_runs([sweep("s", entries, baseline={"algorithm": "swift"})]), targets=[0.2])
    assert found.warnings[0] == "1 of 4 runs have not completed and are left out: swift seed 2 (not run yet)"
    assert "unequal seeds" in found.warnings[1]
    assert found.groups[0].targets[0].speedup.values == pytest.approx((2.0,))


def test_a_sweep_whose_baseline_has_not_run_yet_is_shown_without_speed_ups(
    run: Run, sweep: Callable[..., Path]
) -> None:
    entries = [("divshare", run("divshare", 1), 1), ("swift", None, 1)]
    found = compare(read_runs([sweep("s", entries, baseline={"algorithm": "swift"})]))
    assert found.baseline == {}
    assert any("baseline, swift, has completed: no speed-ups" in text for text in found.warnings)


def test_a_sweep_with_degraded_runs_is_told_how_to_repeat_them(run: Run, sweep: Callable[..., Path]) -> None:
    entries = [("divshare", run(), 1), ("swift", run("swift", verdict="degraded"), 1)]
    with pytest.raises(InputError, match="others degraded") as error:
        compare(read_runs([sweep("s", entries)]))
    assert "--redo-degraded" in str(error.value)


def test_a_sweeps_own_cells_may_not_hide_other_durations(run: Run, sweep: Callable[..., Path]) -> None:
    entries = [("divshare", run("divshare", duration="9s"), 1), ("swift", run("swift"), 1)]
    folder = sweep("s", entries, baseline={"algorithm": "swift"})
    with pytest.raises(InputError, match=r"unequal durations: duration is 9s \(divshare\), 6s \(swift\)"):
        compare(read_runs([folder]))
    assert compare(read_runs([folder]), unpaired=True).warnings == (
        "unequal durations: duration is 9s (divshare), 6s (swift)",
    )


def test_two_sweeps_do_not_run_into_each_other(run: Run, sweep: Callable[..., Path]) -> None:
    """Both have a cell `divshare`: told apart by what differs."""
    first = sweep("a", [("divshare", run("divshare", stragglers=0), 1)])
    second = sweep("b", [("divshare", run("divshare", stragglers=4), 1)])
    found = read_runs([first, second])
    assert found.sweep is None
    assert [one.label for one in found.runs] == ["count=0", "count=4"]


def test_a_dilation_that_a_sweep_chose_makes_no_groups_either(run: Run, tmp_path: Path) -> None:
    """Its runs were told a number, and another sweep of the same cells another one."""
    paths = []
    for name, dilation in (("a", 2.0), ("b", 3.0)):
        path = run("divshare", len(paths) + 1, dilation=dilation, left={})
        folder = tmp_path / f"sweep-{name}"
        folder.mkdir()
        paths.append(path.rename(folder / path.name))
        entry = {"directory": path.name, "dilation": dilation}
        (folder / "sweep.json").write_text(json.dumps({"runs": [entry]}))
    (group,) = compare(read_runs(paths)).groups
    assert len(group.runs) == 2
    for path in paths:
        (path.parent / "sweep.json").unlink()
    assert len(compare(read_runs(paths)).groups) == 2


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
        ((two, one), "compare"),  # the same runs again: made anew
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


def test_a_sweeps_comparison_lies_in_it_and_is_made_anew(
    run: Run, sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep("s", [("divshare", run(), 1)])
    for _ in range(2):
        assert shown(capsys, str(folder))[0] == 0
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["compare"]


def test_a_folder_that_cannot_be_written_is_said(
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
        ({"standin": True}, "some runs have real data, others a stand-in"),
        ({"verdict": "degraded"}, "some emulations were faithful, others degraded"),
        ({"status": "interrupted"}, "not completed"),
    ],
)
def test_runs_that_are_not_alike_are_refused_unless_wanted(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    paths = [str(run("divshare")), str(run("swift", **other))]
    status, _, err = shown(capsys, *paths, "--out", str(tmp_path / "c"))
    assert status == 2
    assert words in err
    status, out, _ = shown(capsys, *paths, "--out", str(tmp_path / "c"), "--anyway")
    assert status == 0
    assert f"{words.partition(':')[0]}" in out.replace("\n", " ")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


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
        (("/usr",), "/usr is neither a run directory nor a sweep's"),
        (("{run}/..",), "but holds 1 of them"),
        (("{run}", "--target", "80"), "--target 80: an accuracy is a fraction: 0.8 for 80 %"),
        (("{run}", "--target", "nan"), "--target nan: it must be above 0"),
        (("{run}", "--baseline", "algorithm"), "write AXIS=VALUE"),
        (
            ("{run}", "--baseline", "algorithm=swift"),
            "the runs do not differ in algorithm, nor in anything else",
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
