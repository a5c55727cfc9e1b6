"""Compare runs: score against time with confidence bands, time and bytes to a target, speed-up against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def main(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories, or directories of sweeps.", show_default=False),
    ],
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AXIS=VALUE",
            help="What speed-ups are measured against, e.g. algorithm=ad-psgd; a sweep may say it itself.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(
            help="A score whose time is asked for, besides the experiments' own.", show_default=False
        ),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare runs that should not be compared, with a warning.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for page, figures and tables; default: compare, in the sweep's.", show_default=False
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Raises InputError where runs cannot be compared."""
    from mnbed.console import make_console
    from mnbed.errors import InputError
    from mnbed.results.compare_report import markdown as as_markdown
    from mnbed.results.compare_report import print_comparison, write_comparison
    from mnbed.results.comparison import compare, read_runs

    found, of_sweep = read_runs(runs)
    given = {}
    for text in baseline or []:
        axis, equals, value = text.partition("=")
        if not equals or not axis or not value:
            raise InputError(f"--baseline {text}: write AXIS=VALUE, for example --baseline algorithm=ad-psgd")
        given[axis] = value
    comparison = compare(found, baseline=given or of_sweep, targets=target or [], anyway=anyway)
    console = make_console(highlight=False)
    if markdown:
        print(as_markdown(comparison), end="")
    else:
        print_comparison(comparison, console)
    folder = out or (runs[0] / "compare" if (runs[0] / "sweep.json").is_file() else Path("compare"))
    page = write_comparison(comparison, folder)
    if not markdown:
        console.print(f"page: {page}", markup=False, soft_wrap=True)
