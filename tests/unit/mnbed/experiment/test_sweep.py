"""Sweep files: the runs they define, and the messages for wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnbed.errors import InputError
from mnbed.experiment.loading import load_experiment
from mnbed.experiment.sweep import Sweep, load_sweep

ROOT = Path(__file__).parents[4]
SWEEPS = sorted((ROOT / "experiments").rglob("*_sweep.yaml"))


def sweep(folder: Path, text: str, *overrides: str) -> Sweep:
    return load_sweep(write(folder, text), overrides)


def write(folder: Path, text: str) -> Path:
    """The sweep file, next to its base experiment."""
    (folder / "base.yaml").write_text("time: {duration: 20s}\nevaluate: {every: 5s}\n")
    (folder / "s.yaml").write_text(text)
    return folder / "s.yaml"


def test_a_grid_of_named_changes_and_values(tmp_path: Path) -> None:
    found = sweep(
        tmp_path,
        "base: base.yaml\n"
        "set: {time.duration: 30s}\n"
        "grid:\n"
        "  algorithm:\n"
        "    divshare: {algorithm.name: divshare, algorithm.degree: 3}\n"
        "    swift: {algorithm.name: swift}\n"
        "  network.stragglers.count: [0, 2]\n"
        "seeds: [4, 5]\n"
        "baseline: {algorithm: swift}\n",
    )
    assert found.name == "s"
    assert len(found.runs) == 8
    # All cells of one seed before the next seed.
    assert [run.seed for run in found.runs] == [4] * 4 + [5] * 4
    assert [run.label for run in found.runs[:4]] == [
        "divshare, count=0",
        "divshare, count=2",
        "swift, count=0",
        "swift, count=2",
    ]
    run = found.runs[1]
    assert run.name == "divshare-count-2-seed4"
    assert run.experiment.network.stragglers.count == 2
    assert run.experiment.algorithm.degree == 3  # type: ignore[attr-defined]
    assert (run.experiment.time.duration, run.experiment.seed) == (30.0, 4)
    assert len({run.digest for run in found.runs}) == 8
    assert found.baseline == {"algorithm": "swift"}


def test_overrides_of_the_command_line_hold_for_all(tmp_path: Path) -> None:
    found = sweep(tmp_path, "base: base.yaml\nseeds: 3\n", "time.duration=7s", "evaluate.every=1s")
    assert [run.seed for run in found.runs] == [1, 2, 3]
    assert {run.experiment.time.duration for run in found.runs} == {7.0}
    assert found.runs[0].label == "all"


def test_a_sweep_is_not_mistaken_for_an_experiment_nor_the_reverse(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"base\.yaml: an experiment, not a sweep"):
        load_sweep(write(tmp_path, "base: base.yaml\n").parent / "base.yaml")
    with pytest.raises(InputError, match=r"s\.yaml: this is a sweep, not an experiment"):
        load_experiment(write(tmp_path, "base: base.yaml\nseeds: 2\n"))


def test_a_seed_on_the_command_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--set seed=3: a sweep lists its seeds"):
        sweep(tmp_path, "base: base.yaml\n", "seed=3")


@pytest.mark.parametrize("spelling", ["AD_PSGD", "ad-psgd", "Ad-Psgd"])
@pytest.mark.parametrize("baseline", ["ad_psgd", "AD-PSGD"])
@pytest.mark.parametrize(
    "grid",
    [
        "algorithm.name: [{}, DivShare]",
        "algorithm: [{}, DivShare]",
        "algorithm: {{{}: {{algorithm.name: {}}}, DIVSHARE: {{}}}}",
    ],
)
def test_an_algorithm_has_one_spelling_in_labels_names_and_baselines(
    tmp_path: Path, grid: str, spelling: str, baseline: str
) -> None:
    text = (
        f"base: base.yaml\ngrid:\n  {grid.format(spelling, spelling)}\nbaseline: {{algorithm: {baseline}}}\n"
    )
    found = sweep(tmp_path, text)
    assert [run.label for run in found.runs] == ["ad-psgd", "divshare"]
    assert [run.name for run in found.runs] == ["ad-psgd-seed1", "divshare-seed1"]
    assert list(found.baseline.values()) == ["ad-psgd"]
    assert [run.experiment.algorithm.name for run in found.runs] == ["ad-psgd", "divshare"]


@pytest.mark.parametrize("baseline", ["network.stragglers.factor: 5", "stragglers.factor: factor=5"])
def test_a_baseline_is_a_value_or_what_it_is_shown_as(tmp_path: Path, baseline: str) -> None:
    text = f"base: base.yaml\ngrid: {{network.stragglers.factor: [1, 5]}}\nbaseline: {{{baseline}}}\n"
    assert sweep(tmp_path, text).baseline == {"network.stragglers.factor": "factor=5"}


def test_axes_with_the_same_ending_are_distinguished(tmp_path: Path) -> None:
    grid = "{network.stragglers.count: [0, 2], compute.slow_nodes.count: [1]}"
    found = sweep(tmp_path, f"base: base.yaml\ngrid: {grid}\n")
    assert found.runs[1].label == "stragglers.count=2, slow_nodes.count=1"


def test_another_text_of_ones_own_algorithm_is_another_run(tmp_path: Path) -> None:
    source = "from node_agent.algorithms.local import Local\n\n\nclass Mine(Local):\n    pass\n"
    (tmp_path / "mine.py").write_text(source)
    text = (
        "base: base.yaml\nset: {algorithm.name: mine, algorithm.module: " + str(tmp_path / "mine.py") + "}\n"
    )
    before = sweep(tmp_path, text).runs[0].digest
    assert sweep(tmp_path, text).runs[0].digest == before
    (tmp_path / "mine.py").write_text(source + "# another thought\n")
    assert sweep(tmp_path, text).runs[0].digest != before


def test_what_is_compared_shares_its_setting(tmp_path: Path) -> None:
    found = sweep(
        tmp_path,
        "base: base.yaml\n"
        "grid:\n"
        "  algorithm: {divshare: {algorithm.name: divshare}, swift: {algorithm.name: swift}}\n"
        "  network.stragglers.count: [0, 2]\n"
        "  compute.step_time: [20ms, 10ms]\n"
        "seeds: 2\n"
        "baseline: {compute.step_time: 20ms}\n",
    )
    assert found.compared == {"algorithm", "compute.step_time"}
    assert {found.setting(run) for run in found.runs} == {
        (("network.stragglers.count", "count=0"),),
        (("network.stragglers.count", "count=2"),),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid: {}\n", "s.yaml: base: missing"),
        ("base: base.yaml\ngird: {}\n", "s.yaml:2: gird: no such key; did you mean grid?"),
        ("base: none.yaml\n", "none.yaml: no such file"),
        ("base: base.yaml\ngrid: {time.duration: []}\n", "grid.time.duration: it must be a list of values"),
        ("base: base.yaml\ngrid: {time.duration: [3]}\n", "time.duration"),
        ("base: base.yaml\ngrid: {a: {x: 3}}\n", "grid.a.x: it must be a mapping"),
        ("base: base.yaml\nseeds: [1, 1]\n", "seeds: got [1, 1]"),
        ("base: base.yaml\nseeds: 0\n", "seeds: got 0;"),
        ("base: base.yaml\nseeds: 20000\n", "seeds: got 20000; at most 10,000 runs are allowed"),
        ("base: base.yaml\nseeds: 2199023255552\n", "seeds: got 2199023255552; at most 10,000"),
        ("base: base.yaml\nseeds: 9223372036854775808\n", "seeds: got 9223372036854775808; at most 10,000"),
        ("base: base.yaml\nseeds: 5001\ngrid: {task.lr: [0.1, 0.2]}\n", "10,002 runs; at most 10,000"),
        ("base: base.yaml\nname: a/b\n", "name: got 'a/b'"),
        (
            "base: base.yaml\nbaseline: {algorithm: x}\n",
            "s.yaml:2: baseline algorithm=x: the runs do not differ",
        ),
        (
            "base: base.yaml\ngrid: {n: {one: {}, two: {time.duration: 9s}}}\nbaseline: {n: too}\n",
            "baseline n=too: no such value; did you mean two?",
        ),
        (
            "base: base.yaml\ngrid: {seed: [1, 2]}\n",
            "grid.seed: seed: a sweep lists its seeds under `seeds`",
        ),
        ("base: [base.yaml]\n", "s.yaml:1: base: got ['base.yaml']; it must be an experiment file"),
        ("base: s.yaml\n", "s.yaml: this is a sweep, not an experiment"),
        (
            "base: base.yaml\ngrid: {algorithm.name: [swfit]}\n",
            "s.yaml: algorithm.name: unknown algorithm 'swfit'",
        ),
        ("base: base.yaml\nset: {time.duration: 3}\n", "s.yaml: time.duration: got 3; time needs a unit"),
        (
            "base: base.yaml\ngrid: {n: {a: {task.lr: 1}}, task.lr: [2]}\n",
            "grid.task.lr: task.lr is already changed by the axis n",
        ),
        ("base: base.yaml\nset: {seed: 2}\n", "set: seed: a sweep lists its seeds"),
        ("base: base.yaml\ngrid: {n: {one: {name: x}}}\n", "grid.n.one: name: a sweep's runs are named by"),
        (
            "base: base.yaml\ngrid: {algorithm.name: [ad-psgd, AD_PSGD]}\n",
            "s.yaml:2: grid.algorithm.name: ad-psgd is given more than once",
        ),
        (
            "base: base.yaml\ngrid: {n: {a b: {}, a/b: {time.duration: 9s}}}\n",
            "'a b' and 'a/b' differ only in characters",
        ),
        ("base: base.yaml\nset: {algorithm.nam: x}\n", "did you mean name?"),
    ],
)
def test_problems_name_their_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        sweep(tmp_path, text)
    assert words in str(error.value)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_shipped_sweep_loads_and_says_what_it_shows(path: Path) -> None:
    assert load_sweep(path).runs
    head = " ".join(line for line in path.read_text().splitlines()[:4] if line.startswith("# "))
    assert "Shows" in head
    assert "Takes" in head
