"""Presents a comparison: a table on the console, an HTML page, a figure, and CSV files for users' own figures."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnbed.errors import InputError
from mnbed.results.compared_runs import ComparedRun
from mnbed.results.comparison import Comparison, Group, Spread, Target
from mnbed.results.files import replacing
from mnbed.results.likeness import seeds, seeds_text
from mnbed.results.page import Column, Table, template
from mnbed.results.plot_style import new_figure, save, style
from mnbed.results.text import UNKNOWN, fraction, number, seconds, size
from mnbed.results.text import score as score_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

# The palette of Okabe and Ito, as in the other figures; dashes help those who cannot tell the colours apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1d21", "#6b7078")
_RUNS = "runs.csv"
_TARGET_NOTE = (
    'The time to a target is interpolated linearly between two evaluations. ">" marks a speed-up whose baseline never '
    "reached the target: the baseline's whole duration divided by the time needed."
)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


def spread_text(spread: Spread, form: Any) -> str:
    """ "12.3 s ± 0.4 s": mean and standard deviation over the seeds."""
    if spread.mean is None:
        return UNKNOWN
    return form(spread.mean) if spread.std is None else f"{form(spread.mean)} ± {form(spread.std)}"


def target_text(target: Target) -> str:
    """Time to a target, and how many seeds reached it if not all did."""
    if not target.reached:
        return "not reached"
    text = spread_text(target.times_s, seconds)
    return text if target.reached == target.of else f"{text} ({target.reached} of {target.of} seeds)"


def speedup_text(target: Target, is_baseline: bool) -> str:
    """ "2.10 x (1.95 to 2.30)": the mean over seeds and their range."""
    if is_baseline:
        return "baseline"
    values = target.speedup.values
    if values:
        mean = sum(values) / len(values)
        return (
            f"{mean:.2f} x" if len(values) == 1 else f"{mean:.2f} x ({min(values):.2f} to {max(values):.2f})"
        )
    return UNKNOWN if target.at_least is None else f"> {target.at_least:.2f} x"


def table_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """(header, a row per group)"""
    metric = comparison.metric
    header = ["", "seeds", f"final {metric}", "stragglers", "averaged model", "rounds", "sent"]
    for score in comparison.targets:
        shown = f"{score:g}" if metric != "accuracy" else fraction(score)
        header += [
            f"to {shown}",
            *([_speedup_name(comparison)] if comparison.baseline else []),
            "bytes to it",
        ]
    header.append("verdict")
    rows = []
    for group in comparison.groups:
        row = [
            group.marked(group.label),
            seeds_text(group.runs),
            spread_text(group.final, lambda value: score_text(value, metric)),
            spread_text(group.stragglers_final, lambda value: score_text(value, metric)),
            spread_text(group.mean_model, lambda value: score_text(value, metric)),
            spread_text(group.rounds, lambda value: number(float(f"{value:.3g}"))),
            spread_text(group.gigabytes, lambda value: size(value * 1e9)),
        ]
        for target in group.targets:
            row.append(target_text(target))
            if comparison.baseline:
                row.append(speedup_text(target, group.is_baseline))
            row.append(spread_text(target.bytes, size))
        rows.append([*row, group.verdicts])
    return header, rows


def _speedup_name(comparison: Comparison) -> str:
    return "speed-up, unpaired" if comparison.unpaired else "speed-up"


def _notes(comparison: Comparison) -> list[str]:
    """The notes above the table."""
    notes = [f"warning: {warning}" for warning in comparison.warnings]
    if comparison.standin:
        notes.append("STAND-IN data: these results say nothing about the real task")
    return notes


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the table, with a column per group."""
    from rich.table import Table

    header, rows = table_rows(comparison)
    for note in _notes(comparison):
        console.print(note, style="yellow", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for row in rows:
        table.add_column(row[0], justify="right", overflow="fold")
    for place in range(1, len(header)):
        table.add_row(header[place], *(row[place] for row in rows))
    console.print(table)


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write compare.html, compare.csv, curves.csv, runs.csv, and the figure as SVG and PNG; returns the page.

    Raises InputError if they cannot be written.
    """
    try:
        return _write(comparison, folder)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: {error.strerror}", "give another folder with --out"
        ) from None


def fresh_folder(comparison: Comparison, beside: Path) -> Path:
    """A folder without another comparison: beside, or beside-2, ...; one with the same runs is reused."""
    runs = _run_paths(comparison)
    folders = [beside, *(beside.with_name(f"{beside.name}-{number}") for number in range(2, 1000))]
    for folder in folders:
        if not folder.exists() or _runs_in(folder) == runs:
            return folder
    raise InputError(f"{beside} to {folders[-1].name} already exist", "give another folder with --out")


def _run_paths(comparison: Comparison) -> set[str]:
    return {str(compared.run.path.resolve()) for group in comparison.groups for compared in group.runs}


def _runs_in(folder: Path) -> set[str] | None:
    """The runs of the comparison in that folder; None if there is no comparison."""
    try:
        with (folder / _RUNS).open(newline="") as file:
            return {row["directory"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return None


def _write(comparison: Comparison, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _write_table(comparison, folder)
    _write_curves(comparison, folder)
    _write_runs(comparison, folder)
    with style():
        svg = save(_figure(comparison), "curves", folder)
    page = folder / "compare.html"
    with replacing(page) as partial:
        partial.write_text(
            template("compare.html.j2").render(
                comparison=comparison,
                figure=svg,
                results=_result_table(comparison),
                runs=_run_table(comparison),
            )
        )
    return page


def _result_table(comparison: Comparison) -> Table[Sequence[str]]:
    """The page's table, with a column per group."""
    header, groups = table_rows(comparison)
    names = ["", *(cells[0] for cells in groups)]
    return Table(
        heading="In numbers",
        columns=[Column(name, itemgetter(place)) for place, name in enumerate(names)],
        rows=list(zip(header, *groups, strict=True))[1:],
        notes=[_TARGET_NOTE],
    )


def _run_table(comparison: Comparison) -> Table[tuple[Group, ComparedRun]]:
    """The page's list of all runs."""
    return Table(
        heading="Runs",
        columns=(
            Column("group", lambda row: row[0].label),
            Column("seed", lambda row: str(row[1].summary.seed)),
            Column("run", lambda row: row[1].run.run_id, text=True),
            Column("verdict", lambda row: row[1].summary.verdict),
            Column("final", lambda row: score_text(row[1].score.final_mean, comparison.metric)),
            Column(
                "dilation", lambda row: f"{row[1].summary.dilation:g}" if row[1].summary.dilation else UNKNOWN
            ),
        ),
        rows=[(group, compared) for group in comparison.groups for compared in group.runs],
    )


def _facets(comparison: Comparison) -> list[tuple[str, list[Group]]]:
    """Groups by panel of the figure: those that differ only in the baseline's axes, or in the last axis, share one."""
    axes = list(comparison.groups[0].cell)
    varied = set(comparison.baseline) or set(axes[-1:])
    facets: dict[str, list[Group]] = {}
    for group in comparison.groups:
        rest = ", ".join(value for axis, value in group.cell.items() if axis not in varied)
        facets.setdefault(rest, []).append(group)
    return list(facets.items())


def _figure(comparison: Comparison) -> Figure:
    facets = _facets(comparison)
    varied = set(comparison.baseline) or set(list(comparison.groups[0].cell)[-1:])
    figure, rows = new_figure(width=7.2, height=3.1 * len(facets) + 0.4, rows=len(facets))
    names = list(dict.fromkeys(_short(group, varied) for group in comparison.groups))
    best = "higher is better" if comparison.best == "max" else "lower is better"
    for axes, (title, groups) in zip(rows, facets, strict=True):
        for group in groups:
            name = _short(group, varied)
            place = names.index(name)
            colour, dash = _COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)]
            t = [row[0] for row in group.curve]
            mean = [row[1] for row in group.curve]
            axes.plot(t, mean, color=colour, linestyle=dash, label=name)
            if any(row[2] is not None for row in group.curve):
                axes.fill_between(t, *_band(group, comparison.metric), color=colour, alpha=0.15, linewidth=0)
        for target in comparison.targets:
            axes.axhline(target, color="#9aa1ab", linewidth=0.7, linestyle=(0, (1, 3)))
        standin = " (stand-in data)" if comparison.standin else ""
        axes.set_title(f"{title or comparison.task}{standin}")
        axes.set_ylabel(f"{comparison.metric} ({best})")
        axes.legend(loc="best")
    rows[-1].set_xlabel("emulated time (s)")
    return figure


