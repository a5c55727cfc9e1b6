"""Unfolds and checks events of nodes and groups of nodes: crashes, pauses, churn, partitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from mnbed import units
from mnbed.experiment.event_settings import (
    Churn,
    Crash,
    EventSettings,
    Heal,
    NodeChange,
    Partition,
    Pause,
    Restart,
)
from mnbed.experiment.fields import did_you_mean
from mnbed.plan.event_story import MAX_EVENTS, Story, World, end_in_time, in_time, tidy, until_in_time
from mnbed.plan.model import NodeEvent, SetPartition
from node_agent.streams import stream
from topologies.reading import brief

# Churn leaves at least this many nodes alive: a single one has no peer.
_MIN_ALIVE = 2


# Partitions


def unfold_partition(number: int, entry: Partition | Heal, world: World, story: Story) -> None:
    if not in_time(number, "at", entry.at, world, story):
        return
    if isinstance(entry, Heal):
        story.partitions.append(SetPartition(at_s=entry.at, text="partition heals", entry=number, groups=()))
        return
    groups = entry.partition
    if len(groups) < 2 or not all(groups):
        story.wrong(
            number, "partition", "it must have at least two groups, with a host in each: [[h1, h2], [h3]]"
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
        end_in_time(number, "for", entry.at, entry.for_, world, story)
        at_s = tidy(entry.at + entry.for_)
        story.partitions.append(SetPartition(at_s=at_s, text="partition heals", entry=number, groups=()))


def check_partitions(story: Story) -> None:
    holder: int | None = None
    for event in sorted(story.partitions, key=lambda event: (event.at_s, bool(event.groups), event.entry)):
        when = units.format_duration(event.at_s)
        if event.groups and holder is not None:
            story.wrong(
                event.entry,
                "at",
                f"{when} is during the partition of network.events[{holder}]: heal that first",
            )
        elif not event.groups and holder is None:
            story.wrong(event.entry, "at", f"there is no partition to heal at {when}")
        holder = event.entry if event.groups else None


# Nodes


def _known_hosts(number: int, key: str, names: Iterable[str], world: World, story: Story) -> bool:
    wrong = [name for name in dict.fromkeys(names) if name not in world.hosts]
    for name in wrong:
        few = world.hosts if len(world.hosts) <= 12 else [*world.hosts[:3], "...", world.hosts[-1]]
        what = f"{brief(name)} is a switch, not a host" if name in world.graph else f"no host {brief(name)}"
        story.wrong(number, key, f"{what}{did_you_mean(name, few)}")
    return not wrong


def unfold_nodes(
    number: int, entry: NodeChange | Pause | Restart | Crash, world: World, story: Story
) -> None:
    key = "node" if entry.node is not None else "nodes"
    if not _known_hosts(number, key, entry.names, world, story):
        return
    if not in_time(number, "at", entry.at, world, story):
        return
    for name in dict.fromkeys(entry.names):
        if isinstance(entry, NodeChange):
            _add_node(story, number, name, entry.at, entry.action)
        elif isinstance(entry, Pause):
            _add_node(story, number, name, entry.at, "pause")
            if entry.for_ is not None:
                _add_node(story, number, name, tidy(entry.at + entry.for_), "resume")
        elif isinstance(entry, Restart):
            _add_node(story, number, name, entry.at, "restart", entry.state)
        else:
            _add_node(story, number, name, entry.at, "kill")
            _add_node(story, number, name, tidy(entry.at + entry.downtime), "restart", entry.state)
    if isinstance(entry, Pause) and entry.for_ is not None:
        end_in_time(number, "for", entry.at, entry.for_, world, story)
    if isinstance(entry, Crash):
        end_in_time(number, "downtime", entry.at, entry.downtime, world, story)


def _add_node(story: Story, number: int, name: str, at_s: float, action: str, state: str = "last") -> None:
    words = {
        "kill": f"{name} killed",
        "pause": f"{name} paused",
        "resume": f"{name} resumes",
        "restart": f"{name} restarts {'from its last snapshot' if state == 'last' else 'afresh'}",
    }
    story.nodes.append(
        NodeEvent(at_s=at_s, text=words[action], entry=number, node=name, action=action, state=state)  # type: ignore[arg-type]
    )


def unfold_churn(entries: Sequence[EventSettings], world: World, story: Story) -> None:
    """Call this after all other events of nodes: churn does not touch their nodes, and leaves two alive."""
    churns = [(number, entry) for number, entry in enumerate(entries) if isinstance(entry, Churn)]
    named = {event.node for event in story.nodes}
    for ordinal, (number, entry) in enumerate(churns):
        if not in_time(number, "at", entry.at, world, story):
            continue
        if not until_in_time(number, entry.at, entry.until, world, story):
            continue
        if entry.nodes is not None:
            if not _known_hosts(number, "nodes", entry.nodes, world, story):
                continue
            taken = sorted(set(entry.nodes) & named)
            if taken:
                story.wrong(
                    number,
                    "nodes",
                    f"{', '.join(taken)}: other entries already determine what happens to them",
                )
                continue
        nodes = (
            entry.nodes if entry.nodes is not None else [name for name in world.hosts if name not in named]
        )
        if not nodes:
            story.wrong(number, "nodes", "no host is left for it: other entries name all of them")
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
    number: int, entry: Churn, nodes: list[str], rng: np.random.Generator, world: World, story: Story
) -> None:
    """Draws crashes as a Poisson process; each hits one of the nodes that are alive."""
    others = [event for event in story.nodes if event.action in ("kill", "restart")]
    back_s: dict[str, float] = {}
    at_s = entry.at
    while (at_s := at_s + rng.exponential(1 / entry.per_s)) < entry.until:
        dead = {event.node for event in _last_before(others, at_s) if event.action == "kill"}
        dead |= {name for name, back in back_s.items() if back > at_s}
        alive = [name for name in nodes if name not in dead]
        # Always drawn, so that a crash that does not happen leaves later ones unchanged.
        choice = rng.integers(len(nodes))
        if not alive or len(world.hosts) - len(dead) <= _MIN_ALIVE:
            continue
        name = alive[choice % len(alive)]
        crash_s = float(f"{at_s:.6f}")
        back_s[name] = crash_s + entry.downtime
        _add_node(story, number, name, crash_s, "kill")
        if back_s[name] < world.duration_s:
            _add_node(story, number, name, tidy(back_s[name]), "restart", entry.state)


def _last_before(events: Collection[NodeEvent], at_s: float) -> Iterator[NodeEvent]:
    last: dict[str, NodeEvent] = {}
    for event in sorted(events, key=lambda event: event.at_s):
        if event.at_s <= at_s:
            last[event.node] = event
    yield from last.values()


# The states in which a node can take an action, and the state after it.
_BEFORE = {
    "kill": ("running", "paused"),
    "pause": ("running",),
    "resume": ("paused",),
    "restart": ("dead",),
}
_AFTER = {"kill": "dead", "pause": "paused", "resume": "running", "restart": "running"}


def check_nodes(story: Story, world: World) -> None:
    state = dict.fromkeys(world.hosts, "running")
    for event in sorted(story.nodes, key=lambda event: (event.at_s, event.entry)):
        if state[event.node] not in _BEFORE[event.action]:
            when = units.format_duration(event.at_s)
            what = f"{event.action} of {event.node} at {when}"
            already = "already " if state[event.node] == _AFTER[event.action] else ""
            story.wrong(event.entry, "at", f"{what}: it is {already}{state[event.node]}")
        else:
            state[event.node] = _AFTER[event.action]
