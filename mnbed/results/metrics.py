"""metrics.csv: one row per node and instant. Every column is a Metric: name, unit, meaning, function.

To add a derived metric, add a line to METRICS. Counters (node_agent.counters) and further scores of a task become
columns automatically.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mnbed.results.collect import Collected, NodeRecords
from mnbed.results.files import replacing
from mnbed.results.scores import Scores
from node_agent.counters import Counters
from node_agent.records import Snapshot


@dataclass(frozen=True, kw_only=True)
class Instant:
    """Everything known about a node at an instant."""

    node: NodeRecords
    snapshot: Snapshot
    scores: Scores

    def score(self, key: str) -> float | None:
        """That score of the node's own model; None if it was not evaluated."""
        return self.scores.value(self.node.name, self.snapshot["instant"], key)


@dataclass(frozen=True)
class Metric:
    """One column."""

    name: str
    unit: str
    meaning: str
    value: Callable[[Instant], Any]
    """None becomes an empty cell."""


def _of_snapshot(name: str) -> Callable[[Instant], Any]:
    return lambda instant: instant.snapshot.get(name)


def _of_score(key: str) -> Callable[[Instant], Any]:
    return lambda instant: instant.score(key)


def _emulated_s(instant: Instant) -> Any:
    return instant.snapshot.get("instant_s", instant.snapshot.get("t"))


METRICS = (
    Metric("node", "", "host name", lambda instant: instant.node.name),
    Metric("instant", "", "number of the snapshot, from 0", _of_snapshot("instant")),
    Metric("emulated_s", "s", "emulated time of the snapshot", _emulated_s),
    Metric(
        "taken_s",
        "s",
        "the same, or later if late steps had changed the model before the snapshot",
        _of_snapshot("taken_s"),
    ),
    Metric("round", "", "rounds finished", _of_snapshot("round")),
    Metric("steps", "", "local steps done", _of_snapshot("steps")),
    Metric("train_loss", "", "mean training loss of the last finished round", _of_snapshot("train_loss")),
    Metric("loss", "", "test loss of the node's own model", _of_score("loss")),
    Metric("accuracy", "fraction", "test accuracy of the node's own model", _of_score("accuracy")),
)
LAST_METRICS = (
    Metric(
        "staleness_s",
        "s",
        "mean time since sending of the fragments averaged in last",
        _of_snapshot("staleness_s"),
    ),
)


def _unit(counter: str) -> str:
    return "bytes" if counter.startswith("bytes_") else "s" if counter.endswith("_s") else ""


def columns(scores: Scores) -> list[Metric]:
    """Every column of metrics.csv, in order."""
    known = {metric.name for metric in METRICS}
    counted = [
        Metric(item.name, _unit(item.name), "total since the start", _of_snapshot(item.name))
        for item in fields(Counters)
    ]
    more = [
        Metric(key, "", "score of the task", _of_score(key)) for key in scores.names() if key not in known
    ]
    return [*METRICS, *counted, *LAST_METRICS, *more]


def rows(collected: Collected, scores: Scores) -> Iterator[list[Any]]:
    """The cells of every row, in the order of nodes and instants."""
    metrics = columns(scores)
    for node in collected.nodes.values():
        for snapshot in node.snapshots:
            if "instant" in snapshot:
                instant = Instant(node=node, snapshot=snapshot, scores=scores)
                yield [metric.value(instant) for metric in metrics]


def write_metrics(path: Path, collected: Collected, scores: Scores) -> None:
    """Write metrics.csv; unknown values are empty cells."""
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(metric.name for metric in columns(scores))
        writer.writerows(rows(collected, scores))
