"""Quantities as users write them ("60mbit", "20ms", "64kB") to and from plain numbers.

Bandwidth is in bits per second, time in seconds, size in bytes; prefixes are decimal, as in `tc` and Mininet.
A quantity without a unit is refused: 60 could be bit/s, Mbit/s or kB/s, and a wrong guess ruins an experiment.
"""

from __future__ import annotations

import math
import re
from typing import Any

BANDWIDTH_UNITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
SIZE_UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1024.0, "mib": 1024.0**2}

_QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+)\s*([a-zA-Z/µ]*)\s*$")


def _parse(text: Any, units: dict[str, float], what: str, example: str) -> float:
    if not isinstance(text, str):
        if isinstance(text, (int, float)) and not isinstance(text, bool) and text == 0:
            return 0.0
        raise ValueError(f"{what} needs a unit, for example {example!r} (units: {', '.join(units)})")
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"not a {what}; write for example {example!r} (units: {', '.join(units)})")
    number, unit = float(match.group(1)), match.group(2).lower().replace("µ", "u")
    unit = unit.removesuffix("/s").removesuffix("ps") if units is BANDWIDTH_UNITS else unit
    if unit not in units and not (number == 0 and unit == ""):
        shown = f"unknown unit {match.group(2)[:40]!r}" if unit else "no unit"
        raise ValueError(f"{what} with {shown}; write for example {example!r} (units: {', '.join(units)})")
    value = number * units.get(unit, 0.0)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{what} must be finite and not negative")
    return value


def parse_bandwidth(text: Any) -> float:
    """ "60mbit" -> 60e6 bit/s. Raises ValueError with the allowed units."""
    return _parse(text, BANDWIDTH_UNITS, "bandwidth", "60mbit")


def parse_duration(text: Any) -> float:
    """ "20ms" -> 0.02 s. Raises ValueError with the allowed units."""
    return _parse(text, TIME_UNITS, "time", "20ms")


def parse_size(text: Any) -> int:
    """ "64kB" -> 64000 bytes. Raises ValueError with the allowed units."""
    return round(_parse(text, SIZE_UNITS, "size", "64kB"))


def _shortest(value: float, units: dict[str, float]) -> str:
    """The largest unit that writes the value without a leading 0., and without losing digits."""
    for unit, scale in sorted(units.items(), key=lambda item: -item[1]):
        if value >= scale:
            return f"{float(f'{value / scale:.12g}'):.12g}{unit}"
    unit, scale = min(units.items(), key=lambda item: item[1])
    return f"{value / scale:.12g}{unit}"


def format_bandwidth(bps: float) -> str:
    """60e6 -> "60mbit"."""
    return _shortest(bps, BANDWIDTH_UNITS)


def format_duration(seconds: float) -> str:
    """0.02 -> "20ms"; minutes and hours stay in seconds, as experiments are read in seconds."""
    if seconds == 0:
        return "0s"
    return _shortest(seconds, {unit: scale for unit, scale in TIME_UNITS.items() if scale <= 1})


def format_size(num_bytes: float) -> str:
    """64000 -> "64kB"."""
    return _shortest(num_bytes, {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9})
