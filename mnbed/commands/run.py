"""Run an experiment: build the network, train, collect, evaluate, report, tear down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnbed.commands._options import ExperimentFile, SetKey


def main(
    file: ExperimentFile,
    set_: SetKey = None,
    out: Annotated[Path, typer.Option(help="Where to put the run directory.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default: the experiment's.", show_default=False)
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Leave out report.html and the plots.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with status 1 if the emulation was not faithful.")
    ] = False,
    cli: Annotated[
        bool, typer.Option("--cli", help="Open the prompt on the network after training.")
    ] = False,
    cli_on_error: Annotated[
        bool, typer.Option("--cli-on-error", help="Open the prompt on the network when the run fails.")
    ] = False,
) -> int:
    """Exit status 0 done, 1 failed, 2 wrong input, 3 this machine cannot, 130 interrupted."""
    import json

    # The user's own process must exist before any of their files is read.
    from mnbed.run.user_side import UserSide
    from mnbed.run_directory import require_folder

    require_folder(out)
    overrides = [*(set_ or []), *([f"name={json.dumps(name)}"] if name is not None else [])]
    with UserSide.start() as side:
        from mnbed.console import make_console
        from mnbed.errors import Interrupted, MnbedError, RunError
        from mnbed.records.outcome import FAITHFUL
        from mnbed.results.console import print_summary
        from mnbed.run.job import Job
        from mnbed.run.planning import plan_run

        plan, console = plan_run(side, file, overrides), make_console()

        def open_prompt(job: Job, error: MnbedError | None) -> None:
            asked_for = cli if error is None else cli_on_error
            if asked_for and not isinstance(error, Interrupted):
                from mnbed.prompt.prompt import prompt_after

                prompt_after(job, error)

        job = Job(
            plan, out=out, report=not no_report, console=console, side=side, before_teardown=open_prompt
        )
        try:
            outcome = job.execute()
        except BaseException:  # such as a second Ctrl-C: whatever ends the run, print where its results are
            if job.run.path.exists():
                console.print(f"run directory: {job.run.path}", highlight=False, soft_wrap=True)
            raise
    if outcome.summary is not None:
        print_summary(outcome.summary, console)
    console.print(f"run directory: {outcome.run.path}", highlight=False, soft_wrap=True)
    if outcome.report is not None:
        console.print(f"report: {outcome.report}", highlight=False, soft_wrap=True)
    if outcome.error is not None:
        raise outcome.error
    if strict and outcome.summary is not None and outcome.summary.verdict != FAITHFUL:
        raise RunError("the emulation was not faithful, and --strict was given: see the reasons above")
    return 0
