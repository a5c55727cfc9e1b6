"""What entries of `network.events` unfold into before they are checked: what changes when, and by which entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from mnbed import units
from mnbed.experiment.link_settings import PartialLinkSettings
from mnbed.plan.model import Direction, NodeEvent, SetLink, SetPartition

# A wrong unit (a flap of 1us) must not fill the memory.
MAX_EVENTS = 100_000

DirectionEnds = tuple[str, str]
"""(source, target) of a direction of a link."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Properties that an entry gives to some directions from a time on."""

    at_s: float
    entry: int
    directions: tuple[DirectionEnds, ...]
    change: PartialLinkSettings | None
    """None: the entry's earlier change ends."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """From `start_s` until before `end_s`, only this entry may set the property of a direction."""

    start_s: float
    end_s: float
    entry: int


@dataclass
class Story:
    """All unfolded entries, and the problems found."""

    changes: list[Change] = field(default_factory=list)
    spans: dict[tuple[DirectionEnds, str], list[Span]] = field(default_factory=dict)
    links: list[SetLink] = field(default_factory=list)
    partitions: list[SetPartition] = field(default_factory=list)
    nodes: list[NodeEvent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.changes) + len(self.links) + len(self.partitions) + len(self.nodes)

    def wrong(self, entry: int, key: str | None, text: str) -> None:
        self.problems.append(f"network.events[{entry}]{f'.{key}' if key else ''}: {text}")


@dataclass(frozen=True, kw_only=True)
class World:
    """What entries may refer to."""

    graph: nx.Graph
    hosts: Sequence[str]
    directions: Mapping[DirectionEnds, Direction]
    duration_s: float
    dilation: float
    seed: int


def in_time(number: int, key: str, at_s: float, world: World, story: Story) -> bool:
    if at_s < world.duration_s:
        return True
    shown = units.format_duration
    story.wrong(
        number,
        key,
        f"{shown(at_s)} is not before the end of the run, time.duration, {shown(world.duration_s)}",
    )
    return False


def end_in_time(number: int, key: str, begin_s: float, seconds: float, world: World, story: Story) -> None:
    if begin_s + seconds > world.duration_s:
        shown = units.format_duration
        story.wrong(
            number,
            key,
            f"{shown(seconds)} from {shown(begin_s)} on lasts beyond the end of the run, {shown(world.duration_s)}",
        )


def until_in_time(number: int, begin_s: float, until_s: float, world: World, story: Story) -> bool:
    shown = units.format_duration
    if until_s <= begin_s:
        story.wrong(number, "until", f"{shown(until_s)} is not after at, {shown(begin_s)}")
    elif until_s > world.duration_s:
        story.wrong(
            number, "until", f"{shown(until_s)} is after the end of the run, {shown(world.duration_s)}"
        )
    else:
        return True
    return False


def tidy(seconds: float) -> float:
    """Rounds to 12 digits: a sum of decimals must not become 0.30000000000000004."""
    return float(f"{seconds:.12g}")
