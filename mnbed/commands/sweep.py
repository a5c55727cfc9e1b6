"""Run a grid of experiments: algorithms, any keys, seeds. Resumes where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnbed.commands import _completion
from mnbed.commands._options import set_option

if TYPE_CHECKING:
    from mnbed.experiment.sweep import PlannedRun, Sweep


def main(
    file: Annotated[
        Path,
        typer.Argument(
            help="The sweep: a YAML file, or the name of one that comes with mnbed.",
            show_default=False,
            autocompletion=_completion.sweeps,
        ),
    ],
    set_: Annotated[
        list[str] | None, set_option("Override one key in every run, e.g. time.duration=30s.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to put the sweep's directory.")] = Path("runs"),
    redo_degraded: Annotated[
        bool, typer.Option("--redo-degraded", help="Repeat runs whose emulation was not faithful.")
    ] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Leave out report.html and the plots of each run.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all runs, list them, and stop.")] = False,
) -> int:
    """Exit status 0 if every run completed, 1 if some failed, 130 if interrupted."""
    # Before any of the user's files is read.
    from mnbed.run.run_starter import part_with_root

    starter = part_with_root()
    from mnbed.errors import InputError, RunError
    from mnbed.experiment.sweep import load_sweep

    sweep = load_sweep(file, set_ or [])
    if dry_run:
        for run in sweep.runs:
            print(f"{run.name}: {' '.join(run.overrides)}")
        print(f"{len(sweep.runs)} runs")
        if failing := _failing(sweep):
            raise InputError("\n".join(["some runs would fail:", *(f"    {text}" for text in failing)]))
        return 0

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from mnbed.console import make_console
    from mnbed.run.sweeping import SweepRunner
    from mnbed.run_directory import require_folder

    require_folder(out)

    console = make_console(highlight=False)
    for text in _failing(sweep):
        console.print(f"warning: this will fail: {text}", style="yellow", markup=False, soft_wrap=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        runner = SweepRunner(
            sweep,
            out,
            lambda text: console.print(text, markup=False, soft_wrap=True),
            starter,
            redo_degraded=redo_degraded,
            options=["--no-report"] if no_report else [],
        )
        task = bar.add_task(sweep.name, total=len(runner.entries))
        skipped = len(runner.entries) - len(runner.todo)
        if skipped:
            console.print(f"{skipped} of {len(runner.entries)} runs are already complete")
        failed = runner.execute(
            lambda done, total, name: bar.update(task, completed=done, total=total, description=name)
        )
    console.print(
        f"sweep: {runner.directory}; compare its runs: mnbed compare {runner.directory}", soft_wrap=True
    )
    if failed:
        lines = "\n".join(f"    {entry.label}, seed {entry.seed}: {entry.message}" for entry in failed)
        raise RunError(f"{len(failed)} of {len(runner.entries)} runs did not complete:\n{lines}")
    return 0


def _failing(sweep: Sweep) -> list[str]:
    """The errors of planning each cell, with its first seed only: other seeds differ in random draws alone."""
    from mnbed.errors import MnbedError
    from mnbed.machine import probe
    from mnbed.plan.make import make_plan
    from mnbed.plan.step_cost import UNMEASURED

    facts = probe()
    first_runs: dict[str, PlannedRun] = {}
    for run in sweep.runs:
        first_runs.setdefault(run.label, run)
    texts = []
    for label, run in first_runs.items():
        try:
            make_plan(run.experiment, facts, UNMEASURED)
        except MnbedError as error:
            texts.append(f"{label}: {error.message}")
    return texts
