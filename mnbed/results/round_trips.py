"""Round trips as measured against as asked: the least that each TCP connection's kernel saw during the run.

The least is what a path takes with empty queues, so it shows the links' delays and not the traffic's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from mnbed.results.collect import Collected


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """One connection; emulated seconds."""

    node: str
    peer: str
    asked_s: float
    measured_s: float


@dataclass(frozen=True, kw_only=True)
class RoundTripErrors:
    """Measured minus asked, over all connections of a run; emulated seconds."""

    num_connections: int
    median_s: float
    least_s: float
    largest_s: float
    largest_on: str
    """The connection with the largest, e.g. "h1 - h4"."""


def round_trips(collected: Collected) -> Iterator[RoundTrip]:
    """Every connection that was measured; none where the environment does not tell what was asked."""
    asked = collected.environment.get("round_trip_s") or {}
    for name, node in collected.nodes.items():
        if node.end is None:
            continue
        for peer, measured in (node.end.get("rtt_s") or {}).items():
            if peer in asked.get(name, {}):
                yield RoundTrip(node=name, peer=peer, asked_s=asked[name][peer], measured_s=measured)


def round_trip_errors(collected: Collected) -> RoundTripErrors | None:
    """None where no connection was measured, or the environment does not tell what was asked."""
    errors = [(one.measured_s - one.asked_s, f"{one.node} - {one.peer}") for one in round_trips(collected)]
    if not errors:
        return None
    largest_s, largest_on = max(errors)
    return RoundTripErrors(
        num_connections=len(errors),
        median_s=median(error for error, _ in errors),
        least_s=min(errors)[0],
        largest_s=largest_s,
        largest_on=largest_on,
    )
