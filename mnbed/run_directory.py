"""The only place that knows the names inside a run directory; `mnbed/records` says what the files hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mnbed.errors import InputError

# How many runs an error message lists, newest first.
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
        """The scores per node and instant, one JSON object per line."""
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
        """Make the directory and its folders. Raises FileExistsError if it already exists."""
        self.path.mkdir(parents=True)
        for folder in (self.nodes, self.snapshots, self.plots):
            folder.mkdir()


def new_run_id(name: str, now: datetime) -> str:
    """20261120-213000-cifar-stragglers"""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
    return f"{now:%Y%m%d-%H%M%S}-{slug}"


def require_folder(path: Path) -> None:
    """Raises InputError if `--out` cannot become a folder because a file is in the way."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return
        if folder.exists():
            raise InputError(f"--out {path}: {folder} is a file", "give a folder, or leave it out for ./runs")


def require_run(run: RunDirectory) -> None:
    """Raises InputError if `run` is not a run directory; if it holds some, the message lists the newest."""
    if run.experiment.is_file():
        return
    if run.path.exists() and not run.path.is_dir():
        raise InputError(
            f"{run.path} is a file, not a run directory",
            "give a run directory; `mnbed run` prints its name at the end",
        )
    if not run.path.is_dir():
        raise InputError(
            f"{run.path}: no such directory", "give a run directory; `mnbed run` prints its name at the end"
        )
    inside = [path.parent for path in run.path.glob("*/experiment.yaml")]
    newest = sorted(inside, key=lambda path: path.stat().st_mtime, reverse=True)[:_MAX_LISTED]
    if not newest:
        raise InputError(
            f"{run.path} is not a run directory: it has no {run.experiment.name}",
            "give a run directory; `mnbed run` prints its name at the end",
        )
    lines = "\n".join(f"    {path}" for path in newest)
    raise InputError(
        f"{run.path} is not a run directory, but contains {len(inside)}",
        f"give one of them; the newest:\n{lines}",
    )
