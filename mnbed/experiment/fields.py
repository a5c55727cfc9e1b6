"""The types of values in experiment files: quantities with units and limits, and the base of sections.

Knows no particular section; `sections.py` and the modules next to it are built from these.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)

from mnbed import units
from topologies.burst_loss import BurstLoss, parse_burst_loss, plain_burst_loss


class SettingsError(ValueError):
    """Wrong settings of an algorithm, a task or a generator.

    `problems`: (key inside the section or None, message) for each; a key may be the first part of a pydantic
    location.
    """

    def __init__(self, problems: list[tuple[str | None, str]]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


# Building an adapter takes a tenth of a second.
adapter = functools.cache(TypeAdapter[Any])


def twelve_digits(value: float) -> float:
    # "0.3ms" and "300us" must be the same number, or a resolved experiment would differ from its original in
    # the last bit.
    return float(f"{value:.12g}")


def above_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("it must be above 0")
    return value


def no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


def one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("it must be one line of printable text")
    return value


_MAX_NAME_BYTES = 100


def name_problem(name: object) -> str | None:
    """What is wrong with the name of a run, a sweep or an experiment, which becomes part of a directory name."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        return "it must be one line of printable text"
    if "/" in name or "\\" in name:
        return "it must be a name, not a path: no / and no \\"
    if not name.strip(" ."):
        return "it must contain a letter or a digit"
    if len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
        return f"it must be at most {_MAX_NAME_BYTES} bytes long"
    return None


def file_name(value: str) -> str:
    if problem := name_problem(value):
        raise ValueError(problem)
    return value


def _queue(value: Any) -> Any:
    """Packets, or bandwidth-delay products as text: "2bdp"."""
    if value is None:
        return None
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*bdp", value.strip().lower())):
        if not 0 < float(match[1]) <= 1000:
            raise ValueError("it must be above 0bdp and at most 1000bdp")
        return f"{float(match[1]):g}bdp"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return value
    raise ValueError(
        "it must be a number of packets, 1 to 1000000, or of bandwidth-delay products, such as 2bdp"
    )


def _fraction(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        raise ValueError("write a fraction, not a percentage: 0.01 for 1 %")
    return no_bool(value)


Bandwidth = Annotated[units.Bandwidth, AfterValidator(twelve_digits)]
Duration = Annotated[units.Duration, AfterValidator(twelve_digits)]
PositiveBandwidth = Annotated[Bandwidth, AfterValidator(above_zero)]
PositiveDuration = Annotated[Duration, AfterValidator(above_zero)]
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, BeforeValidator(no_bool), Field(allow_inf_nan=False)]
Fraction = Annotated[float, BeforeValidator(_fraction), Field(ge=0, le=1, allow_inf_nan=False)]
BurstLosses = Annotated[
    BurstLoss,
    PlainValidator(parse_burst_loss),
    PlainSerializer(plain_burst_loss),
    WithJsonSchema(
        {"type": ["object", "string"], "description": "p/r[/loss_bad[/loss_good]], a section, or none"}
    ),
]
Queue = Annotated[int | str | None, BeforeValidator(_queue)]
Distribution = Literal["normal", "uniform", "pareto", "paretonormal"]


def did_you_mean(wrong: str, allowed: Iterable[str]) -> str:
    """ "; did you mean degree? (allowed: degree, name)" for a misspelt name."""
    allowed = list(allowed)
    close = difflib.get_close_matches(wrong, allowed, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant} (allowed: {', '.join(allowed)})" if allowed else meant


class Section:
    """Base of all sections: unknown keys are refused, and the docstring of a field is its help text."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
