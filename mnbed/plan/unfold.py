"""Unfolds `network.events` into the elementary events of a plan, in order of time, and finds contradictions.

This takes three steps. Every entry is unfolded into changes of links, groups and nodes at given times. The sequence of
changes is checked: no link goes down twice, no node dies twice, no two entries shape a direction at the same time.
Finally the links' properties are computed, because each change builds on earlier ones.

Pure, like all planning: churn is drawn from the seed, and traces were read when the file was loaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import networkx as nx

from mnbed import units
from mnbed.experiment.event_settings import (
    Churn,
    EventSettings,
    Flap,
    Heal,
    LinkAction,
    LinkChange,
    Partition,
    Point,
    Trace,
    changed_keys,
)
from mnbed.experiment.link_settings import PartialLinkSettings
from mnbed.plan.event_story import (
    MAX_EVENTS,
    Change,
    DirectionEnds,
    Span,
    Story,
    World,
    end_in_time,
    in_time,
    tidy,
    until_in_time,
)
from mnbed.plan.links import direction_problems, in_words, merged, no_such_link
from mnbed.plan.model import Event, LinkPlan, Reshape, SetLink
from mnbed.plan.properties import MIN_WIRE_BPS
from mnbed.plan.unfold_nodes import (
    check_nodes,
    check_partitions,
    unfold_churn,
    unfold_nodes,
    unfold_partition,
)
from topologies.properties import TRACED


def expand(
    entries: Sequence[EventSettings],
    graph: nx.Graph,
    hosts: Sequence[str],
    links: Iterable[LinkPlan],
    *,
    duration_s: float,
    dilation: float,
    seed: int,
    problems: list[str],
) -> tuple[Event, ...]:
    """The timeline. Problems with the entries are added to `problems`, one line each, beginning with the key."""
    directions = {
        (direction.source, direction.target): direction for link in links for direction in link.directions
    }
    world = World(
        graph=graph, hosts=hosts, directions=directions, duration_s=duration_s, dilation=dilation, seed=seed
    )
    story = Story()
    for number, entry in enumerate(entries):
        if isinstance(entry, (LinkChange, LinkAction, Flap, Trace)):
            _unfold_links(number, entry, world, story)
        elif isinstance(entry, (Partition, Heal)):
            unfold_partition(number, entry, world, story)
        elif not isinstance(entry, Churn):
            unfold_nodes(number, entry, world, story)
        if story.size > MAX_EVENTS:
            story.wrong(number, None, f"more than {MAX_EVENTS:,} changes in total; is a time too short?")
            break
    unfold_churn(entries, world, story)
    _check_spans(story)
    _check_links(story)
    check_partitions(story)
    check_nodes(story, world)
    events: list[Event] = []
    if not story.problems:
        events = [*_reshapes(story, world), *story.links, *story.partitions, *story.nodes]
    problems += dict.fromkeys(story.problems)
    # A stable sort: simultaneous events stay in the file's order.
    return tuple(sorted(sorted(events, key=lambda event: event.entry), key=lambda event: event.at_s))


# Links


def _unfold_links(
    number: int, entry: LinkChange | LinkAction | Flap | Trace, world: World, story: Story
) -> None:
    key = "link" if entry.link is not None else "links"
    pairs = [pair for pair in dict.fromkeys(entry.pairs) if _known_link(number, pair, world, story, key)]
    if not in_time(number, "at", entry.at, world, story):
        return
    if isinstance(entry, LinkChange):
        _unfold_change(number, entry, pairs, world, story)
    elif isinstance(entry, Trace):
        _unfold_trace(number, entry, pairs, world, story)
    elif isinstance(entry, LinkAction):
        if entry.for_ is not None:
            end_in_time(number, "for", entry.at, entry.for_, world, story)
        for pair in pairs:
            _add_state(story, number, pair, entry.at, entry.action == "up")
            if entry.for_ is not None:
                _add_state(story, number, pair, entry.at + entry.for_, True)
    else:
        _unfold_flap(number, entry, pairs, world, story)


def _known_link(number: int, pair: DirectionEnds, world: World, story: Story, key: str) -> bool:
    if world.graph.has_edge(*pair):
        return True
    story.wrong(number, key, no_such_link(world.graph, *pair))
    return False


def _both_ways(pairs: Iterable[DirectionEnds], one_way: bool) -> tuple[DirectionEnds, ...]:
    return tuple(ends for a, b in pairs for ends in ([(a, b)] if one_way else [(a, b), (b, a)]))


def _name(pairs: Sequence[DirectionEnds], one_way: bool) -> str:
    arrow = "->" if one_way else "-"
    shown = [f"{a} {arrow} {b}" for a, b in pairs[:3]]
    return ", ".join(shown) + (f" and {len(pairs) - 3} more" if len(pairs) > 3 else "")


def _unfold_change(
    number: int, entry: LinkChange, pairs: list[DirectionEnds], world: World, story: Story
) -> None:
    directions = _both_ways(pairs, entry.one_way)
    change = _only(entry)
    name = _name(pairs, entry.one_way)
    story.changes.append(_change(number, entry.at, directions, name, change))
    end = entry.at
    if entry.for_ is not None:
        end_in_time(number, "for", entry.at, entry.for_, world, story)
        end = entry.at + entry.for_
        story.changes.append(
            Change(at_s=end, entry=number, directions=directions, change=None, text=f"{name}: as before")
        )
    for ends in directions:
        for key in changed_keys(change):
            story.spans.setdefault((ends, key), []).append(Span(start_s=entry.at, end_s=end, entry=number))


def _change(
    number: int, at_s: float, directions: tuple[DirectionEnds, ...], name: str, change: PartialLinkSettings
) -> Change:
    text = f"{name}: {in_words(change, brief=True)}"
    return Change(at_s=at_s, entry=number, directions=directions, change=change, text=text)


def _only(entry: PartialLinkSettings) -> PartialLinkSettings:
    """Only the properties, without the entry's times and links."""
    return PartialLinkSettings(**{name: getattr(entry, name) for name in changed_keys(entry)})


