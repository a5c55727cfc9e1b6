"""The properties that a graph's links may have: how files write each, its values, and what parallel links add up to.

`description`, `attributes`, `rules`, `normal_form`, the formats and the traces of an experiment use this table; what a
property does to packets is defined in the testbed's own table.
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
    """Without the rounding errors that a conversion of units leaves in the last digits."""
    return float(f"{value:.12g}")


def number(value: Any) -> float:
    """A number of at least 0, from a file's text or number. Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("it must be a number") from None
    if not math.isfinite(result) or result < 0:
        raise ValueError("it must be a finite number, not below 0")
    return twelve_digits(result)


@dataclass(frozen=True, kw_only=True)
class EdgeProperty:
    """One property, in files and in graphs."""

    key: str
    """Its name in YAML, edge lists and traces, where values have units: "delay"."""
    attribute: str
    """Its name in a graph, where values are plain: "delay_s"."""
    parse: Callable[[Any], Any]
    """From a value under `key` in YAML to the attribute's. Raises ValueError."""
    form: Callable[[Any], Any]
    """From the attribute's value to the one in YAML."""
    wrong: Callable[[Any], str | None]
    """What the value must be, if an attribute's value is not allowed; else None."""
    plain: Callable[[Any], Any] = number
    """From a file's text or number for the attribute itself to its value. Raises ValueError."""
    parallel: Callable[[Iterable[Any]], Any] = min
    """The value that parallel links have together."""
    unit: str | None = None
    """The unit of a bare number in a trace, empty if it has none; None: no trace gives this property."""
    of_paths: bool = True
    """Whether paths between regions can have it too."""
    rare: bool = False
    """Tables leave its column out if no link has it."""

    def read(self, value: Any) -> Any:
        """A value in any file's attributes under `key`. Raises ValueError."""
        return self.plain(value) if self.key == self.attribute else self.parse(value)

    def shown(self, value: Any) -> str:
        """For readers: to four digits."""
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
    """A check for `wrong`: the value must be a number from 0 to `most`; `words` say this in messages."""

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
    # Text in a graph, since most formats hold nothing else: "0.01/0.25".
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
BY_KEY = {row.key: row for row in EDGE_PROPERTIES}
ATTRIBUTES = tuple(row.attribute for row in EDGE_PROPERTIES)
TRACED = tuple(row for row in EDGE_PROPERTIES if row.unit is not None)
"""The properties that a link's trace gives, in the order of its columns."""
