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
from mnbed.results.comparison import Spread, compare, read_runs

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
            "algorithm": {"name": algorithm, "stale": "drop"},
            "network": {"stragglers": {"count": stragglers}},
            "task": {"name": more.get("task", "digits")},
        }
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
            "dilation": 2.0,
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


def test_a_confidence_interval_by_hand() -> None:
    """Student's t with 2 degrees of freedom at 97.5 %: 4.3027."""
    spread = Spread(values=(1.0, 2.0, 3.0))
    assert (spread.mean, spread.std) == (2.0, 1.0)
    assert spread.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert Spread(values=(1.0,)).half_width is None
    assert Spread(values=()).mean is None


def test_groups_targets_and_speed_ups(run: Run) -> None:
    paths = [run("divshare", seed, slope=0.1) for seed in (1, 2)]
    paths += [run("swift", 1, slope=0.05), run("swift", 2, slope=0.04)]
    runs, _ = read_runs(paths)
    found = compare(runs, baseline={"algorithm": "swift"}, targets=[0.2])
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
    runs, _ = read_runs([run("divshare", slope=0.1), run("swift", slope=0.01)])
    fast, slow = compare(runs, baseline={"algorithm": "swift"}, targets=[]).groups
    assert fast.targets[0].speedup.values == ()
    assert fast.targets[0].at_least == pytest.approx(6 / 2.5)
    assert slow.targets[0].reached == 0


def test_settings_that_differ_make_groups(run: Run) -> None:
    runs, _ = read_runs([run("divshare", stragglers=0), run("divshare", stragglers=4), run("divshare", 2)])
    assert [one.label for one in runs] == ["count=0", "count=4", "count=0"]


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
        (("/nonexistent",), "neither a run directory nor a sweep's"),
        (("{run}", "--baseline", "algorithm"), "write AXIS=VALUE"),
        (("{run}", "--baseline", "algorithm=swift"), "the runs do not differ in algorithm"),
    ],
)
def test_bad_input(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    path = str(run())
    status, _, err = shown(capsys, *(one.replace("{run}", path) for one in arguments))
    assert status == 2
    assert words in err
