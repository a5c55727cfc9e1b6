"""Prints a run's summary as a short table, for `mnbed run` and `mnbed report`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mnbed.records.outcome import COMPLETED, FAITHFUL
from mnbed.results.notes import notes
from mnbed.results.summary import ScoreSummary, Summary, task_score
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
    traffic, rounds = summary.traffic, summary.rounds
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
    return [
        *rows,
        *((what, text, "") for what, text in _score_rows(summary)),
        *(("note", note, "") for note in notes(summary)),
        ("rounds", f"{number(rounds.mean)} per node ({number(rounds.min)} to {number(rounds.max)})", ""),
        (
            "traffic",
            f"{size(traffic.bytes_sent)} sent, {number(traffic.fragments_dropped_stale)} stale fragments dropped",
            "",
        ),
        ("time", f"{seconds(summary.emulated_s)} emulated in {seconds(summary.wall_s)}", ""),
    ]


def _score_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """(what, text): how good the models were, and when they reached the targets."""

    def of_models(values: ScoreSummary, form: Callable[[float | None], str]) -> str:
        return f"{form(values.final_mean)} mean of nodes, {form(values.mean_model)} averaged model"

    if summary.accuracy.final_mean is not None or not summary.scores:
        yield "accuracy", of_models(summary.accuracy, fraction)
    for key, values in summary.scores.items():
        yield key, of_models(values, number)
    yield "loss", of_models(summary.loss, number)
    if summary.stragglers:
        compared = task_score(summary)
        slow = score(compared.stragglers_final_mean, summary.metric)
        others = score(compared.others_final_mean, summary.metric)
        yield "stragglers", f"{summary.stragglers}: {summary.metric} {slow}, others {others}"
    for target, t in summary.time_to.items():
        yield f"to {target}", "not reached" if t is None else f"{seconds(t)} emulated"
