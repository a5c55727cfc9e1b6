"""60 agents with GN-LeNet: from launch to the start barrier, and memory per agent.

    sudo .venv/bin/python bench/launch.py [--nodes 60] [--repeat 3]

Whole runs of two emulated seconds on the stand-in for CIFAR-10 (only the images' shapes matter here). For comparison:
the same interpreter's bare `import torch`, which every agent would have to do without the warm parent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _network import FACTS, median, table
from rich.console import Console

from mnbed.experiment.sections import parse
from mnbed.plan.make import make_plan
from mnbed.run.job import Job


def launch(nodes: int, folder: Path) -> tuple[float, float, float]:
    """(seconds from launch to barrier, seconds from the command to the barrier, megabytes per agent)"""
    experiment = parse(
        {
            "name": "launch",
            "data_root": str(folder / "data"),
            "network": {"topology": {"kind": "star", "nodes": nodes}},
            "task": {"name": "cifar10", "on_missing": "synthetic", "local_steps": 1},
            "compute": {"step_time": "1s"},
            "time": {"duration": "2s"},
            "evaluate": {"every": "2s", "samples": 1},
        }
    )
    job = Job(make_plan(experiment, FACTS), out=folder, report=False, console=Console(quiet=True))
    outcome = job.execute()
    if outcome.error is not None:
        raise outcome.error
    records = [json.loads(line) for line in outcome.run.controller_journal.read_text().splitlines()]
    begun = next(r["wall_s"] for r in records if r["event"] == "phase" and r["name"].startswith("starting"))
    finished = next(r for r in records if r["event"] == "finished")
    return finished["startup_s"] - begun, finished["startup_s"], finished["agent_memory_mb"]


def import_torch() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for number in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            # Results are written by the user behind sudo.
            Path(folder).chmod(0o777)
            rows.append((*launch(options.nodes, Path(folder)), import_torch()))
        print(f"run {number + 1} of {options.repeat} done", file=sys.stderr)
    medians = tuple(median([row[column] for row in rows]) for column in range(4))
    table(
        f"{options.nodes} agents with GN-LeNet",
        (
            "",
            "launch to barrier s",
            "command to barrier s",
            "PSS per agent MB",
            f"{options.nodes} x import torch s",
        ),
        [
            (name, f"{a:.2f}", f"{b:.2f}", f"{c:.1f}", f"{options.nodes * d:.0f}")
            for name, (a, b, c, d) in [
                *((f"run {i + 1}", row) for i, row in enumerate(rows)),
                ("median", medians),
            ]
        ],
    )


if __name__ == "__main__":
    main()
