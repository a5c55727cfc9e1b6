"""`compute.step_time` of the experiment file: a time, a list with one per node, a distribution, or `measured`.

Drawing from a distribution is done in mnbed/plan/draws.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator

from mnbed import units
from mnbed.experiment.fields import (
    PositiveDuration,
    Section,
    SettingsError,
    above_zero,
    adapter,
    twelve_digits,
)


@dataclass(frozen=True, kw_only=True)
class StepTimeDistribution(Section):
    """A distribution of step times: each node draws one from the seed and keeps it for the whole run."""

    distribution: Literal["normal", "lognormal", "uniform", "exponential"]
    """Distribution over the nodes: normal or lognormal (mean and std), uniform (min and max), exponential (mean)."""
    mean: PositiveDuration | None = None
    """Mean, before truncation to min and max."""
    std: PositiveDuration | None = None
    """Standard deviation, before truncation to min and max."""
    min: PositiveDuration | None = None
    """Lower limit; draws below it are repeated. Default: a tenth of the mean."""
    max: PositiveDuration | None = None
    """Upper limit; draws above it are repeated."""

    def __post_init__(self) -> None:
        needed = {"uniform": ("min", "max"), "exponential": ("mean",)}.get(self.distribution, ("mean", "std"))
        allowed = {*needed, "min", "max"}
        problems: list[tuple[str | None, str]] = [
            (name, f"missing; distribution {self.distribution} needs {' and '.join(needed)}")
            for name in needed
            if getattr(self, name) is None
        ]
        problems += [
            (
                name,
                f"distribution {self.distribution} does not take it (it takes {', '.join(sorted(allowed))})",
            )
            for name in ("mean", "std")
            if name not in allowed and getattr(self, name) is not None
        ]
        if not problems:
            problems.extend(self._limit_problems())
        if problems:
            raise SettingsError(problems)

    def _limit_problems(self) -> Iterator[tuple[str | None, str]]:
        """Problems with limits that leave little or nothing of the distribution."""
        shown = units.format_duration
        low, high, mean = self.min, self.max, self.mean
        if low is not None and high is not None and low >= high:
            yield "max", f"got {shown(high)}; it must be above min, {shown(low)}"
        elif mean is not None and low is not None and low > mean:
            yield "min", f"got {shown(low)}; it must be at most the mean, {shown(mean)}"
        elif mean is not None and high is not None and high < mean:
            yield "max", f"got {shown(high)}; it must be at least the mean, {shown(mean)}"


def _step_time(value: Any) -> float | str | tuple[float, ...] | StepTimeDistribution:
    if value == "measured":
        return "measured"
    if isinstance(value, StepTimeDistribution):
        return value
    if isinstance(value, Mapping):
        drawn: StepTimeDistribution = adapter(StepTimeDistribution).validate_python(value)
        return drawn
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("it must contain one time per node")
        several: tuple[float, ...] = adapter(tuple[PositiveDuration, ...]).validate_python(tuple(value))
        return several
    try:
        return above_zero(twelve_digits(units.parse_duration(value)))
    except ValueError as error:
        raise ValueError(
            f"{error}; or measured, a list with one time per node, or a section with a distribution"
        ) from None


def _plain_step_time(value: Any) -> Any:
    if isinstance(value, StepTimeDistribution):
        plain = adapter(StepTimeDistribution).dump_python(value)
        return {key: item for key, item in plain.items() if item is not None}
    if isinstance(value, tuple):
        return [units.format_duration(item) for item in value]
    return value if isinstance(value, str) else units.format_duration(value)


StepTime = Annotated[
    Literal["measured"] | tuple[PositiveDuration, ...] | StepTimeDistribution | PositiveDuration,
    PlainValidator(_step_time),
    PlainSerializer(_plain_step_time),
]
