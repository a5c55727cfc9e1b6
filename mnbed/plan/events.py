"""What happens to the network and its nodes while an experiment runs: a sorted list of elementary events.

`network.events` of the experiment file is a richer language (flaps, churn, traces, partitions that heal); it is
expanded into these when the plan is made, so that whoever applies them decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mnbed.plan.make import Direction


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens at an emulated time."""

    at_s: float
    """Emulated seconds since the common start."""
    text: str
    """What a user reads on plots and in logs: "h3 - s1: bandwidth 5mbit"."""
    entry: int
    """Which entry of `network.events` it comes from, from 0."""


@dataclass(frozen=True, kw_only=True)
class Reshape(Event):
    """Links get other properties."""

    directions: tuple[Direction, ...]
    """The directions that change, with all their properties from then on."""


@dataclass(frozen=True, kw_only=True)
class SetLink(Event):
    """A link goes down or comes up, both ways; packets on a link that is down are lost without a word."""

    a: str
    b: str
    up: bool


@dataclass(frozen=True, kw_only=True)
class SetPartition(Event):
    """Hosts of different groups no longer reach each other; no groups: everybody reaches everybody again."""

    groups: tuple[tuple[str, ...], ...]
    """Disjoint groups of hosts; a host in none of them reaches all."""


@dataclass(frozen=True, kw_only=True)
class NodeEvent(Event):
    """Something happens to an agent's process."""

    node: str
    action: Literal["kill", "pause", "resume", "restart"]
    state: Literal["last", "fresh"] = "last"
    """What a restarted node begins with: its last snapshot, or the initial model."""
