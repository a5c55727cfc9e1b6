"""What generators share: hosts and their access links, limits of parameters, and a first connected draw."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import networkx as nx

# Bounds every graph before it is built, so that a mistyped number cannot exhaust memory.
MAX_HOSTS = 65_000
_MAX_DRAWS = 1000


def add_hosts(graph: nx.Graph, hosts_per_switch: dict[str, int]) -> None:
    """Add the switches, and h1, h2, ... with an access link each, in order of the switches."""
    for switch in hosts_per_switch:
        graph.add_node(switch, kind="switch")
    counter = itertools.count(1)
    for switch, count in hosts_per_switch.items():
        for _ in range(count):
            host = f"h{next(counter)}"
            graph.add_node(host, kind="host")
            graph.add_edge(host, switch)


def on_switches(switches: int, edges: Iterable[tuple[int, int]], hosts_per_switch: int = 1) -> nx.Graph:
    """Switches s1.. joined by those edges between 0.., with that many hosts on each."""
    within("hosts_per_switch", hosts_per_switch, 1)
    within("switches * hosts_per_switch", switches * hosts_per_switch, 2)
    graph = nx.Graph()
    add_hosts(graph, {f"s{i}": hosts_per_switch for i in range(1, switches + 1)})
    graph.add_edges_from((f"s{a + 1}", f"s{b + 1}") for a, b in sorted(map(sorted, edges)))
    return graph


def within(name: str, value: int, least: int, most: int = MAX_HOSTS) -> None:
    """Raises ValueError, with the limits, if the parameter lies outside."""
    if not least <= value <= most:
        raise ValueError(f"{name}={value}; it must be {least} to {most}")


def connected_draw(draw: Callable[[int], Any], seed: int, remedy: str) -> Any:
    """The first connected graph of a sequence of draws determined by the seed. Raises ValueError if none is."""
    for number in range(_MAX_DRAWS):
        graph = draw(seed + number)
        if nx.is_connected(graph):
            return graph
    raise ValueError(f"no connected graph in {_MAX_DRAWS} draws; {remedy}")
