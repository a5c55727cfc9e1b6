"""Show the merged log of a run's nodes in time order, also while it is running."""

from __future__ import annotations

from typing import Annotated

import typer

from mnbed.commands._options import RunPath


def main(
    run: RunPath,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="Only this node, e.g. h3 or controller; repeatable.", show_default=False),
    ] = None,
    level: Annotated[
        str, typer.Option(help="Lowest level to show: debug (every fragment), info, warning, error.")
    ] = "info",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing until the run ends or Ctrl-C.")
    ] = False,
) -> None:
    """Times are emulated seconds. Raises InputError."""
    import time

    from mnbed.errors import InputError
    from mnbed.results.log_lines import LEVELS, LogReader
    from mnbed.run_directory import RunDirectory, require_run

    directory = RunDirectory(run)
    require_run(directory)
    if level.upper() not in LEVELS:
        raise InputError(f"--level {level}: allowed: {', '.join(LEVELS).lower()}")
    known = sorted(path.stem for path in directory.nodes.glob("*.jsonl"))
    for name in node or []:
        if known and name not in known:
            raise InputError(f"--node {name}: no such node in {run}; it has: {', '.join(known)}")
    if not known and not follow:
        raise InputError(f"{run}: no node has written anything: there are no journals in {directory.nodes}")
    reader = LogReader(directory, node or [], level.upper())
    if not follow:
        for line in sorted([*reader.read(), *reader.rest()]):
            print(line)
        return
    # Writers flush every line: after a second no line with an earlier time can still arrive.
    waiting = [(time.monotonic(), line) for line in reader.read()]
    try:
        while waiting or not reader.ended:
            now = time.monotonic()
            due = sorted(line for read_s, line in waiting if now - read_s >= 1.0 or reader.ended)
            waiting = [(read_s, line) for read_s, line in waiting if now - read_s < 1.0 and not reader.ended]
            for line in due:
                print(line, flush=True)
            if not reader.ended:
                time.sleep(0.2)
                waiting += [(time.monotonic(), line) for line in reader.read()]
    except KeyboardInterrupt:
        return
