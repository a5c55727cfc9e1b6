"""Makes the manual page mnbed(1) from the help texts: `.venv/bin/python docs/make_manual.py | man -l -`.

install.sh and setup.py install what it prints, so a changed help text is in the manual of the next installation.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from mnbed import __version__, cli

_VARIABLES = {
    "MNBED_DATA": "The folder in which data sets are looked for; default: ~/.cache/mnbed.",
    "MNBED_CACHE": "The folder in which mnbed remembers what it measured; default: ~/.cache/mnbed.",
}
_EXAMPLES = {
    "sudo mnbed run quickstart": "Runs a small experiment that comes with mnbed.",
    "mnbed plan cifar_stragglers": "Shows what a run would do.",
    "sudo mnbed run cifar_stragglers --set time.duration=30s": "Changes one key of it.",
}


def manual() -> str:
    """The page, in the man macros of roff."""
    # Help texts are wrapped for a terminal by whoever shows them; the formatter wraps these here.
    command: Any = typer.main.get_command(cli.make_app())
    context = command.make_context("mnbed", [], resilient_parsing=True)
    about, exit_status = _paragraphs(command.help)
    lines = [
        f'.TH MNBED 1 "{_today()}" "mnbed {__version__}" "User Commands"',
        ".SH NAME",
        f"mnbed \\- {_text(_summary())}",
        ".SH SYNOPSIS",
        *_usage(command, context),
        ".SH DESCRIPTION",
        _text(about),
        ".SH OPTIONS",
        *_records(command, context),
        ".SH COMMANDS",
        *_commands(command, context),
        ".SH EXIT STATUS",
        *_exit_statuses(exit_status),
        ".SH ENVIRONMENT",
        *_tagged(_VARIABLES.items()),
        ".SH EXAMPLES",
        *_tagged(_EXAMPLES.items()),
        ".SH SEE ALSO",
        ".BR mn (1),",
        ".BR tc (8),",
        ".BR ip\\-netns (8)",
    ]
    return "\n".join(lines) + "\n"


def _commands(command: Any, context: Any) -> Iterator[str]:
    """A section for each verb, and for each of a group's."""
    for name, verb in sorted(command.commands.items()):
        below = verb.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(verb, "commands"):
            yield from _commands(verb, below)
            continue
        yield f'.SS "{_text(below.command_path)}"'
        yield from _usage(verb, below)
        for paragraph in _paragraphs(verb.help):
            yield ".PP"
            yield _text(paragraph)
        yield from _records(verb, below)


def _usage(command: Any, context: Any) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(command.collect_usage_pieces(context)))


def _records(command: Any, context: Any) -> Iterator[str]:
    """Arguments and options with their help, as --help has them."""
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    yield from _tagged((record[0], record[1]) for record in records if record is not None)


def _tagged(pairs: Any) -> Iterator[str]:
    for tag, text in pairs:
        yield ".TP"
        yield f".B {_text(tag)}"
        yield _text(text)


def _exit_statuses(text: str) -> Iterator[str]:
    """From the sentence `Exit status: 0 done; 1 ...`. Raises ValueError if help no longer has it."""
    head, colon, rest = text.partition(": ")
    if head != "Exit status" or not colon:
        raise ValueError(f"the help text ends in {text!r}, not in what exit statuses mean")
    yield from _tagged(item.split(" ", 1) for item in rest.rstrip(".").split("; "))


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _text(text: str) -> str:
    """Text as roff wants it: no line may begin as a request does, and a hyphen is to be one that can be copied."""
    line = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", line)


def _summary() -> str:
    """The line of pyproject.toml that describes the package."""
    pyproject = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    found = re.search(r'^description = "(.*)"$', pyproject, re.MULTILINE)
    if found is None:
        raise ValueError("pyproject.toml has no description")
    return found[1][0].lower() + found[1][1:]


def _today() -> str:
    """The day of SOURCE_DATE_EPOCH where it is given, so that a package can be built again to the byte."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.now(timezone.utc) if given is None else datetime.fromtimestamp(int(given), timezone.utc)
    return f"{now:%Y-%m-%d}"


if __name__ == "__main__":
    print(manual(), end="")
