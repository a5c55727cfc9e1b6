"""What a graph's links may carry: for each property how files write it, what it may be, what links side by side make.

`description`, `attributes`, `rules`, `normal_form` and the formats read this table, and so do the traces of an
experiment; what a property does to packets stands in the testbed's own table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from topologies.burst_loss import format_burst_loss, parse_burst_loss
from topologies.units import format_bandwidth, format_duration, parse_bandwidth, parse_duration


def twelve_digits(value: float) -> float:
    """Without what a conversion of units leaves in the last digits."""
    return float(f"{value:.12g}")


def number(value: Any) -> float:
    """A number that is not below 0, from a file's text or number. Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("it must be a number") from None
    if not math.isfinite(found) or found < 0:
        raise ValueError("it must be a finite number, not below 0")
    return twelve_digits(found)


@dataclass(frozen=True, kw_only=True)
class EdgeProperty:
    """One property, as files and graphs have it."""

    key: str
    """Its name in YAML, edge lists and traces, where values have units: "delay"."""
    attribute: str
    """Its name in a graph, where values are plain: "delay_s"."""
    parse: Callable[[Any], Any]
    """From a value under `key` in YAML to the attribute's. Raises ValueError."""
    form: Callable[[Any], Any]
    """The way back."""
    wrong: Callable[[Any], str | None]
    """What it must be, where an attribute's value is not allowed; else None."""
    plain: Callable[[Any], Any] = number
    """From a file's text or number for the attribute itself to its value. Raises ValueError."""
    parallel: Callable[[Iterable[Any]], Any] = min
    """What links side by side have together."""
    unit: str | None = None
    """Of a bare number in a trace, empty for those without; None: no trace gives this property."""
    of_paths: bool = True
    """Whether paths between regions can have it too."""
    rare: bool = False
    """Tables leave its column out where no link has it."""

    def read(self, value: Any) -> Any:
        """A value in any file's attributes under `key`. Raises ValueError."""
        return self.plain(value) if self.key == self.attribute else self.parse(value)

    def shown(self, value: Any) -> str:
        """For eyes: to four digits."""
        text = self.form(float(f"{value:.4g}") if isinstance(value, (int, float)) else value)
        return f"{text:g}" if isinstance(text, float) else str(text)


def _bandwidth(value: Any) -> float:
    return twelve_digits(parse_bandwidth(value))


def _duration(value: Any) -> float:
    return twelve_digits(parse_duration(value))


def _burst_loss(value: Any) -> str:
    return format_burst_loss(parse_burst_loss(value))


def _wrong_burst_loss(value: Any) -> str | None:
    try:
        parse_burst_loss(value)
    except ValueError as error:
        return str(error)
    return None


def _as_given(value: Any) -> Any:
    return value


def _within(most: float, words: str, *, zero: bool = True) -> Callable[[Any], str | None]:
    """What to say of values that are no numbers from 0 to there."""

    def wrong(value: Any) -> str | None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        allowed = is_number and 0 <= value <= most and (zero or value != 0)
        return None if allowed else f"it must be a number {words}"

    return wrong


EDGE_PROPERTIES: tuple[EdgeProperty, ...] = (
    EdgeProperty(
        key="bandwidth",
        attribute="bandwidth_bps",
        parse=_bandwidth,
        form=format_bandwidth,
        wrong=_within(sys.float_info.max, "above 0", zero=False),
        parallel=sum,
        unit="bit",
    ),
    EdgeProperty(
        key="delay",
        attribute="delay_s",
        parse=_duration,
        form=format_duration,
        wrong=_within(sys.float_info.max, "0 or more"),
        unit="s",
    ),
    EdgeProperty(
        key="jitter",
        attribute="jitter_s",
        parse=_duration,
        form=format_duration,
        wrong=_within(sys.float_info.max, "0 or more"),
    ),
    EdgeProperty(
        key="loss",
        attribute="loss",
        parse=_as_given,
        form=_as_given,
        wrong=_within(1.0, "0 to 1"),
        unit="",
    ),
    # In a graph as text, as most formats hold nothing else: "0.01/0.25".
    EdgeProperty(
        key="burst_loss",
        attribute="burst_loss",
        parse=_burst_loss,
        form=str,
        plain=_burst_loss,
        wrong=_wrong_burst_loss,
        parallel=lambda values: min(values, key=lambda text: parse_burst_loss(text).loss_share),
        of_paths=False,
        rare=True,
    ),
)
BY_KEY = {one.key: one for one in EDGE_PROPERTIES}
ATTRIBUTES = tuple(one.attribute for one in EDGE_PROPERTIES)
TRACED = tuple(one for one in EDGE_PROPERTIES if one.unit is not None)
"""What recordings of links give, in the order of their columns."""
