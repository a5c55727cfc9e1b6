"""Quantities as pydantic types: "60mbit", "20ms", "64kB" in the file, plain numbers in the program.

`topologies.units` parses and formats them; a quantity without a unit is refused.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from topologies.units import (
    format_bandwidth,
    format_duration,
    format_size,
    parse_bandwidth,
    parse_duration,
    parse_size,
)

__all__ = [
    "Bandwidth",
    "Duration",
    "Size",
    "format_bandwidth",
    "format_duration",
    "format_size",
    "format_wall_time",
    "parse_bandwidth",
    "parse_duration",
    "parse_size",
]


def format_wall_time(seconds: float) -> str:
    """5025 -> "1 h 24 min": as people say it, to about one per cent."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60:,} h"


Bandwidth = Annotated[
    float,
    BeforeValidator(parse_bandwidth),
    PlainSerializer(format_bandwidth),
    WithJsonSchema({"type": "string", "description": "bandwidth with unit, e.g. 60mbit"}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "description": "time with unit, e.g. 20ms"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size),
    WithJsonSchema({"type": "string", "description": "size with unit, e.g. 64kB"}),
]