def _unfold_flap(number: int, entry: Flap, pairs: list[DirectionEnds], world: World, story: Story) -> None:
    if entry.until is not None:
        if not until_in_time(number, entry.at, entry.until, world, story):
            return
        until = entry.until
    else:
        assert entry.times is not None
        until = entry.at + entry.times * entry.down + (entry.times - 1) * entry.up
        if until > world.duration_s:
            end = units.format_duration(world.duration_s)
            story.wrong(
                number,
                "times",
                f"{entry.times} flaps end at {units.format_duration(until)}, after the run, {end}",
            )
            return
    if (until - entry.at) / (entry.down + entry.up) * 2 * len(pairs) > MAX_EVENTS:
        story.wrong(number, "down", f"more than {MAX_EVENTS:,} changes; is a time too short?")
        return
    cycle = 0
    while (down_s := entry.at + cycle * (entry.down + entry.up)) < until:
        for pair in pairs:
            _add_state(story, number, pair, tidy(down_s), False)
            _add_state(story, number, pair, tidy(min(down_s + entry.down, until)), True)
        cycle += 1


def _add_state(story: Story, number: int, pair: DirectionEnds, at_s: float, up: bool) -> None:
    text = f"{pair[0]} - {pair[1]} {'up' if up else 'down'}"
    story.links.append(SetLink(at_s=at_s, text=text, entry=number, a=pair[0], b=pair[1], up=up))


def _unfold_trace(number: int, entry: Trace, pairs: list[DirectionEnds], world: World, story: Story) -> None:
    if not entry.points:
        story.wrong(
            number, "points", "no points; give trace: FILE.csv, mahimahi: FILE, or points: [[0s, 5mbit], ...]"
        )
        return
    by_link: dict[str | None, list[Point]] = {}
    for point in entry.points:
        by_link.setdefault(point.link, []).append(point)
    for link, points in by_link.items():
        if (link is None) != bool(entry.pairs):
            given = "names no link" if link is None else f"names the link {link}, but so does the entry"
            story.wrong(
                number, "points", f"a point {given}; give a link either for the entry or for each point"
            )
            return
        mine = pairs
        if link is not None:
            a, _, b = link.partition("-")
            if not _known_link(number, (a, b), world, story, "trace" if entry.trace else "points"):
                continue
            mine = [(a, b)]
        if mine:
            _unfold_points(number, entry, mine, points, world, story)


