"""From `network.events` to the elementary events of a plan, in order of time; and what contradicts itself on the way.

Three steps: every entry is unfolded into what happens to links, groups and nodes at which times; for each of these the
story is checked from its beginning to its end (nothing goes down twice, nobody dies twice, no two entries shape one
direction at once); then links' properties are worked out, as each change builds on those before it.

Pure, as all planning is: churn is drawn from the seed, traces were read when the file was loaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx
import numpy as np

from mnbed import units
from mnbed.event_settings import (
    Churn,
    Crash,
    EventSettings,
    Flap,
    Heal,
    LinkChange,
    LinkState,
    NodeChange,
    Partition,
    Pause,
    Point,
    Restart,
    Trace,
    changed_keys,
)
from mnbed.events import Event, NodeEvent, Reshape, SetLink, SetPartition
from mnbed.fields import did_you_mean
from mnbed.link_plans import MIN_WIRE_BPS, Direction, LinkPlan, direction_problems, merged, no_such_link
from mnbed.link_settings import PartialLinkSettings
from node_agent.streams import stream

# A slip in a unit (a flap of 1us) must not fill the memory.
MAX_EVENTS = 100_000
# So many live nodes are the least that churn leaves: one alone has nobody to talk to.
_MIN_ALIVE = 2

Ends = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """Properties that some directions have from a time on, by one entry."""

    at_s: float
    entry: int
    directions: tuple[Ends, ...]
    change: PartialLinkSettings | None
    """None: what this entry had changed is as before again."""
    text: str


@dataclass(frozen=True, kw_only=True)
class _Span:
    """From `start_s` to before `end_s` a direction's property is one entry's, and nobody else's."""

    start_s: float
    end_s: float
    entry: int


@dataclass
class _Story:
    """Everything unfolded, and what was found wrong."""

    changes: list[_Change] = field(default_factory=list)
    spans: dict[tuple[Ends, str], list[_Span]] = field(default_factory=dict)
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
class _World:
    """What entries may speak of."""

    graph: nx.Graph
    hosts: Sequence[str]
    directions: Mapping[Ends, Direction]
    duration_s: float
    dilation: float
    seed: int


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
    """The timeline; what is wrong with the entries is added to `problems`, one line each, beginning with the key."""
    directions = {(one.source, one.target): one for link in links for one in link.directions}
    world = _World(
        graph=graph, hosts=hosts, directions=directions, duration_s=duration_s, dilation=dilation, seed=seed
    )
    story = _Story()
    for number, entry in enumerate(entries):
        if isinstance(entry, (LinkChange, LinkState, Flap, Trace)):
            _unfold_links(number, entry, world, story)
        elif isinstance(entry, (Partition, Heal)):
            _unfold_partition(number, entry, world, story)
        elif not isinstance(entry, Churn):
            _unfold_nodes(number, entry, world, story)
        if story.size > MAX_EVENTS:
            story.wrong(number, None, f"more than {MAX_EVENTS:,} changes in all; is a time too short?")
            break
    _unfold_churn(entries, world, story)
    _check_spans(story)
    _check_links(story)
    _check_partitions(story)
    _check_nodes(story, world)
    found: list[Event] = []
    if not story.problems:
        found = [*_reshapes(story, world), *story.links, *story.partitions, *story.nodes]
    problems += dict.fromkeys(story.problems)
    # Stable: events of one instant come in the file's order.
    return tuple(sorted(sorted(found, key=lambda event: event.entry), key=lambda event: event.at_s))


# Times


def _in_time(number: int, key: str, at_s: float, world: _World, story: _Story) -> bool:
    if at_s < world.duration_s:
        return True
    shown = units.format_duration
    story.wrong(
        number, key, f"{shown(at_s)} is not before the run's end, time.duration, {shown(world.duration_s)}"
    )
    return False


def _end_in_time(number: int, key: str, begin_s: float, seconds: float, world: _World, story: _Story) -> None:
    if begin_s + seconds > world.duration_s:
        shown = units.format_duration
        story.wrong(
            number,
            key,
            f"{shown(seconds)} from {shown(begin_s)} on end after the run does, at {shown(world.duration_s)}",
        )


