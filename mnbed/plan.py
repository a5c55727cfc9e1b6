"""From an experiment and the facts of a machine to a frozen Plan: every name, address, route and dilated
rate.

Pure: nothing here touches the machine, opens a file or draws from a random generator that the seed does not
fix. What comes after only executes the plan, so `mnbed plan` shows exactly what `mnbed run` will do.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

import networkx as nx

import topologies
from mnbed import budget, draws, feasible, routes, units
from mnbed.errors import InputError
from mnbed.events import Event
from mnbed.experiment import Experiment, LinkSettings, PartialLinkSettings
from mnbed.links import LinkProperties, PathProperties, along
from mnbed.machine import MachineFacts
from mnbed.step_cost import StepCost
from node_agent.algorithms import algorithm_class
from node_agent.streams import stream_seed
from topologies import rules

__all__ = ["Direction", "HostPlan", "LinkPlan", "Plan", "make_plan"]

# Below 8 kbit/s one full frame lasts longer than TCP's first retransmission timeout.
MIN_WIRE_BPS = 8e3
# HTB's classic rate field holds bytes per second in 32 bits: 34.36 Gbit/s.
MAX_WIRE_BPS = 34e9
# netem counts 64 ns ticks in 32 bits: 274 s.
MAX_WIRE_DELAY_S = 200.0
# A slip in a unit (5ms for 5s) must not fill the disk.
MAX_SNAPSHOTS_PER_NODE = 10_000


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """One emulated host, and the agent that will run in it."""

    name: str
    """h1..hN; also the agent's name."""
    index: int
    """0..N-1: the node's identity on the wire and in every random stream."""
    address: str
    """IPv4 address, e.g. 10.0.0.1."""
    mac: str
    straggler: bool
    """True where the experiment slowed this host's access link."""
    step_time_s: float
    """Emulated cost of one local step on this node, slow-node factor included."""
    peers: tuple[str, ...]
    """Names of the overlay neighbours, in host order."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction of a link: what is sent at `source` and arrives at `target`."""

    source: str
    target: str
    interface: str
    """At the source; its egress carries the shaping."""
    arrival: str
    """The interface at the target."""
    asked: LinkProperties
    """In emulated units, as the experiment asks."""
    wire: LinkProperties
    """In wall-clock units: `asked` under the run's dilation; what shaping puts on the interface."""


