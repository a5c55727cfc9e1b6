"""Dilation changes how long a run takes, and nothing that is counted in emulated time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import CHECKOUT, Cli, sets

pytestmark = pytest.mark.root

# Small enough for real time on any machine: four nodes with 50 steps a second of a small perceptron. Each round a node
# has 19 kB for every other: links of 1 Mbit/s carry two thirds of that, a straggler's a third.
SMALL = (
    "time.duration=3s",
    "evaluate.every=3s",
    "evaluate.samples=50",
    "network.topology.nodes=4",
    "network.link.bandwidth=1mbit",
    "network.link.delay=10ms",
    "network.stragglers.count=1",
    "network.stragglers.factor=2",
    "compute.step_time=20ms",
)


def counted(run: Path) -> dict[str, float]:
    """Sums over all nodes at the end of the run."""
    totals = {"rounds": 0.0, "bytes_sent": 0.0, "bytes_received": 0.0, "fragments_aggregated": 0.0}
    for path in (run / "nodes").glob("h*.jsonl"):
        for line in path.read_text().splitlines():
            record: dict[str, Any] = json.loads(line)
            if record["event"] == "round":
                totals["rounds"] += 1
            elif record["event"] == "end":
                for name in ("bytes_sent", "bytes_received", "fragments_aggregated"):
                    totals[name] += record[name]
    return totals


def test_rounds_and_traffic_are_the_same_at_dilation_1_and_4(cli: Cli) -> None:
    found = {}
    for dilation in (1, 4):
        done = cli.run(*SMALL, f"time.dilation={dilation}", options=["--no-report"])
        assert done.returncode == 0, done.stderr
        found[dilation] = counted(cli.directory())
    assert found[4]["rounds"] == pytest.approx(found[1]["rounds"], rel=0.03)
    # Links of 1 Mbit/s that were busy all the time.
    assert found[1]["bytes_sent"] > 0.7 * 3.5 * 3 * 1e6 / 8
    for name in ("bytes_sent", "bytes_received", "fragments_aggregated"):
        assert found[4][name] == pytest.approx(found[1][name], rel=0.05), name


def test_auto_gives_a_heavy_experiment_more_time(cli: Cli) -> None:
    heavy = ("compute.step_time=100us", "time.duration=2s", "evaluate.every=1s", "time.dilation=auto")
    done = cli("plan", str(CHECKOUT / "experiments" / "quickstart.yaml"), *sets(*heavy))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  dilation ")]
    assert float(line.split()[1]) > 1
    assert "warning" not in done.stdout