def _until_in_time(number: int, begin_s: float, until_s: float, world: _World, story: _Story) -> bool:
    shown = units.format_duration
    if until_s <= begin_s:
        story.wrong(number, "until", f"{shown(until_s)} is not after at, {shown(begin_s)}")
    elif until_s > world.duration_s:
        story.wrong(number, "until", f"{shown(until_s)} is after the run's end, {shown(world.duration_s)}")
    else:
        return True
    return False


# Links


def _unfold_links(
    number: int, entry: LinkChange | LinkState | Flap | Trace, world: _World, story: _Story
) -> None:
    key = "link" if entry.link is not None else "links"
    pairs = [pair for pair in dict.fromkeys(entry.pairs) if _known_link(number, pair, world, story, key)]
    if not _in_time(number, "at", entry.at, world, story):
        return
    if isinstance(entry, LinkChange):
        _unfold_change(number, entry, pairs, world, story)
    elif isinstance(entry, Trace):
        _unfold_trace(number, entry, pairs, world, story)
    elif isinstance(entry, LinkState):
        if entry.for_ is not None:
            _end_in_time(number, "for", entry.at, entry.for_, world, story)
        for pair in pairs:
            _add_state(story, number, pair, entry.at, entry.action == "up")
            if entry.for_ is not None:
                _add_state(story, number, pair, entry.at + entry.for_, True)
    else:
        _unfold_flap(number, entry, pairs, world, story)


def _known_link(number: int, pair: Ends, world: _World, story: _Story, key: str) -> bool:
    if world.graph.has_edge(*pair):
        return True
    story.wrong(number, key, no_such_link(world.graph, *pair))
    return False


def _both_ways(pairs: Iterable[Ends], one_way: bool) -> tuple[Ends, ...]:
    return tuple(ends for a, b in pairs for ends in ([(a, b)] if one_way else [(a, b), (b, a)]))


def _name(pairs: Sequence[Ends], one_way: bool) -> str:
    arrow = "->" if one_way else "-"
    shown = [f"{a} {arrow} {b}" for a, b in pairs[:3]]
    return ", ".join(shown) + (f" and {len(pairs) - 3} more" if len(pairs) > 3 else "")


def _words(change: PartialLinkSettings) -> str:
    parts = []
    for name in changed_keys(change):
        value = getattr(change, name)
        if name == "bandwidth":
            value = units.format_bandwidth(float(f"{value:.4g}"))
        elif name in ("delay", "jitter"):
            value = units.format_duration(float(f"{value:.4g}"))
        parts.append(f"{name} {value}")
    return ", ".join(parts)


def _unfold_change(number: int, entry: LinkChange, pairs: list[Ends], world: _World, story: _Story) -> None:
    directions = _both_ways(pairs, entry.one_way)
    change = _only(entry)
    name = _name(pairs, entry.one_way)
    story.changes.append(
        _Change(
            at_s=entry.at,
            entry=number,
            directions=directions,
            change=change,
            text=f"{name}: {_words(change)}",
        )
    )
    end = entry.at
    if entry.for_ is not None:
        _end_in_time(number, "for", entry.at, entry.for_, world, story)
        end = entry.at + entry.for_
        story.changes.append(
            _Change(at_s=end, entry=number, directions=directions, change=None, text=f"{name}: as before")
        )
    for ends in directions:
        for key in changed_keys(change):
            story.spans.setdefault((ends, key), []).append(_Span(start_s=entry.at, end_s=end, entry=number))


def _only(entry: PartialLinkSettings) -> PartialLinkSettings:
    """The properties alone, without the entry's times and links."""
    return PartialLinkSettings(**{name: getattr(entry, name) for name in changed_keys(entry)})


def _unfold_flap(number: int, entry: Flap, pairs: list[Ends], world: _World, story: _Story) -> None:
    if entry.until is not None:
        if not _until_in_time(number, entry.at, entry.until, world, story):
            return
        until = entry.until
    else:
        assert entry.times is not None
        until = entry.at + entry.times * entry.down + (entry.times - 1) * entry.up
        if until > world.duration_s:
            end = units.format_duration(world.duration_s)
            story.wrong(
                number, "times", f"{entry.times} end at {units.format_duration(until)}, after the run, {end}"
            )
            return
    if (until - entry.at) / (entry.down + entry.up) * 2 * len(pairs) > MAX_EVENTS:
        story.wrong(number, "down", f"more than {MAX_EVENTS:,} changes; is a time too short?")
        return
    cycle = 0
    while (down_s := entry.at + cycle * (entry.down + entry.up)) < until:
        for pair in pairs:
            _add_state(story, number, pair, _tidy(down_s), False)
            _add_state(story, number, pair, _tidy(min(down_s + entry.down, until)), True)
        cycle += 1


