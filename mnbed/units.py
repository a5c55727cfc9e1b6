"""Quantities as pydantic types: "60mbit", "20ms", "64kB" in the file, plain numbers in the program.

`topologies.units` reads and writes them; without a unit a quantity is refused.
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
    "parse_bandwidth",
    "parse_duration",
    "parse_size",
]

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
