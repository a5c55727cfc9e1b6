"""Write an experiment's network in another emulator's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnbed.commands._options import ExperimentFile, SetNetworkKey

_FORMATS = ("kollaps",)


def main(
    file: ExperimentFile,
    to: Annotated[str, typer.Option(help="The format: kollaps.")] = "kollaps",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; default: standard output.", show_default=False),
    ] = None,
    set_: SetNetworkKey = None,
) -> None:
    """Links have the properties that the experiment gives them, stragglers included. Raises InputError."""
    from mnbed.errors import InputError
    from mnbed.experiment.loading import load_experiment, naming
    from mnbed.experiment.ready_made import find
    from mnbed.topology_view import resolved_network
    from topologies.formats import kollaps

    if to not in _FORMATS:
        raise InputError(f"--to {to}: unknown format; known: {', '.join(_FORMATS)}")
    experiment = load_experiment(file, set_ or [])
    with naming(file):
        graph, _ = resolved_network(experiment)
    try:
        text = kollaps.write(graph)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    if output is not None and output.exists() and output.samefile(find(file)):
        raise InputError(
            f"--output {output} is the experiment itself and would be overwritten: give another file"
        )
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written: {error.strerror}") from None
    print(output)