def _tidy(seconds: float) -> float:
    """12 digits: a sum of decimals must not become 0.30000000000000004."""
    return float(f"{seconds:.12g}")


def _add_state(story: _Story, number: int, pair: Ends, at_s: float, up: bool) -> None:
    text = f"{pair[0]} - {pair[1]} {'up' if up else 'down'}"
    story.links.append(SetLink(at_s=at_s, text=text, entry=number, a=pair[0], b=pair[1], up=up))


def _unfold_trace(number: int, entry: Trace, pairs: list[Ends], world: _World, story: _Story) -> None:
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
            given = "names no link" if link is None else f"names the link {link}, and so does the entry"
            story.wrong(number, "points", f"a point {given}; give either the entry a link, or each point one")
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
    number: int, entry: Trace, pairs: list[Ends], points: list[Point], world: _World, story: _Story
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
        _in_time(number, "points", entry.at + points[-1].at_s, world, story)
    directions, name = _both_ways(pairs, entry.one_way), _name(pairs, entry.one_way)
    last = entry.at
    for cycle in range(cycles):
        for point in points:
            at_s = _tidy(entry.at + cycle * (period or 0.0) + point.at_s)
            if at_s >= world.duration_s:
                break
            last = at_s
            bandwidth = point.bandwidth_bps
            if bandwidth is not None:
                bandwidth = max(bandwidth, MIN_WIRE_BPS * world.dilation)
            change = PartialLinkSettings(bandwidth=bandwidth, delay=point.delay_s)
            story.changes.append(
                _Change(
                    at_s=at_s,
                    entry=number,
                    directions=directions,
                    change=change,
                    text=f"{name}: {_words(change)}",
                )
            )
    for key, used in (
        ("bandwidth", any(point.bandwidth_bps is not None for point in points)),
        ("delay", any(point.delay_s is not None for point in points)),
    ):
        if used:
            for ends in directions:
                span = _Span(start_s=entry.at + points[0].at_s, end_s=last, entry=number)
                story.spans.setdefault((ends, key), []).append(span)


def _check_spans(story: _Story) -> None:
    """No two entries may change one property of one direction at the same time."""
    for (ends, key), spans in story.spans.items():
        spans.sort(key=lambda span: (span.start_s, span.end_s))
        for earlier, later in itertools.pairwise(spans):
            if later.start_s < earlier.end_s or later.start_s == earlier.start_s:
                first, second = sorted((earlier.entry, later.entry))
                when = units.format_duration(_tidy(later.start_s))
                story.wrong(
                    second,
                    key,
                    f"at {when} network.events[{first}] shapes the same, {key} of {ends[0]} - {ends[1]}: "
                    "leave one out, or move it",
                )


def _check_links(story: _Story) -> None:
    """A link that is down goes up before it goes down again."""
    down: dict[frozenset[str], int] = {}
    # Up before down at one instant: a flap may follow another.
    for event in sorted(story.links, key=lambda event: (event.at_s, not event.up, event.entry)):
        link = frozenset((event.a, event.b))
        if event.up:
            if link not in down:
                story.wrong(
                    event.entry,
                    "at",
                    f"{event.text} at {units.format_duration(event.at_s)}: it is up already",
                )
            elif down[link] != event.entry and not _is_manual(event, story):
                story.wrong(event.entry, "at", f"{event.text}: network.events[{down[link]}] has it down then")
            down.pop(link, None)
        elif link in down:
            story.wrong(
                event.entry,
                "at",
                f"{event.text} at {units.format_duration(event.at_s)}: network.events[{down[link]}] has it down",
            )
        else:
            down[link] = event.entry


def _is_manual(event: SetLink, story: _Story) -> bool:
    """An entry of its own that takes the link up: it may end what another has begun."""
    return not any(other.entry == event.entry and not other.up for other in story.links)


# Partitions


