"""Options and arguments that several verbs take, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def set_option(help: str) -> Any:
    """`--set KEY=VALUE`, which may be given several times."""
    return typer.Option("--set", metavar="KEY=VALUE", help=help, show_default=False)


ExperimentFile = Annotated[Path, typer.Argument(help="The experiment, a YAML file.", show_default=False)]
SetKey = Annotated[list[str] | None, set_option("Override one key, e.g. time.duration=30s.")]
SetNetworkKey = Annotated[list[str] | None, set_option("Override one key, e.g. network.link.delay=5ms.")]
