"""Rebuild a run's results and its report.html from its directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnbed.commands._options import RunPath
from mnbed.errors import InputError, MnbedError

if TYPE_CHECKING:
    from rich.console import Console

    from mnbed.run_directory import RunDirectory


def main(
    run: RunPath,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard event files.")
    ] = False,
) -> None:
    """Also works on failed and interrupted runs; snapshots not yet evaluated are evaluated first."""
    from mnbed.console import make_console
    from mnbed.results import make_results
    from mnbed.results.console import print_summary
    from mnbed.run_directory import RunDirectory, require_run

    directory = RunDirectory(run)
    require_run(directory)
    console = make_console()
    try:
        _evaluate_the_rest(directory, console)
        summary = make_results(directory)
    except PermissionError as error:  # the frame reports a full disk
        raise InputError(
            f"{error.filename}: {error.strerror}", "run this as the user who owns the run"
        ) from None
    print_summary(summary, console)
    console.print(f"report: {directory.report}", highlight=False, soft_wrap=True)
    if tensorboard:
        console.print(f"tensorboard: {_tensorboard(directory)}", highlight=False, soft_wrap=True)
    if open_:
        _open(directory.report)


def _evaluate_the_rest(run: RunDirectory, console: Console) -> None:
    """Evaluates the snapshots that remain from a run whose controller was killed."""
    from rich.progress import Progress

    from mnbed.results.evaluate import run_evaluation
    from mnbed.results.scores import pending_jobs

    if not pending_jobs(run):
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("evaluating snapshots", total=None)
        try:
            run_evaluation(run, lambda done, total: bar.update(task, completed=done, total=total))
        except MnbedError as error:
            # The other results do not depend on it; missing scores show as missing.
            console.print(f"warning: {error}", style="yellow", markup=False, highlight=False)


def _tensorboard(run: RunDirectory) -> Path:
    from mnbed.results.collect import collect
    from mnbed.results.scores import read_scores
    from mnbed.results.tensorboard import write_tensorboard

    return write_tensorboard(run, collect(run), read_scores(run))


def _open(page: Path) -> None:
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        raise InputError("--open: found no browser on this machine", f"open {page} in yours")
