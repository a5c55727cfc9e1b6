"""The words of the prompt's verb `shape`, taken from the table of link properties: input, answer and help."""

from __future__ import annotations

from typing import Any

from mnbed.errors import InputError
from mnbed.experiment.link_settings import PartialLinkSettings
from mnbed.plan.properties import PROPERTIES as ROWS
from mnbed.plan.properties import LinkProperties

# What `shape` changes, by the names it takes.
PROPERTIES = {row.prompt.name: (row, row.prompt) for row in ROWS if row.prompt is not None}


def parse_change(words: list[str]) -> PartialLinkSettings:
    """ "bw 5 delay 20ms" -> the settings. Raises InputError."""
    if not words or len(words) % 2:
        raise InputError(f"a name and a value each, as in: bw 5 delay 20ms (names: {', '.join(PROPERTIES)})")
    settings: dict[str, Any] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name not in PROPERTIES:
            raise InputError(f"{name!r} is not a link property; there are: {', '.join(PROPERTIES)}")
        row, prompt = PROPERTIES[name]
        try:
            settings[row.key] = prompt.parse(value)
        except ValueError as error:
            raise InputError(f"{name} {value}: {error}") from None
    return PartialLinkSettings(**settings)


def answer(asked: LinkProperties) -> str:
    """What a link is like now: "5mbit, delay 20ms, jitter 0s, loss 0.000%"."""
    answers = (prompt.answer(getattr(asked, row.field)) for row, prompt in PROPERTIES.values())
    return ", ".join(filter(None, answers))


def shape_help() -> str:
    """The verb's help."""
    prompts = [prompt for _, prompt in PROPERTIES.values()]
    by_units: dict[str, list[str]] = {}
    for prompt in prompts:
        if prompt.units:
            by_units.setdefault(prompt.units, []).append(prompt.name)
    return f"""Change properties of a link at once; those that are not named stay as they are.
        Usage: shape A B [oneway] {" ".join(f"[{prompt.name} {prompt.example}]" for prompt in prompts)}
        {"; ".join(f"{', '.join(names)}: {units}" for units, names in by_units.items())}.
        oneway: only the direction from A to B. All in emulated time, as in the experiment."""
