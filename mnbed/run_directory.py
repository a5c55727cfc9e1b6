"""The only place that knows the names inside a run directory; `mnbed/records` says what the files hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mnbed.errors import InputError

# Of a folder of runs, the error message lists the newest.
_MAX_LISTED = 5


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run directory."""

    path: Path

    @property
    def experiment(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def nodes(self) -> Path:
        return self.path / "nodes"

    @property
    def controller_journal(self) -> Path:
        return self.nodes / "controller.jsonl"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def evaluation(self) -> Path:
        """Accuracy and loss per node and instant, one JSON object per line."""
        return self.path / "evaluation.jsonl"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def messages(self) -> Path:
        return self.path / "messages.csv"

    @property
    def links(self) -> Path:
        return self.path / "links.csv"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def run_id(self) -> str:
        return self.path.name

    def node_journal(self, node: str) -> Path:
        return self.nodes / f"{node}.jsonl"

    def node_log(self, node: str) -> Path:
        return self.nodes / f"{node}.log"

    def create(self) -> None:
        """Make the directory and its folders. Raises FileExistsError where the run directory is there already."""
        self.path.mkdir(parents=True)
        for folder in (self.nodes, self.snapshots, self.plots):
            folder.mkdir()


def new_run_id(name: str, now: datetime) -> str:
    """20261120-213000-cifar-stragglers"""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
    return f"{now:%Y%m%d-%H%M%S}-{slug}"


def require_folder(path: Path) -> None:
    """Raises InputError where `--out` cannot become a folder, as a file is in the way."""
    for found in (path, *path.parents):
        if found.is_dir():
            return
        if found.exists():
            raise InputError(f"--out {path}: {found} is a file", "give a folder, or none for ./runs")


def require_run(run: RunDirectory) -> None:
    """Raises InputError, naming the newest runs where `run` is the folder that holds them."""
    if run.experiment.is_file():
        return
    if run.path.exists() and not run.path.is_dir():
        raise InputError(
            f"{run.path}: a file, not a run directory",
            "give a run directory, as `mnbed run` names it at its end",
        )
    if not run.path.is_dir():
        raise InputError(
            f"{run.path}: no such directory", "give a run directory, as `mnbed run` names it at its end"
        )
    inside = [path.parent for path in run.path.glob("*/experiment.yaml")]
    newest = sorted(inside, key=lambda path: path.stat().st_mtime, reverse=True)[:_MAX_LISTED]
    if not newest:
        raise InputError(
            f"{run.path} is not a run directory: it has no {run.experiment.name}",
            "give a run directory, as `mnbed run` names it at its end",
        )
    lines = "\n".join(f"    {path}" for path in newest)
    raise InputError(
        f"{run.path} is not a run directory but holds {len(inside)}", f"name one; the newest:\n{lines}"
    )
