"""Measured round trips compared with those asked for: the minimum that the kernel saw on each TCP connection.

The minimum is the round trip with empty queues, so it reflects the delays of the links and not of the traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from mnbed.results.collect import Collected


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """A connection's round trip, emulated seconds."""

    node: str
    peer: str
    asked_s: float
    measured_s: float


@dataclass(frozen=True, kw_only=True)
class RoundTripErrors:
    """Measured minus asked for, over all connections of a run; emulated seconds."""

    num_connections: int
    median_s: float
    least_s: float
    largest_s: float
    largest_on: str
    """The connection with the largest error, e.g. "h1 - h4"."""


def round_trips(collected: Collected) -> Iterator[RoundTrip]:
    """Every measured connection; none if the environment does not say what was asked for."""
    asked = collected.environment.get("round_trip_s") or {}
    for name, node in collected.nodes.items():
        if node.end is None:
            continue
        for peer, measured in (node.end.get("rtt_s") or {}).items():
            if peer in asked.get(name, {}):
                yield RoundTrip(node=name, peer=peer, asked_s=asked[name][peer], measured_s=measured)


def round_trip_errors(collected: Collected) -> RoundTripErrors | None:
    """None if no connection was measured, or the environment does not say what was asked for."""
    errors = [
        (trip.measured_s - trip.asked_s, f"{trip.node} - {trip.peer}") for trip in round_trips(collected)
    ]
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
