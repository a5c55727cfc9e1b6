"""From an experiment and the facts of a machine to a frozen Plan: every name, address, route and dilated
rate.

Pure: nothing here touches the machine, opens a file or draws from a random generator that the seed does not
fix. What comes after only executes the plan, so `mnbed plan` shows exactly what `mnbed run` will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import networkx as nx

import topologies
from mnbed import draws, feasible, routes, units
from mnbed.errors import InputError
from mnbed.experiment import Experiment
from mnbed.links import LinkProperties
from mnbed.machine import MachineFacts
from node_agent.algorithms import algorithm_class
from node_agent.streams import stream_seed
from topologies import rules

__all__ = ["HostPlan", "LinkPlan", "Plan", "make_plan"]

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
class LinkPlan:
    """One edge of the network graph: two interfaces, both shaped alike."""

    a: str
    b: str
    a_interface: str
    b_interface: str
    asked: LinkProperties
    """In emulated units, as the experiment asks."""
    wire: LinkProperties
    """In wall-clock units: `asked` under the run's dilation; what shaping puts on the interfaces."""
    straggler: bool = False
    """True for the slowed access link of a straggler."""


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
    path_delay_s: Mapping[tuple[str, str], float]
    """(source host, destination host) -> sum of the one-way delays along the route, wall-clock seconds."""
    subnet: str = "10.0.0.0/8"

    def host(self, name: str) -> HostPlan:
        """The host of that name. Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)


def make_plan(experiment: Experiment, facts: MachineFacts) -> Plan:
    """Decide everything that a run of the experiment does on a machine with those facts.

    Raises InputError with all that is wrong with the experiment, one line each, beginning with the key;
    MachineError where this machine cannot do it. What the facts leave unknown is taken for granted.
    """
    graph = _graph(experiment)
    names = rules.hosts(graph)
    switches = rules.switches(graph)
    feasible.check_size(experiment, len(names), len(switches), facts)
    problems = _time_problems(experiment)
    stragglers = draws.straggler_factors(experiment, names, problems)
    step_times = draws.step_times(experiment, len(names), problems)
    peers = draws.overlay_peers(experiment, len(names), problems)
    links = plan_links(experiment, graph, stragglers, problems)
    # A wrong overlay has too few peers by itself: one complaint is enough.
    problems += [] if problems else _algorithm_problems(experiment, {len(row) for row in peers})
    if problems:
        raise InputError("\n".join(problems))
    backend = feasible.delay_backend(experiment, [link.asked for link in links], facts)
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
    forwarding, path_delay_s = plan_routes(hosts, switches, links)
    return Plan(
        experiment=experiment,
        dilation=experiment.time.dilation,
        delay_backend=backend,
        hosts=hosts,
        switches=tuple(switches),
        links=links,
        forwarding=forwarding,
        path_delay_s=path_delay_s,
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
    experiment: Experiment, graph: nx.Graph, stragglers: Mapping[str, float], problems: list[str]
) -> tuple[LinkPlan, ...]:
    """One LinkPlan for each edge, host ends first, with the interface names that Mininet gives in this order."""
    ports = {node: 0 if data["kind"] == "host" else 1 for node, data in graph.nodes(data=True)}

    def next_interface(node: str) -> str:
        ports[node] += 1
        return f"{node}-eth{ports[node] - 1}"

    links = []
    for ends in graph.edges:
        a, b = sorted(ends, key=lambda node: (graph.nodes[node]["kind"], rules.natural_order(node)))
        asked = _properties(experiment, graph.edges[ends], stragglers.get(a, 1.0))
        links.append(
            LinkPlan(
                a=a,
                b=b,
                a_interface=next_interface(a),
                b_interface=next_interface(b),
                asked=asked,
                wire=asked.dilated(experiment.time.dilation),
                straggler=a in stragglers,
            )
        )
    # One complaint for each kind of trouble, not one for each link.
    found = dict(problem for link in links for problem in _link_problems(link))
    problems += [f"{key}: {text}" for key, text in found.items()]
    return tuple(links)


def _properties(experiment: Experiment, edge: Mapping[str, float], factor: float) -> LinkProperties:
    link = experiment.network.link
    return LinkProperties(
        bandwidth_bps=edge.get("bandwidth_bps", link.bandwidth) * factor,
        delay_s=edge.get("delay_s", link.delay),
        jitter_s=link.jitter,
        loss=link.loss,
        queue_packets=link.queue,
    )


def _link_problems(link: LinkPlan) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it)"""
    where = f"on link {link.a} - {link.b}"
    if not MIN_WIRE_BPS <= link.wire.bandwidth_bps <= MAX_WIRE_BPS:
        asked, wire, least, most = map(
            units.format_bandwidth,
            (link.asked.bandwidth_bps, link.wire.bandwidth_bps, MIN_WIRE_BPS, MAX_WIRE_BPS),
        )
        yield (
            "network.link.bandwidth",
            f"{asked} {where} is {wire} after dilation; allowed: {least} to {most}",
        )
    for key, asked_s, wire_s in (
        ("network.link.delay", link.asked.delay_s, link.wire.delay_s),
        ("network.link.jitter", link.asked.jitter_s, link.wire.jitter_s),
    ):
        if wire_s > MAX_WIRE_DELAY_S:
            asked, wire, most = map(units.format_duration, (asked_s, wire_s, MAX_WIRE_DELAY_S))
            yield key, f"{asked} {where} is {wire} after dilation; allowed: at most {most}"


def plan_routes(
    hosts: Sequence[HostPlan], switches: Sequence[str], links: Sequence[LinkPlan]
) -> tuple[dict[str, dict[str, str]], dict[tuple[str, str], float]]:
    """Every switch's table, and the delay of every pair of hosts along those tables."""
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
            neighbours[link.a][link.b] = neighbours[link.b][link.a] = link.wire.delay_s
    # Hosts on one switch share its tree.
    trees = {
        switch: routes.tree_towards(neighbours, switch) for switch in {link.b for link in access.values()}
    }
    forwarding: dict[str, dict[str, str]] = {switch: {} for switch in switches}
    path_delay_s = {}
    for target in hosts:
        last = access[target.name]
        next_switch, delay = trees[last.b]
        for switch in switches:
            towards = target.name if switch == last.b else next_switch[switch]
            forwarding[switch][target.mac] = interface[switch, towards]
        for source in hosts:
            if source is not target:
                first = access[source.name]
                path_delay_s[source.name, target.name] = (
                    first.wire.delay_s + delay[first.b] + last.wire.delay_s
                )
    return forwarding, path_delay_s