def _unfold_partition(number: int, entry: Partition | Heal, world: _World, story: _Story) -> None:
    if not _in_time(number, "at", entry.at, world, story):
        return
    if isinstance(entry, Heal):
        story.partitions.append(SetPartition(at_s=entry.at, text="partition heals", entry=number, groups=()))
        return
    groups = entry.partition
    if len(groups) < 2 or not all(groups):
        story.wrong(
            number, "partition", "it must have two groups or more, with a host in each: [[h1, h2], [h3]]"
        )
        return
    names = [name for group in groups for name in group]
    _known_hosts(number, "partition", names, world, story)
    for name in sorted({name for name in names if names.count(name) > 1}):
        story.wrong(number, "partition", f"{name} is named twice")
    text = "partition " + " | ".join(
        " ".join(group[:6]) + (" ..." if len(group) > 6 else "") for group in groups
    )
    story.partitions.append(SetPartition(at_s=entry.at, text=text, entry=number, groups=groups))
    if entry.for_ is not None:
        _end_in_time(number, "for", entry.at, entry.for_, world, story)
        at_s = _tidy(entry.at + entry.for_)
        story.partitions.append(SetPartition(at_s=at_s, text="partition heals", entry=number, groups=()))


def _check_partitions(story: _Story) -> None:
    holder: int | None = None
    for event in sorted(story.partitions, key=lambda event: (event.at_s, bool(event.groups), event.entry)):
        when = units.format_duration(event.at_s)
        if event.groups and holder is not None:
            story.wrong(
                event.entry, "at", f"{when} lies in the partition of network.events[{holder}]: heal it first"
            )
        elif not event.groups and holder is None:
            story.wrong(event.entry, "at", f"at {when} there is no partition to heal")
        holder = event.entry if event.groups else None


# Nodes


def _known_hosts(number: int, key: str, names: Iterable[str], world: _World, story: _Story) -> bool:
    wrong = [name for name in dict.fromkeys(names) if name not in world.hosts]
    for name in wrong:
        few = world.hosts if len(world.hosts) <= 12 else [*world.hosts[:3], "...", world.hosts[-1]]
        what = f"{name!r} is a switch, not a host" if name in world.graph else f"no host {name!r}"
        story.wrong(number, key, f"{what}{did_you_mean(name, few)}")
    return not wrong


def _unfold_nodes(
    number: int, entry: NodeChange | Pause | Restart | Crash, world: _World, story: _Story
) -> None:
    key = "node" if entry.node is not None else "nodes"
    if not _known_hosts(number, key, entry.names, world, story):
        return
    if not _in_time(number, "at", entry.at, world, story):
        return
    for name in dict.fromkeys(entry.names):
        if isinstance(entry, NodeChange):
            _add_node(story, number, name, entry.at, entry.action)
        elif isinstance(entry, Pause):
            _add_node(story, number, name, entry.at, "pause")
            if entry.for_ is not None:
                _add_node(story, number, name, _tidy(entry.at + entry.for_), "resume")
        elif isinstance(entry, Restart):
            _add_node(story, number, name, entry.at, "restart", entry.state)
        else:
            _add_node(story, number, name, entry.at, "kill")
            _add_node(story, number, name, _tidy(entry.at + entry.downtime), "restart", entry.state)
    if isinstance(entry, Pause) and entry.for_ is not None:
        _end_in_time(number, "for", entry.at, entry.for_, world, story)
    if isinstance(entry, Crash):
        _end_in_time(number, "downtime", entry.at, entry.downtime, world, story)


def _add_node(story: _Story, number: int, name: str, at_s: float, action: str, state: str = "last") -> None:
    words = {
        "kill": f"{name} killed",
        "pause": f"{name} paused",
        "resume": f"{name} resumes",
        "restart": f"{name} restarts {'from its last snapshot' if state == 'last' else 'afresh'}",
    }
    story.nodes.append(
        NodeEvent(at_s=at_s, text=words[action], entry=number, node=name, action=action, state=state)  # type: ignore[arg-type]
    )