def _unfold_points(
    number: int, entry: Trace, pairs: list[DirectionEnds], points: list[Point], world: World, story: Story
) -> None:
    period = entry.period if entry.repeat is not False else None
    if period is not None and points[-1].at_s >= period:
        shown = units.format_duration
        story.wrong(
            number, "period", f"{shown(period)} is not after the last point, {shown(points[-1].at_s)}"
        )
        return
    cycles = 1 if period is None else int((world.duration_s - entry.at) // period) + 1
    if cycles * len(points) > MAX_EVENTS:
        story.wrong(number, "points", f"more than {MAX_EVENTS:,} changes; use a longer bin or a shorter run")
        return
    if period is None:
        in_time(number, "points", entry.at + points[-1].at_s, world, story)
    directions, name = _both_ways(pairs, entry.one_way), _name(pairs, entry.one_way)
    last = entry.at
    for cycle in range(cycles):
        for point in points:
            at_s = tidy(entry.at + cycle * (period or 0.0) + point.at_s)
            if at_s >= world.duration_s:
                break
            last = at_s
            values: dict[str, Any] = dict(point.values)
            if "bandwidth" in values:
                values["bandwidth"] = max(values["bandwidth"], MIN_WIRE_BPS * world.dilation)
            change = PartialLinkSettings(**values)
            story.changes.append(_change(number, at_s, directions, name, change))
    for key in [row.key for row in TRACED if any(row.key in point.values for point in points)]:
        for ends in directions:
            span = Span(start_s=entry.at + points[0].at_s, end_s=last, entry=number)
            story.spans.setdefault((ends, key), []).append(span)


def _check_spans(story: Story) -> None:
    """Refuses two entries that change the same property of a direction at the same time."""
    for (ends, key), spans in story.spans.items():
        spans.sort(key=lambda span: (span.start_s, span.end_s))
        for earlier, later in itertools.pairwise(spans):
            if later.start_s < earlier.end_s or later.start_s == earlier.start_s:
                first, second = sorted((earlier.entry, later.entry))
                when = units.format_duration(tidy(later.start_s))
                story.wrong(
                    second,
                    key,
                    f"at {when} network.events[{first}] also sets {key} of {ends[0]} - {ends[1]}: "
                    "remove or move one of them",
                )


def _check_links(story: Story) -> None:
    """Refuses a link that goes down twice or up twice."""
    down: dict[frozenset[str], int] = {}
    # Up before down at the same instant: a flap may follow another.
    for event in sorted(story.links, key=lambda event: (event.at_s, not event.up, event.entry)):
        link = frozenset((event.a, event.b))
        if event.up:
            if link not in down:
                story.wrong(
                    event.entry,
                    "at",
                    f"{event.text} at {units.format_duration(event.at_s)}: it is already up",
                )
            elif down[link] != event.entry and not _is_manual(event, story):
                story.wrong(
                    event.entry, "at", f"{event.text}: network.events[{down[link]}] keeps it down until later"
                )
            down.pop(link, None)
        elif link in down:
            story.wrong(
                event.entry,
                "at",
                f"{event.text} at {units.format_duration(event.at_s)}: "
                f"network.events[{down[link]}] has already taken it down",
            )
        else:
            down[link] = event.entry


def _is_manual(event: SetLink, story: Story) -> bool:
    """Whether the entry only takes the link up: it may end what another entry began."""
    return not any(other.entry == event.entry and not other.up for other in story.links)


# Properties


def _reshapes(story: Story, world: World) -> Iterator[Reshape]:
    """Each change, with all properties of its directions from then on."""
    active: dict[DirectionEnds, dict[int, PartialLinkSettings]] = {ends: {} for ends in world.directions}
    reported: set[tuple[int, str]] = set()
    # At the same instant, ends come before beginnings.
    for change in sorted(
        story.changes, key=lambda change: (change.at_s, change.change is not None, change.entry)
    ):
        directions = []
        for ends in change.directions:
            before = active[ends].pop(change.entry, None)
            if change.change is not None:
                active[ends][change.entry] = _over(before, change.change)
            direction = world.directions[ends]
            asked = merged(direction.asked, *active[ends].values())
            new = replace(direction, asked=asked, wire=asked.dilated(world.dilation))
            directions.append(new)
            for key, text in direction_problems(new):
                name = key.rsplit(".", 1)[1]
                if (change.entry, name) not in reported:
                    reported.add((change.entry, name))
                    when = units.format_duration(change.at_s)
                    story.wrong(change.entry, name, f"from {when} on: {text}")
        yield Reshape(at_s=change.at_s, text=change.text, entry=change.entry, directions=tuple(directions))


def _over(before: PartialLinkSettings | None, change: PartialLinkSettings) -> PartialLinkSettings:
    """Two changes of an entry combined; the later overrides the earlier."""
    if before is None:
        return change
    return replace(before, **{name: getattr(change, name) for name in changed_keys(change)})
