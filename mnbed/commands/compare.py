"""Compare runs: score against time with confidence bands, time and bytes to a target, speed-up against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnbed.commands._options import run_argument


def main(
    runs: Annotated[list[Path], run_argument("Run directories, or directories of sweeps.")],
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AXIS=VALUE",
            help="What speed-ups are measured against, e.g. algorithm=ad-psgd; a sweep may name it itself.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(
            help="A score to report the time to, in addition to the experiments' own.", show_default=False
        ),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare even runs that should not be compared, with a warning.")
    ] = False,
    unpaired: Annotated[
        bool,
        typer.Option(
            "--unpaired",
            help="Compute speed-ups from means instead of per seed, even if other settings differ between the runs.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the page, figures and tables; default: compare inside a sweep's directory, otherwise the "
            "next free one of compare, compare-2, ... here.",
            show_default=False,
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Raises InputError if runs cannot be compared."""
    import sys

    from mnbed.console import make_console
    from mnbed.results.compare_report import fresh_folder, print_comparison, write_comparison
    from mnbed.results.compare_report import markdown as as_markdown
    from mnbed.results.compared_runs import read_runs
    from mnbed.results.comparison import compare

    compared = read_runs(runs)
    comparison = compare(
        compared, baseline=_given(baseline or []), targets=target or [], anyway=anyway, unpaired=unpaired
    )
    console = make_console(highlight=False)
    if markdown:
        print(as_markdown(comparison), end="")
    else:
        print_comparison(comparison, console)
    # A sweep's own comparison is replaced each time; comparisons of other runs get a folder of their own.
    folder = out or (
        compared.sweep / "compare"
        if compared.sweep is not None
        else fresh_folder(comparison, Path("compare"))
    )
    page = write_comparison(comparison, folder)
    if markdown:
        print(f"page: {page}", file=sys.stderr)
    else:
        console.print(f"page: {page}", markup=False, soft_wrap=True)


def _given(baseline: list[str]) -> dict[str, str]:
    """Axis -> value. Raises InputError."""
    from mnbed.errors import InputError

    given = {}
    for text in baseline:
        axis, equals, value = text.partition("=")
        if not equals or not axis or not value:
            raise InputError(f"--baseline {text}: write AXIS=VALUE, for example --baseline algorithm=ad-psgd")
        given[axis] = value
    return given
