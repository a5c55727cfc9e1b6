"""A sweep as a user runs it: every algorithm over real links, a failed run that stops no other, resuming, comparing."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.conftest import CHECKOUT, QUICKSTART, SHORT, Cli, marked_processes, wait_until

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

EXAMPLE = re.findall(
    r"```python\n(.*?)```", (CHECKOUT / "docs" / "adding-an-algorithm.md").read_text(), re.DOTALL
)[0]


def changes(*texts: str) -> dict[str, Any]:
    return {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in texts)}


@pytest.fixture
def sweep(cli: Cli) -> Path:
    folder = cli.out / "mine"
    folder.mkdir()
    own = EXAMPLE.replace("node_agent.algorithms._interface", "node_agent.algorithms")
    (folder / "push_one.py").write_text(own)
    # Agents run as root here, but in a user's folder they would not.
    (folder / "base.yaml").write_text(QUICKSTART.read_text())
    grid = {
        "algorithm": {
            "ad-psgd": changes("algorithm.name=ad-psgd"),
            "d-psgd": changes("algorithm.name=d-psgd"),
            "el-local": changes("algorithm.name=el-local", "algorithm.degree=2"),
            "swift": changes("algorithm.name=swift"),
            "mine": changes("algorithm.name=push-one", f"algorithm.module={folder / 'push_one.py'}"),
            # There are not so many samples.
            "broken": changes("algorithm.name=local", "task.partition.shards=5000"),
        }
    }
    data = {"base": "base.yaml", "set": changes(*SHORT, "time.duration=2s"), "grid": grid, "seeds": [1]}
    (folder / "all.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "all.yaml"


@pytest.mark.slow
def test_a_sweep_of_all_algorithms(cli: Cli, sweep: Path) -> None:
    cli.patience_s = 200
    done = cli("sweep", str(sweep), "--out", str(cli.out / "runs"), "--no-report")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 6 runs did not complete" in done.stderr
    assert "broken, seed 1: mnbed: error: " in done.stderr
    assert "task.partition.shards: got 5000" in done.stderr
    directory = cli.out / "runs" / "all"
    index = json.loads((directory / "sweep.json").read_text())["runs"]
    assert [entry["status"] for entry in index] == ["completed"] * 5 + ["failed"]
    for entry in index[:5]:
        summary = json.loads((directory / entry["directory"] / "summary.json").read_text())
        assert summary["rounds"]["min"] >= 3, entry
        assert summary["traffic"]["fragments_received"] > 0, entry
        assert summary["exchange"]["stragglers"]["copies_per_round"] > 0, entry

    # What has completed is not repeated: only the broken one runs again, mended.
    again = cli(
        "sweep", str(sweep), "--out", str(cli.out / "runs"), "--no-report", "--set", "task.partition.shards=4"
    )
    assert again.returncode == 1  # the cell's own change has the last word
    assert "5 of 6 runs are already complete" in again.stdout

    # One dilation for all that is compared.
    assert len({entry["dilation"] for entry in index[:5]}) == 1
    kept = [
        yaml.safe_load((directory / entry["directory"] / "experiment.yaml").read_text())
        for entry in index[:5]
    ]
    assert {one["time"]["dilation"] for one in kept} == {index[0]["dilation"]}

    compared = cli(
        "compare", str(directory), "--anyway", "--baseline", "algorithm=AD_PSGD", "--target", "0.2"
    )
    assert compared.returncode == 0, compared.stderr
    assert "1 of 6 runs have not completed and are left out: broken seed 1 (failed)" in compared.stdout
    with (directory / "compare" / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == ["ad-psgd", "d-psgd", "el-local", "swift", "mine"]
    for row, entry in zip(rows, index, strict=False):
        summary = json.loads((directory / entry["directory"] / "summary.json").read_text())
        assert float(row["final_mean"]) == summary["accuracy"]["final_mean"]
        assert float(row["rounds_mean"]) == summary["rounds"]["mean"]
        assert row["seeds"] == "1"
    page = (directory / "compare" / "compare.html").read_text()
    assert "speed-up" in page
    assert "<svg" in page


def test_an_interrupted_sweep_keeps_what_it_has(cli: Cli) -> None:
    (cli.out / "base.yaml").write_text(QUICKSTART.read_text())
    (cli.out / "long.yaml").write_text(
        yaml.safe_dump({"base": "base.yaml", "set": changes(*SHORT, "time.duration=60s"), "seeds": [1, 2]})
    )
    process = cli.start("sweep", str(cli.out / "long.yaml"), "--out", str(cli.out / "runs"), "--no-report")
    directory = cli.out / "runs" / "long"
    wait_until(
        lambda: any('"event":"round"' in path.read_text() for path in directory.glob("*/nodes/h1.jsonl")),
        "no round",
    )
    process.terminate()
    done = cli.finish(process)
    assert done.returncode == 130, done.stdout + done.stderr
    assert "continues from here" in done.stderr
    index = json.loads((directory / "sweep.json").read_text())["runs"]
    assert [entry["status"] for entry in index] == ["interrupted", None]
    summary = json.loads((directory / index[0]["directory"] / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    wait_until(lambda: marked_processes() == [], "processes stay")
