"""Prints a run's summary as a short table, for `mnbed run` and `mnbed report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnbed.results.fidelity import FAITHFUL
from mnbed.results.notes import notes
from mnbed.results.summary import COMPLETED, Summary, task_score
from mnbed.results.text import fraction, number, score, seconds, size

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(summary: Summary, console: Console) -> None:
    """Print the outcome of the run: status and verdict with their reasons, then the numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, text, style in _rows(summary):
        table.add_row(what, Text(text, style=style))
    console.print(table)


def _rows(summary: Summary) -> list[tuple[str, str, str]]:
    """(what, text, style)"""
    accuracy, loss, traffic, rounds = summary.accuracy, summary.loss, summary.traffic, summary.rounds
    rows = [
        ("run", f"{summary.name or summary.run_id}: {summary.algorithm} on {summary.task}", ""),
        ("status", summary.status, "green" if summary.status == COMPLETED else "red"),
        ("verdict", summary.verdict, "green" if summary.verdict == FAITHFUL else "yellow"),
        *(("", f"- {reason}", "yellow") for reason in summary.reasons),
    ]
    if summary.error is not None and summary.error not in summary.reasons:
        rows.append(("error", summary.error, "red"))
    if summary.standin:
        rows.append(("data", f"STAND-IN, generated: {summary.data}", "yellow"))
    if accuracy.final_mean is not None or not summary.scores:
        text = (
            f"{fraction(accuracy.final_mean)} mean of nodes, {fraction(accuracy.mean_model)} averaged model"
        )
        rows.append(("accuracy", text, ""))
    rows += [
        (key, f"{number(further.final_mean)} mean of nodes, {number(further.mean_model)} averaged model", "")
        for key, further in summary.scores.items()
    ]
    rows += [
        ("loss", f"{number(loss.final_mean)} mean of nodes, {number(loss.mean_model)} averaged model", ""),
    ]
    if summary.stragglers:
        compared = task_score(summary)
        slow = score(compared.stragglers_final_mean, summary.metric)
        others = score(compared.others_final_mean, summary.metric)
        rows.append(("stragglers", f"{summary.stragglers}: {summary.metric} {slow}, others {others}", ""))
    for target, t in summary.time_to.items():
        rows.append((f"to {target}", "not reached" if t is None else f"{seconds(t)} emulated", ""))
    rows += [("note", note, "") for note in notes(summary)]
    return [
        *rows,
        ("rounds", f"{number(rounds.mean)} per node ({number(rounds.min)} to {number(rounds.max)})", ""),
        (
            "traffic",
            f"{size(traffic.bytes_sent)} sent, {number(traffic.fragments_dropped_stale)} stale fragments dropped",
            "",
        ),
        ("time", f"{seconds(summary.emulated_s)} emulated in {seconds(summary.wall_s)}", ""),
    ]
