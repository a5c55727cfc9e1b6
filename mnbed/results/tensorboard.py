"""Writes a run's scores and counters as TensorBoard event files, if the package tensorboard is installed.

Steps are emulated milliseconds, because TensorBoard's are integers; wall times are emulated times too, so that the
"relative" axis shows emulated time. One run per node, one for the mean over nodes, one for the averaged model.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from mnbed.errors import MachineError
from mnbed.results.collect import Collected
from mnbed.results.metrics import columns
from mnbed.results.scores import MEAN_MODEL, Scores
from mnbed.run_directory import RunDirectory

_NOT_SCALARS = {"node", "instant", "emulated_s"}


def write_tensorboard(run: RunDirectory, collected: Collected, scores: Scores) -> Path:
    """Write tensorboard/ in the run directory; returns it. Raises MachineError if the package is missing."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise MachineError(
            "--tensorboard: the package tensorboard is not installed",
            "pip install tensorboard, into mnbed's .venv",
        ) from None
    folder = run.path / "tensorboard"
    for name, rows in _series(run, collected, scores):
        # Files of an earlier call would be shown as well.
        for old in (folder / name).glob("events.out.tfevents.*"):
            old.unlink()
        writer = EventFileWriter(str(folder / name))
        try:
            for t, key, value in rows:
                summary = Summary(value=[Summary.Value(tag=key, simple_value=value)])
                writer.add_event(Event(wall_time=t, step=round(1e3 * t), summary=summary))
        finally:
            writer.close()
    return folder


def _series(
    run: RunDirectory, collected: Collected, scores: Scores
) -> Iterator[tuple[str, list[tuple[float, str, float]]]]:
    """(run's name, rows of emulated time, tag, value)"""
    names = [column.name for column in columns(scores) if column.name not in _NOT_SCALARS]
    by_node: dict[str, list[tuple[float, str, float]]] = {node: [] for node in collected.nodes}
    with run.metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["emulated_s"]:
                by_node[row["node"]] += [
                    (float(row["emulated_s"]), name, float(row[name])) for name in names if row.get(name)
                ]
    yield from by_node.items()
    for label, nodes in (("mean_of_nodes", set(collected.nodes)), ("averaged_model", {MEAN_MODEL})):
        rows = []
        for key in scores.names():
            curve = scores.curve(key, nodes)
            rows += [(t, key, mean) for t, mean in zip(curve.t, curve.mean, strict=True)]
        yield label, rows
