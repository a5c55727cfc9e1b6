"""Build an experiment's network and open Mininet's prompt on it; leaving the prompt takes the network down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnbed.commands._options import ExperimentFile, SetNetworkKey


def main(
    file: ExperimentFile,
    set_: SetNetworkKey = None,
    out: Annotated[Path, typer.Option(help="Where to put the directories of runs started here.")] = Path(
        "runs"
    ),
) -> int:
    """Reads commands from the terminal or from standard input, one per line."""
    from mnbed.machine import probe
    from mnbed.prompt.prompt import open_prompt
    from mnbed.run.planning import plan_run
    from mnbed.run.user_side import UserSide

    facts = probe()
    with UserSide.start() as side:
        plan = plan_run(side, file, set_ or [], facts)
    open_prompt(plan, file, out, facts)
    return 0
