"""Made-up run directories and sweeps to compare, and `mnbed compare` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnbed.cli import main
from mnbed.records.outcome import COMPLETED, FAITHFUL
from mnbed.records.sweep import SweepEntry, SweepRecord, write_sweep
from mnbed.results.summary import (
    RoundsSummary,
    ScoreSummary,
    Summary,
    TrafficSummary,
    WaitSummary,
    write_summary,
)
from mnbed.run_directory import RunDirectory

Run = Callable[..., Path]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A finished run of two nodes and 6 s: change fields, then `write`."""

    algorithm: str = "divshare"
    seed: int = 1
    slope: float = 0.1
    """Accuracy rises by it each second, from 0.1."""
    stragglers: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the algorithm."""
    task: str = "digits"
    lr: Any = 0.1
    duration: str = "6s"
    targets: Sequence[float] = ()
    mnbed: str = "0.1.0"
    data: str = "d"
    partition: Sequence[Sequence[int]] | None = None
    """None: drawn from the seed."""
    slow: Collection[str] = ()
    """Names of the straggling hosts."""
    left: Mapping[str, Any] = field(default_factory=lambda: {"time.dilation": "auto"})
    """What the experiment left to the machine."""
    digest: str | None = None
    standin: bool = False
    status: str = COMPLETED
    verdict: str = FAITHFUL
    dilation: float = 2.0
    time_to: Mapping[str, float | None] = field(default_factory=lambda: {"0.35": None})

    def write(self, path: Path) -> Path:
        run = RunDirectory(path)
        run.create()
        run.environment.write_text(json.dumps(self.environment()))
        run.experiment.write_text(yaml.safe_dump(self.experiment()))
        write_summary(run.summary, self.summary(run.run_id))
        rows = [f"h{node},{t},{t * 500_000}" for t in range(7) for node in (1, 2)]
        run.metrics.write_text("node,emulated_s,bytes_sent\n" + "\n".join(rows) + "\n")
        return path

    def experiment(self) -> dict[str, Any]:
        return {
            "name": "x",
            "seed": self.seed,
            "algorithm": {"name": self.algorithm, "stale": "drop", **self.settings},
            "network": {"stragglers": {"count": self.stragglers}, "delay_backend": "netem"},
            "task": {"name": self.task, "lr": self.lr},
            "time": {"duration": self.duration, "dilation": "auto"},
            "evaluate": {"every": "1s", "targets": list(self.targets)},
        }

    def environment(self) -> dict[str, Any]:
        return {
            "mnbed": self.mnbed,
            "data": self.data,
            "partition": [[10 * self.seed]] if self.partition is None else self.partition,
            "hosts": [
                {"name": name, "straggler": name in self.slow, "step_time_s": 0.02, "peers": ["h1", "h2"]}
                for name in ("h1", "h2")
            ],
            "left_to_machine": self.left,
            "algorithm_digest": self.digest,
        }

    def summary(self, run_id: str) -> Summary:
        curve = [[t, round(0.1 + self.slope * t, 6), 0.01] for t in range(7)]
        return Summary(
            run_id=run_id,
            name="x",
            algorithm=self.algorithm,
            task=self.task,
            data=self.data,
            standin=self.standin,
            seed=self.seed,
            nodes=2,
            stragglers=self.stragglers,
            status=self.status,
            error=None,
            emulated_s=6.0,
            wall_s=9.0,
            dilation=self.dilation,
            delay_backend="netem",
            switch="bridge",
            verdict=self.verdict,
            reasons=[],
            accuracy=ScoreSummary(final_mean=curve[-1][1], mean_model=0.9, curve=curve),
            loss=ScoreSummary(),
            metric="accuracy",
            best="max",
            scores={},
            exchange={},
            rounds=RoundsSummary(mean=10.0, min=10, max=10),
            waits=WaitSummary(),
            traffic=TrafficSummary(
                bytes_sent=6_000_000,
                bytes_received=6_000_000,
                fragments_sent=1,
                fragments_dropped_stale=0,
                fragments_received=1,
                frames_rejected=0,
            ),
            time_to=dict(self.time_to),
            startup_s=1.0,
            teardown_s=1.0,
            agent_memory_mb=1.0,
        )


@pytest.fixture(name="run")
def compared_run(tmp_path: Path) -> Run:
    """Writes the run directory of a ComparedRun with those fields."""

    def make(algorithm: str = "divshare", seed: int = 1, slope: float = 0.1, **fields: Any) -> Path:
        made_up = ComparedRun(algorithm=algorithm, seed=seed, slope=slope, **fields)
        number = len(list(tmp_path.iterdir()))
        return made_up.write(tmp_path / f"{algorithm}-{made_up.stragglers}-{seed}-{number}")

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
                status=None if path is None else COMPLETED,
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
