"""The words of the prompt's verb `shape`: names and values of a link's properties, as typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnbed.errors import InputError
from mnbed.link_settings import PartialLinkSettings
from mnbed.units import parse_bandwidth, parse_duration

PROPERTIES = ("bw", "delay", "jitter", "loss", "reorder", "queue")


def _percentage(text: str) -> float:
    value = float(text.removesuffix("%")) / 100
    if not 0 <= value <= 1:
        raise ValueError("it must be 0 to 100 percent")
    return value


def _bandwidth(text: str) -> float:
    """Mininet's `bw` is a number of Mbit/s."""
    try:
        rate = float(text) * 1e6
    except ValueError:
        rate = parse_bandwidth(text)
    if not rate > 0:
        raise ValueError("it must be above 0")
    return rate


def _queue(text: str) -> int | str:
    if text.isdigit() and 1 <= int(text) <= 1_000_000:
        return int(text)
    if text.endswith("bdp") and float(text.removesuffix("bdp")) > 0:
        return text
    raise ValueError("it must be a number of packets, or of bandwidth-delay products, such as 2bdp")


_PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "bw": ("bandwidth", _bandwidth),
    "delay": ("delay", parse_duration),
    "jitter": ("jitter", parse_duration),
    "loss": ("loss", _percentage),
    "reorder": ("reorder", _percentage),
    "queue": ("queue", _queue),
}


def parse_change(words: list[str]) -> PartialLinkSettings:
    """ "bw 5 delay 20ms" -> the settings. Raises InputError."""
    if not words or len(words) % 2:
        raise InputError(f"a name and a value each, as in: bw 5 delay 20ms (names: {', '.join(PROPERTIES)})")
    found: dict[str, Any] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name not in _PARSERS:
            raise InputError(f"{name!r} is no property of a link; there are: {', '.join(PROPERTIES)}")
        key, parse = _PARSERS[name]
        try:
            found[key] = parse(value)
        except ValueError as error:
            raise InputError(f"{name} {value}: {error}") from None
    return PartialLinkSettings(**found)