def _band(group: Group, metric: str) -> tuple[list[float], list[float]]:
    """(low, high), limited to possible scores: with two seeds, an interval may be wider than the axis."""
    most = 1.0 if metric == "accuracy" else math.inf
    half_widths = [row[2] or 0.0 for row in group.curve]
    low = [max(0.0, row[1] - half) for row, half in zip(group.curve, half_widths, strict=True)]
    high = [min(most, row[1] + half) for row, half in zip(group.curve, half_widths, strict=True)]
    return low, high


def _short(group: Group, varied: set[str]) -> str:
    name = ", ".join(value for axis, value in group.cell.items() if axis in varied)
    return group.marked(name or group.label)


def _write_table(comparison: Comparison, folder: Path) -> None:
    with replacing(folder / "compare.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        axes = list(comparison.groups[0].cell)
        writer.writerow(
            [
                *axes,
                "seeds",
                "runs",
                "degraded",
                "final_mean",
                "final_std",
                "stragglers_final_mean",
                "mean_model",
                "rounds_mean",
                "sent_gb",
            ]
            + [
                f"{what}_{target:g}"
                for target in comparison.targets
                for what in ("reached", "time_mean_s", "time_std_s", "speedup_mean", "bytes_mean")
            ]
        )
        for group in comparison.groups:
            row: list[Any] = [group.cell.get(axis, "") for axis in axes]
            row += [" ".join(map(str, seeds(group.runs))), len(group.runs), group.degraded]
            row += [group.final.mean, group.final.std, group.stragglers_final.mean]
            row += [group.mean_model.mean, group.rounds.mean, group.gigabytes.mean]
            for target in group.targets:
                row += [target.reached, target.times_s.mean, target.times_s.std]
                row += [target.speedup.mean, target.bytes.mean]
            writer.writerow(row)


def _write_curves(comparison: Comparison, folder: Path) -> None:
    with replacing(folder / "curves.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "emulated_s", comparison.metric, "half_width_95"])
        writer.writerows([group.label, *row] for group in comparison.groups for row in group.curve)


def _write_runs(comparison: Comparison, folder: Path) -> None:
    with replacing(folder / _RUNS) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "seed", "verdict", "dilation", "final", "directory"])
        for group in comparison.groups:
            for compared in group.runs:
                summary = compared.summary
                row = [
                    group.label,
                    summary.seed,
                    summary.verdict,
                    summary.dilation,
                    compared.score.final_mean,
                ]
                writer.writerow([*row, compared.run.path.resolve()])


def markdown(comparison: Comparison) -> str:
    """The table as Markdown, with a column per group."""
    header, rows = table_rows(comparison)
    lines: list[Sequence[str]] = [["", *(row[0] for row in rows)], ["---"] * (len(rows) + 1)]
    lines += [[header[place], *(row[place] for row in rows)] for place in range(1, len(header))]
    notes = "".join(f"> {text}\n" for text in _notes(comparison))
    return (
        notes + ("\n" if notes else "") + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    )