@dataclass(frozen=True, kw_only=True)
class LinkPlan:
    """One edge of the network graph: two interfaces, and a direction from each."""

    forward: Direction
    """From a to b: on an access link from the host to its switch."""
    backward: Direction
    straggler: bool = False
    """True for the slowed access link of a straggler."""

    @property
    def a(self) -> str:
        return self.forward.source

    @property
    def b(self) -> str:
        return self.forward.target

    @property
    def a_interface(self) -> str:
        return self.forward.interface

    @property
    def b_interface(self) -> str:
        return self.backward.interface

    @property
    def directions(self) -> tuple[Direction, Direction]:
        return self.forward, self.backward


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a run does, decided."""

    experiment: Experiment
    dilation: float
    delay_backend: str
    """"netem", "nfqueue", or "none" where no link has a delay."""
    hosts: tuple[HostPlan, ...]
    switches: tuple[str, ...]
    links: tuple[LinkPlan, ...]
    forwarding: Mapping[str, Mapping[str, str]]
    """switch -> destination host's MAC -> that switch's outgoing interface; from shortest paths by delay."""
    dilation_asked: float | str = 1.0
    """The experiment's own word: a number, or auto."""
    step: StepCost | None = None
    """What a local step costs on this machine, where it was measured."""
    timeline: tuple[Event, ...] = ()
    """What happens during the run, in order of time."""
    subnet: str = "10.0.0.0/8"

    def host(self, name: str) -> HostPlan:
        """The host of that name. Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    @functools.cached_property
    def directions(self) -> Mapping[tuple[str, str], Direction]:
        """(source, target) -> that direction of their link."""
        return {(one.source, one.target): one for link in self.links for one in link.directions}

    @functools.cached_property
    def _by_interface(self) -> Mapping[str, Direction]:
        return {one.interface: one for one in self.directions.values()}

    @functools.cached_property
    def _access(self) -> Mapping[str, Direction]:
        names = {host.name for host in self.hosts}
        return {one.source: one for one in self.directions.values() if one.source in names}

    @functools.cached_property
    def _macs(self) -> Mapping[str, str]:
        return {host.name: host.mac for host in self.hosts}

    def route(self, source: str, target: str) -> Iterator[Direction]:
        """The directions that a packet takes from one host to another."""
        mac = self._macs[target]
        direction = self._access[source]
        yield direction
        while direction.target != target:
            direction = self._by_interface[self.forwarding[direction.target][mac]]
            yield direction

    def path(
        self, source: str, target: str, wires: Mapping[tuple[str, str], LinkProperties] | None = None
    ) -> PathProperties:
        """What the links on the way from one host to another do together, wall-clock units.

        `wires`: (source, target) of a direction -> its properties now, where events have changed them.
        """
        return along(
            one.wire if wires is None else wires.get((one.source, one.target), one.wire)
            for one in self.route(source, target)
        )


def make_plan(experiment: Experiment, facts: MachineFacts, step: StepCost | None = None) -> Plan:
    """Decide everything that a run of the experiment does on a machine with those facts.

    `step`: what a local step costs here. Without it, dilation auto is 1, and step_time cannot be `measured`.
    Raises InputError with all that is wrong with the experiment, one line each, beginning with the key;
    MachineError where this machine cannot do it. What the facts leave unknown is taken for granted.
    """
    asked = experiment.time.dilation
    if isinstance(asked, str):
        plan = _plan_at(1.0, experiment, facts, step)
        chosen = 1.0 if step is None else max(1.0, budget.fitting_dilation(plan, facts, step))
        return replace(_plan_at(chosen, experiment, facts, step), dilation_asked=asked)
    return replace(_plan_at(asked, experiment, facts, step), dilation_asked=asked)


def _plan_at(dilation: float, experiment: Experiment, facts: MachineFacts, step: StepCost | None) -> Plan:
    graph = _graph(experiment)
    names = rules.hosts(graph)
    switches = rules.switches(graph)
    feasible.check_size(experiment, len(names), len(switches), facts)
    problems = _time_problems(experiment)
    stragglers = draws.straggler_factors(experiment, names, problems)
    step_times = draws.step_times(experiment, len(names), problems)
    peers = draws.overlay_peers(experiment, len(names), problems)
    links = plan_links(experiment, graph, stragglers, dilation, problems)
    # A wrong overlay has too few peers by itself: one complaint is enough.
    problems += [] if problems else _algorithm_problems(experiment, {len(row) for row in peers})
    if problems:
        raise InputError("\n".join(problems))
    asked = [one.asked for link in links for one in link.directions]
    backend = feasible.delay_backend(experiment, asked, facts)
    feasible.check_congestion_control(experiment, facts)
    hosts = tuple(
        HostPlan(
            name=name,
            index=index,
            address=str(IPv4Address("10.0.0.0") + index + 1),
            mac=_mac(index),
            straggler=name in stragglers,
            step_time_s=step_times[index],
            peers=tuple(names[peer] for peer in peers[index]),
        )
        for index, name in enumerate(names)
    )
    return Plan(
        experiment=experiment,
        dilation=dilation,
        delay_backend=backend,
        hosts=hosts,
        switches=tuple(switches),
        links=links,
        forwarding=plan_routes(hosts, switches, links),
        step=step,
    )


def _graph(experiment: Experiment) -> nx.Graph:
    parameters = dict(experiment.network.topology)
    kind = parameters.pop("kind")
    try:
        return topologies.generate(kind, parameters, stream_seed(experiment.seed, "topology"))
    except ValueError as error:
        raise InputError(f"network.topology: {kind}: {error}") from None


def _mac(index: int) -> str:
    digits = f"{index + 1:012x}"
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _time_problems(experiment: Experiment) -> list[str]:
    problems = []
    duration, every = experiment.time.duration, experiment.evaluate.every
    step_time = experiment.compute.step_time
    local_steps = getattr(experiment.task, "local_steps", 1)
    shown = units.format_duration
    if duration < local_steps * step_time:
        problems.append(
            f"time.duration: got {shown(duration)}; one round takes {shown(local_steps * step_time)} "
            f"({local_steps} local steps of {shown(step_time)})"
        )
    if every > duration:
        problems.append(
            f"evaluate.every: got {shown(every)}; it must be at most time.duration, {shown(duration)}"
        )
    elif duration / every > MAX_SNAPSHOTS_PER_NODE:
        problems.append(
            f"evaluate.every: got {shown(every)}; that makes {duration / every:,.0f} snapshots of each node, "
            f"and {MAX_SNAPSHOTS_PER_NODE:,} are allowed"
        )
    return problems


def _algorithm_problems(experiment: Experiment, peer_counts: set[int]) -> list[str]:
    """What the algorithm says to the numbers of peers that nodes have."""
    settings = experiment.algorithm
    check = algorithm_class(settings.name).check_settings
    found = (check(settings, count) for count in sorted(peer_counts))
    return [f"algorithm.{problem}" for problem in dict.fromkeys(found) if problem is not None]


def plan_links(
    experiment: Experiment,
    graph: nx.Graph,
    stragglers: Mapping[str, float],
    dilation: float,
    problems: list[str],
) -> tuple[LinkPlan, ...]:
    """One LinkPlan for each edge, host ends first, with the interface names that Mininet gives in this order."""
    ports = {node: 0 if data["kind"] == "host" else 1 for node, data in graph.nodes(data=True)}

    def next_interface(node: str) -> str:
        ports[node] += 1
        return f"{node}-eth{ports[node] - 1}"

    own = _own_properties(experiment, graph, problems)
    links = []
    for ends in graph.edges:
        a, b = sorted(ends, key=lambda node: (graph.nodes[node]["kind"], rules.natural_order(node)))
        a_interface, b_interface = next_interface(a), next_interface(b)
        directions = []
        for source, target, interface, arrival in (
            (a, b, a_interface, b_interface),
            (b, a, b_interface, a_interface),
        ):
            asked = _properties(experiment, graph.edges[ends], stragglers.get(a, 1.0), source == b)
            asked = merged(asked, *own.get((source, target), ()))
            directions.append(
                Direction(
                    source=source,
                    target=target,
                    interface=interface,
                    arrival=arrival,
                    asked=asked,
                    wire=asked.dilated(dilation),
                )
            )
        links.append(LinkPlan(forward=directions[0], backward=directions[1], straggler=a in stragglers))
    # One complaint for each kind of trouble, not one for each link.
    found: dict[str, str] = {}
    for link in links:
        for one in link.directions:
            for key, text in direction_problems(one):
                found.setdefault(key, text)
    problems += [f"{key}: {text}" for key, text in found.items()]
    return tuple(links)


def _own_properties(
    experiment: Experiment, graph: nx.Graph, problems: list[str]
) -> dict[tuple[str, str], list[PartialLinkSettings]]:
    """(source, target) -> what `network.links` says of that direction, in the file's order."""
    own: dict[tuple[str, str], list[PartialLinkSettings]] = {}
    for number, entry in enumerate(experiment.network.links):
        a, b = entry.link
        if not graph.has_edge(a, b):
            problems.append(f"network.links.{number}.link: {no_such_link(graph, a, b)}")
            continue
        own.setdefault((a, b), []).append(entry)
        if not entry.one_way:
            own.setdefault((b, a), []).append(entry)
    return own


