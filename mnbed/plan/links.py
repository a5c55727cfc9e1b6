"""Makes the links of a plan: from the graph and the experiment's settings to the properties of every direction.

`model.py` defines a plan's link, `properties.py` the properties, and `link_property.py` what the testbed must know
about each. Events that change links merge and check their changes here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import networkx as nx

from mnbed.experiment.link_settings import LinkSettings, PartialLinkSettings
from mnbed.experiment.sections import Experiment
from mnbed.plan.model import Branch, Direction, LinkPlan
from mnbed.plan.properties import PROPERTIES, LinkProperties, PairProperties
from topologies import rules
from topologies.reading import brief

# Share of the hosts' median access bandwidth below which a host is a straggler.
SLOW_SHARE = 0.5
# Bandwidth of an access link that should not limit anything.
UNLIMITED_BPS = 10e9


def plan_links(
    experiment: Experiment,
    graph: nx.Graph,
    stragglers: Mapping[str, float],
    dilation: float,
    problems: list[str],
) -> tuple[LinkPlan, ...]:
    """A LinkPlan per edge, host ends first, with the interface names that Mininet assigns in this order."""
    ports = {node: 0 if data["kind"] == "host" else 1 for node, data in graph.nodes(data=True)}

    def next_interface(node: str) -> str:
        ports[node] += 1
        return f"{node}-eth{ports[node] - 1}"

    own = _own_properties(experiment, graph, problems)
    links: list[LinkPlan] = []
    for ends in graph.edges:
        a, b = sorted(ends, key=lambda node: (graph.nodes[node]["kind"], rules.natural_order(node)))
        a_interface, b_interface = next_interface(a), next_interface(b)
        directions = []
        for source, target, interface, arrival in (
            (a, b, a_interface, b_interface),
            (b, a, b_interface, a_interface),
        ):
            edge = graph.edges[ends]
            edge = {**edge, **edge.get("towards", {}).get(target, {})}
            asked = _properties(experiment, edge, stragglers.get(a, 1.0), source == b)
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
    links = _with_other_stragglers(graph, links)
    links = with_branches(graph, links, dilation)
    # One message per kind of problem, not one per link.
    first_by_key: dict[str, str] = {}
    for link in links:
        for direction in link.directions:
            for key, text in (problem for part in _parts(direction) for problem in direction_problems(part)):
                first_by_key.setdefault(key, text)
    problems += [f"{key}: {text}" for key, text in first_by_key.items()]
    return tuple(links)


def _with_other_stragglers(graph: nx.Graph, links: list[LinkPlan]) -> list[LinkPlan]:
    """Also marks hosts that are slow for other reasons than `stragglers`, such as the topology's file."""
    rates = {
        link.a: min(direction.asked.bandwidth_bps for direction in link.directions)
        for link in links
        if graph.nodes[link.a]["kind"] == "host"
    }
    if not rates:
        return links
    limit_bps = SLOW_SHARE * median(rates.values())
    return [
        replace(link, straggler=link.straggler or rates.get(link.a, limit_bps) < limit_bps) for link in links
    ]


Groups = dict[str, list[tuple[tuple[str, ...], PairProperties]]]
"""Host -> (destinations, properties of the path to them), in the hosts' order."""


def _parts(direction: Direction) -> Iterator[Direction]:
    """The direction itself, and combined with each of its branches."""
    yield direction
    for branch in direction.branches:
        asked, wire = direction.asked.towards(branch.asked), direction.wire.towards(branch.wire)
        yield replace(direction, asked=asked, wire=wire, branches=())


def with_branches(graph: nx.Graph, links: list[LinkPlan], dilation: float) -> list[LinkPlan]:
    """The links, with the branches that the graph's `paths` and `per_pair` ask for on the hosts' access links."""
    hosts = rules.hosts(graph)
    if graph.graph.get("per_pair"):
        links, pairs = _per_pair(links)
        groups: Groups = {
            host: [((other,), pairs[host, other]) for other in hosts if other != host] for host in hosts
        }
    elif graph.graph.get("paths"):
        groups = _by_region(graph, hosts)
    else:
        return links
    return [
        replace(
            link,
            forward=replace(
                link.forward,
                branches=tuple(
                    Branch(targets=targets, asked=asked, wire=asked.dilated(dilation))
                    for targets, asked in groups[link.a]
                ),
            ),
        )
        if link.a in groups
        else link
        for link in links
    ]