def _unfold_churn(entries: Sequence[EventSettings], world: _World, story: _Story) -> None:
    """After all other nodes' stories are known: churn leaves those nodes alone, and leaves two alive."""
    churns = [(number, entry) for number, entry in enumerate(entries) if isinstance(entry, Churn)]
    named = {event.node for event in story.nodes}
    for ordinal, (number, entry) in enumerate(churns):
        if not _in_time(number, "at", entry.at, world, story):
            continue
        if not _until_in_time(number, entry.at, entry.until, world, story):
            continue
        if entry.nodes is not None:
            if not _known_hosts(number, "nodes", entry.nodes, world, story):
                continue
            taken = sorted(set(entry.nodes) & named)
            if taken:
                story.wrong(number, "nodes", f"{', '.join(taken)}: other entries say what happens to them")
                continue
        nodes = (
            entry.nodes if entry.nodes is not None else [name for name in world.hosts if name not in named]
        )
        if not nodes:
            story.wrong(number, "nodes", "no host is left for it: other entries name them all")
            continue
        if entry.per_s * (entry.until - entry.at) > MAX_EVENTS / 2:
            story.wrong(
                number,
                "rate",
                f"about {entry.per_s * (entry.until - entry.at):,.0f} crashes; is it too high?",
            )
            continue
        _draw_churn(number, entry, list(nodes), stream(world.seed, "churn", ordinal), world, story)
        named |= set(nodes)


def _draw_churn(
    number: int, entry: Churn, nodes: list[str], rng: np.random.Generator, world: _World, story: _Story
) -> None:
    """Crashes are a Poisson process; each takes one of the nodes that live then."""
    others = [event for event in story.nodes if event.action in ("kill", "restart")]
    back_s: dict[str, float] = {}
    at_s = entry.at
    while (at_s := at_s + rng.exponential(1 / entry.per_s)) < entry.until:
        dead = {event.node for event in _last_before(others, at_s) if event.action == "kill"}
        dead |= {name for name, back in back_s.items() if back > at_s}
        alive = [name for name in nodes if name not in dead]
        choice = rng.integers(len(nodes))  # drawn in any case, so that one spared crash shifts none after it
        if not alive or len(world.hosts) - len(dead) <= _MIN_ALIVE:
            continue
        name = alive[choice % len(alive)]
        crash_s = float(f"{at_s:.6f}")
        back_s[name] = crash_s + entry.downtime
        _add_node(story, number, name, crash_s, "kill")
        if back_s[name] < world.duration_s:
            _add_node(story, number, name, _tidy(back_s[name]), "restart", entry.state)


def _last_before(events: Collection[NodeEvent], at_s: float) -> Iterator[NodeEvent]:
    last: dict[str, NodeEvent] = {}
    for event in sorted(events, key=lambda event: event.at_s):
        if event.at_s <= at_s:
            last[event.node] = event
    yield from last.values()


# What a node must be for an action, and what it is then.
_BEFORE = {
    "kill": ("runs", "is paused"),
    "pause": ("runs",),
    "resume": ("is paused",),
    "restart": ("is dead",),
}
_AFTER = {"kill": "is dead", "pause": "is paused", "resume": "runs", "restart": "runs"}


def _check_nodes(story: _Story, world: _World) -> None:
    state = dict.fromkeys(world.hosts, "runs")
    for event in sorted(story.nodes, key=lambda event: (event.at_s, event.entry)):
        if state[event.node] not in _BEFORE[event.action]:
            when = units.format_duration(event.at_s)
            story.wrong(
                event.entry, "at", f"{event.action} of {event.node} at {when}: it {state[event.node]} then"
            )
        else:
            state[event.node] = _AFTER[event.action]


# Properties


def _reshapes(story: _Story, world: _World) -> Iterator[Reshape]:
    """Each change, with all properties that its directions have from then on."""
    active: dict[Ends, dict[int, PartialLinkSettings]] = {ends: {} for ends in world.directions}
    complained: set[tuple[int, str]] = set()
    # What ends comes before what begins at the same instant.
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
                if (change.entry, name) not in complained:
                    complained.add((change.entry, name))
                    when = units.format_duration(change.at_s)
                    story.wrong(change.entry, name, f"from {when} on: {text}")
        yield Reshape(at_s=change.at_s, text=change.text, entry=change.entry, directions=tuple(directions))


def _over(before: PartialLinkSettings | None, change: PartialLinkSettings) -> PartialLinkSettings:
    """Both changes of one entry, the later over the earlier."""
    if before is None:
        return change
    return replace(before, **{name: getattr(change, name) for name in changed_keys(change)})
