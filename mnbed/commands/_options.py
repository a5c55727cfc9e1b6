"""Options and arguments that several verbs take, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mnbed.commands import _completion


def set_option(help: str) -> Any:
    """`--set KEY=VALUE`, which may be given several times."""
    return typer.Option("--set", metavar="KEY=VALUE", help=help, show_default=False)


def experiment_argument() -> Any:
    """An experiment: a file, or the name of one that comes with mnbed."""
    return typer.Argument(
        help="The experiment: a YAML file, or the name of one that comes with mnbed.",
        show_default=False,
        autocompletion=_completion.experiments,
    )


def run_argument(help: str = "The run directory, e.g. runs/20261120-213000-cifar.") -> Any:
    """Run directories."""
    return typer.Argument(help=help, show_default=False, autocompletion=_completion.run_directories)


ExperimentFile = Annotated[Path, experiment_argument()]
RunPath = Annotated[Path, run_argument()]
SetKey = Annotated[list[str] | None, set_option("Override one key, e.g. time.duration=30s.")]
SetNetworkKey = Annotated[list[str] | None, set_option("Override one key, e.g. network.link.delay=5ms.")]