def no_such_link(graph: nx.Graph, a: str, b: str) -> str:
    """Why the graph has no link between these two, in words that help to find the right one."""
    for node in (a, b):
        if node not in graph:
            shown = sorted(graph, key=rules.natural_order)
            shown = shown if len(shown) <= 12 else [*shown[:6], "...", shown[-1]]
            return f"no node {node!r} in the network; it has: {', '.join(shown)}"
    neighbours = sorted(graph.neighbors(a), key=rules.natural_order)
    shown = neighbours if len(neighbours) <= 12 else [*neighbours[:6], "...", neighbours[-1]]
    return f"no link {a} - {b}; {a} is linked to: {', '.join(shown)}"


def _properties(
    experiment: Experiment, edge: Mapping[str, float], factor: float, backward: bool
) -> LinkProperties:
    link = experiment.network.link
    asked = merged(
        LinkProperties(
            bandwidth_bps=edge.get("bandwidth_bps", link.bandwidth), delay_s=edge.get("delay_s", link.delay)
        ),
        _without_rate_and_delay(link),
        *([link.reverse] if backward else []),
    )
    return replace(asked, bandwidth_bps=asked.bandwidth_bps * factor)


def _without_rate_and_delay(link: LinkSettings) -> PartialLinkSettings:
    """The properties that an edge of the graph does not override."""
    return PartialLinkSettings(
        jitter=link.jitter,
        distribution=link.distribution,
        loss=link.loss,
        reorder=link.reorder,
        queue=link.queue,
    )