def _by_region(graph: nx.Graph, hosts: list[str]) -> Groups:
    """Groups of destinations, one per region or one per host in it."""
    between: dict[tuple[str, str], PairProperties] = {}
    for path in graph.graph["paths"]:
        properties = PairProperties(
            **{
                row.field: value
                for row in PROPERTIES
                if row.together is not None and (value := row.of_edge(path)) is not None
            }
        )
        a, b = path["between"]
        between[a, b] = between[b, a] = properties
    regions = {host: graph.nodes[host].get("region") for host in hosts}
    groups: Groups = {}
    for host in hosts:
        reached: dict[Any, list[str]] = {}
        for other in hosts:
            if other != host and (regions[host], regions[other]) in between:
                key = regions[other] if graph.graph.get("paths_shared") else other
                reached.setdefault(key, []).append(other)
        groups[host] = [
            (tuple(others), between[regions[host], regions[others[0]]]) for others in reached.values()
        ]
    return groups


def _per_pair(links: list[LinkPlan]) -> tuple[list[LinkPlan], dict[tuple[str, str], PairProperties]]:
    """Access links without a limit of their own, and (from, to) -> the lower rate of both ends."""
    rates_up = {link.a: link.forward.asked.bandwidth_bps for link in links}
    rates_down = {link.a: link.backward.asked.bandwidth_bps for link in links}
    pairs = {
        (a, b): PairProperties(bandwidth_bps=min(rates_up[a], rates_down[b]))
        for a in rates_up
        for b in rates_down
        if a != b
    }

    def unlimited(direction: Direction) -> Direction:
        scale = UNLIMITED_BPS / direction.asked.bandwidth_bps
        return replace(
            direction,
            asked=replace(direction.asked, bandwidth_bps=UNLIMITED_BPS),
            wire=replace(direction.wire, bandwidth_bps=direction.wire.bandwidth_bps * scale),
        )

    return [
        replace(link, forward=unlimited(link.forward), backward=unlimited(link.backward)) for link in links
    ], pairs


def _own_properties(
    experiment: Experiment, graph: nx.Graph, problems: list[str]
) -> dict[tuple[str, str], list[PartialLinkSettings]]:
    """(source, target) -> entries of `network.links` for that direction, in the file's order."""
    own: dict[tuple[str, str], list[PartialLinkSettings]] = {}
    for number, entry in enumerate(experiment.network.links):
        a, b = entry.link
        if not graph.has_edge(a, b):
            problems.append(f"network.links[{number}].link: {no_such_link(graph, a, b)}")
            continue
        own.setdefault((a, b), []).append(entry)
        if not entry.one_way:
            own.setdefault((b, a), []).append(entry)
    return own


def no_such_link(graph: nx.Graph, a: str, b: str) -> str:
    """A message that there is no such link, with hints to find the right one."""
    for node in (a, b):
        if node not in graph:
            shown = sorted(graph, key=rules.natural_order)
            shown = shown if len(shown) <= 12 else [*shown[:6], "...", shown[-1]]
            return f"no node {brief(node)} in the network; it has: {', '.join(shown)}"
    neighbours = sorted(graph.neighbors(a), key=rules.natural_order)
    shown = neighbours if len(neighbours) <= 12 else [*neighbours[:6], "...", neighbours[-1]]
    return f"no link {a} - {b}; {a} has links to: {', '.join(shown)}"


def _properties(
    experiment: Experiment, edge: Mapping[str, Any], factor: float, backward: bool
) -> LinkProperties:
    """For each property the last of these wins: `link`, the graph's edge, `link.reverse`; then the factor applies."""
    link = experiment.network.link
    asked = merged(LinkProperties(bandwidth_bps=link.bandwidth), link)
    asked = replace(
        asked, **{row.field: value for row in PROPERTIES if (value := row.of_edge(edge)) is not None}
    )
    if backward:
        asked = merged(asked, link.reverse)
    return replace(asked, bandwidth_bps=asked.bandwidth_bps * factor)


def merged(asked: LinkProperties, *changes: LinkSettings | PartialLinkSettings) -> LinkProperties:
    """The properties with those changes; later ones override earlier ones."""
    for change in changes:
        given = [(row, getattr(change, row.key)) for row in PROPERTIES]
        new = [row.changes(value) for row, value in given if value is not None]
        asked = replace(asked, **{name: value for fields in new for name, value in fields.items()})
    return asked


def in_words(change: PartialLinkSettings, *, brief: bool = False) -> str:
    """ "bandwidth 5mbit, delay 20ms"; brief: to four digits."""
    given = [(row, getattr(change, row.key)) for row in PROPERTIES]
    return ", ".join(row.words(value, brief=brief) for row, value in given if value is not None)


def direction_problems(direction: Direction) -> Iterator[tuple[str, str]]:
    """(key, problem)"""
    where = f"on link {direction.source} - {direction.target}"
    for row in PROPERTIES:
        for text in row.problems(direction.asked, direction.wire, where):
            yield f"network.link.{row.key}", text
