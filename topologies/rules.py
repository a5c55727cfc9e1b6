"""The rules that a graph must follow to become a network; every graph is checked here, whatever made it.

The rules are those of Linux (interface names) and of this testbed (one access link for each host, static
routes that reach every host), not those of an experiment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import networkx as nx

from topologies.properties import EDGE_PROPERTIES
from topologies.reading import brief

# IFNAMSIZ is 16 with the closing zero byte.
MAX_INTERFACE_NAME = 15
KINDS = ("host", "switch")
# Each host has a journal under its name, beside those of the programs that run it.
RESERVED = ("controller", "parent")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")

# How many of a graph's problems one message lists.
_MAX_SHOWN = 20


def check(graph: nx.Graph) -> None:
    """Raises ValueError that lists what is wrong with the graph."""
    problems = [*_nodes(graph), *_edges(graph)]
    if not problems:
        problems = [*_hosts(graph), *_connected(graph), *_paths(graph)]
    if problems:
        more = len(problems) - _MAX_SHOWN
        raise ValueError("; ".join(problems[:_MAX_SHOWN] + [f"and {more:,} more"] * (more > 0)))


def hosts(graph: nx.Graph) -> list[str]:
    """The hosts' names in natural order: h2 before h10."""
    return _of_kind(graph, "host")


def switches(graph: nx.Graph) -> list[str]:
    """The switches' names in natural order."""
    return _of_kind(graph, "switch")


def usable_name(graph: nx.Graph, node: Any) -> bool:
    """Whether Linux and Mininet can use the node's name as it is."""
    return (
        isinstance(node, str)
        and _NAME.fullmatch(node) is not None
        and node not in RESERVED
        and len(longest_interface(graph, node)) <= MAX_INTERFACE_NAME
    )


def longest_interface(graph: nx.Graph, node: str) -> str:
    """A switch's ports count from 1, a host's from 0; it has one more digit only with its tenth link."""
    return f"{node}-eth{graph.degree(node)}"


def natural_order(name: str) -> tuple[str | int, ...]:
    """Sort key that reads digits as numbers."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))


def _of_kind(graph: nx.Graph, kind: str) -> list[str]:
    return sorted((node for node, data in graph.nodes(data=True) if data["kind"] == kind), key=natural_order)


def _nodes(graph: nx.Graph) -> Iterator[str]:
    for node, data in graph.nodes(data=True):
        if not isinstance(node, str) or not _NAME.fullmatch(node):
            yield f"node {brief(node)} has an invalid name: a letter, then letters, digits, '_', '.', '-'"
            continue
        if data.get("kind") == "host" and node in RESERVED:
            yield f"host {node} has a reserved name ({', '.join(RESERVED)}): choose another"
        if data.get("kind") not in KINDS:
            yield f"node {node} has kind {brief(data.get('kind'))}; allowed: {', '.join(KINDS)}"
        interface = longest_interface(graph, node)
        if len(interface) > MAX_INTERFACE_NAME:
            yield (
                f"node name {node} is too long: its interface {interface} has {len(interface)} characters, "
                f"and Linux allows {MAX_INTERFACE_NAME}"
            )


def _edges(graph: nx.Graph) -> Iterator[str]:
    if graph.is_directed() or graph.is_multigraph():
        yield "the graph must be undirected, with at most one link between two nodes"
    for a, b, data in graph.edges(data=True):
        if a == b:
            yield f"node {a} has a link to itself"
        for properties in (data, *data.get("towards", {}).values()):
            yield from (f"link {a} - {b} has {text}" for text in wrong_properties(properties))


def wrong_properties(properties: Mapping[str, Any]) -> Iterator[str]:
    """ "delay_s='x'; it must be ..." for every property of a link or path whose value is not allowed."""
    for row in EDGE_PROPERTIES:
        value = properties.get(row.attribute)
        if value is not None and (words := row.wrong(value)) is not None:
            yield f"{row.attribute}={brief(value)}; {words}"


def _paths(graph: nx.Graph) -> Iterator[str]:
    regions = {data["region"] for _, data in graph.nodes(data=True) if data.get("region") is not None}
    seen: set[frozenset[str]] = set()
    for path in graph.graph.get("paths", ()):
        a, b = path["between"]
        for name in (a, b):
            if name not in regions:
                shown = ", ".join(sorted(regions)) or "none"
                yield f"path {a} - {b}: no host is in region {brief(name)}; the hosts' regions are: {shown}"
        if frozenset((a, b)) in seen:
            yield f"path {a} - {b} is given twice"
        seen.add(frozenset((a, b)))
        yield from (f"path {a} - {b} has {text}" for text in wrong_properties(path))
        for row in EDGE_PROPERTIES:
            if not row.of_paths and path.get(row.attribute) is not None:
                yield f"path {a} - {b} has {row.attribute}, which only links can have"


def _hosts(graph: nx.Graph) -> Iterator[str]:
    names = hosts(graph)
    if len(names) < 2:
        yield f"the graph has {len(names)} hosts; at least 2 are needed"
    for host in names:
        neighbours = sorted(graph.neighbors(host), key=natural_order)
        if len(neighbours) != 1:
            shown = f" (to {', '.join(neighbours)})" if neighbours else ""
            yield f"host {host} has {len(neighbours)} links{shown}; exactly one access link is needed"
        elif graph.nodes[neighbours[0]]["kind"] != "switch":
            yield f"host {host} is linked to host {neighbours[0]}; an access link must lead to a switch"


def _connected(graph: nx.Graph) -> Iterator[str]:
    components = sorted(
        (sorted(component, key=natural_order) for component in nx.connected_components(graph)),
        key=lambda component: natural_order(component[0]),
    )
    if len(components) > 1:
        shown = " | ".join(_shorten(component) for component in components[:5])
        more = " | ..." if len(components) > 5 else ""
        yield f"the graph is not connected; it falls into {len(components)} components: {shown}{more}"


def _shorten(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])}, ... ({len(names)} nodes)"