def merged(asked: LinkProperties, *changes: PartialLinkSettings) -> LinkProperties:
    """The properties with those changes, the later ones over the earlier."""
    for change in changes:
        new: dict[str, Any] = {
            name: value
            for name, value in (
                ("bandwidth_bps", change.bandwidth),
                ("delay_s", change.delay),
                ("jitter_s", change.jitter),
                ("distribution", change.distribution),
                ("loss", change.loss),
                ("reorder", change.reorder),
            )
            if value is not None
        }
        if isinstance(change.queue, str):
            new |= {"queue_packets": None, "queue_bdp": float(change.queue.removesuffix("bdp"))}
        elif change.queue is not None:
            new["queue_packets"] = change.queue
        asked = replace(asked, **new)
    return asked


def direction_problems(direction: Direction) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it)"""
    asked, wire = direction.asked, direction.wire
    where = f"on link {direction.source} - {direction.target}"
    if not MIN_WIRE_BPS <= wire.bandwidth_bps <= MAX_WIRE_BPS:
        shown = map(
            units.format_bandwidth, (asked.bandwidth_bps, wire.bandwidth_bps, MIN_WIRE_BPS, MAX_WIRE_BPS)
        )
        yield (
            "network.link.bandwidth",
            "{} {where} is {} after dilation; allowed: {} to {}".format(*shown, where=where),
        )
    for name in ("delay", "jitter"):
        asked_s, wire_s = getattr(asked, f"{name}_s"), getattr(wire, f"{name}_s")
        if wire_s > MAX_WIRE_DELAY_S:
            shown = map(units.format_duration, (asked_s, wire_s, MAX_WIRE_DELAY_S))
            yield (
                f"network.link.{name}",
                "{} {where} is {} after dilation; allowed: at most {}".format(*shown, where=where),
            )
    if asked.jitter_s > asked.delay_s:
        jitter, delay = units.format_duration(asked.jitter_s), units.format_duration(asked.delay_s)
        yield (
            "network.link.jitter",
            f"{jitter} {where} is above its delay, {delay}: delays would be below zero",
        )
    if asked.reorder and not asked.delay_s:
        yield "network.link.reorder", f"{asked.reorder:g} {where}, which has no delay: nothing can overtake"


def plan_routes(
    hosts: Sequence[HostPlan], switches: Sequence[str], links: Sequence[LinkPlan]
) -> dict[str, dict[str, str]]:
    """Every switch's table: destination host's MAC -> outgoing interface."""
    access: dict[str, LinkPlan] = {}
    neighbours: dict[str, dict[str, float]] = {switch: {} for switch in switches}
    interface: dict[tuple[str, str], str] = {}
    names = {host.name for host in hosts}
    for link in links:
        interface[link.b, link.a] = link.b_interface
        if link.a in names:
            access[link.a] = link
        else:
            interface[link.a, link.b] = link.a_interface
            neighbours[link.a][link.b] = link.forward.asked.delay_s
            neighbours[link.b][link.a] = link.backward.asked.delay_s
    # Hosts on one switch share its tree.
    trees = {
        switch: routes.tree_towards(neighbours, switch) for switch in {link.b for link in access.values()}
    }
    forwarding: dict[str, dict[str, str]] = {switch: {} for switch in switches}
    for target in hosts:
        last = access[target.name]
        next_switch = trees[last.b]
        for switch in switches:
            towards = target.name if switch == last.b else next_switch[switch]
            forwarding[switch][target.mac] = interface[switch, towards]
    return forwarding
