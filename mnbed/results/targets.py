"""When a curve reaches a target: the one definition that summary.json, report and compare share."""

from __future__ import annotations

from collections.abc import Iterable


def time_to(curve: Iterable[tuple[float, float]], target: float, best: str) -> float | None:
    """When the curve first is at least (best "max") or at most ("min") the target; None: never.

    `curve`: (emulated seconds, value) in order of time, interpolated linearly.
    """
    sign = 1.0 if best == "max" else -1.0
    before: tuple[float, float] | None = None
    for t, value in curve:
        if sign * value >= sign * target:
            if before is None or value == before[1]:
                return t
            share = (target - before[1]) / (value - before[1])
            return before[0] + share * (t - before[0])
        before = (t, value)
    return None
