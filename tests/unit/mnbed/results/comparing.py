"""Made-up run directories and sweeps to compare, and `mnbed compare` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnbed.cli import main
from mnbed.records.sweep import SweepEntry, SweepRecord, write_sweep

Run = Callable[..., Path]


@pytest.fixture(name="run")
def compared_run(tmp_path: Path) -> Run:
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


@pytest.fixture(name="sweep")
def compared_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep's directory of runs that are there."""

    def make(name: str, entries: list[tuple[str, Path | None, int]], **more: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        runs = tuple(
            SweepEntry(
                cell={"algorithm": label},
                label=label,
                seed=seed,
                digest="d",
                status=None if path is None else "completed",
                directory=None if path is None else f"../{path.name}",
            )
            for label, path, seed in entries
        )
        write_sweep(folder, SweepRecord(name=name, base="base.yaml", runs=runs, **more))
        return folder

    return make


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err
