"""Network graphs by formula: each public function here is one generator, found by its name.

A generator's keyword parameters, their types and defaults are its keys in an experiment file, its docstring's
first line its help. A parameter called `seed` is not such a key: the experiment's own seed is passed. Nodes
carry kind="host" (h1..hN) or kind="switch" (s1..sM); an edge may carry `bandwidth_bps` and `delay_s`, which
override the experiment's link settings. Impossible parameters raise ValueError.
"""

from __future__ import annotations

import itertools

import networkx as nx

from topologies.regular import connected_regular

# Bounds every graph before it is built, so that a slip in a number cannot fill the memory.
MAX_HOSTS = 65_000


def star(*, nodes: int = 8) -> nx.Graph:
    """One switch with every host on it, each by its own access link.

    nodes: number of hosts
    """
    _within("nodes", nodes, 2)
    graph = nx.Graph()
    _add_hosts(graph, {"s1": nodes})
    return graph


def ring(*, nodes: int = 8) -> nx.Graph:
    """A ring of switches with one host on each.

    nodes: number of switches, and of hosts
    """
    _within("nodes", nodes, 3)
    graph = nx.Graph()
    _add_hosts(graph, {f"s{i}": 1 for i in range(1, nodes + 1)})
    for i in range(1, nodes + 1):
        graph.add_edge(f"s{i}", f"s{i % nodes + 1}")
    return graph


def line(*, nodes: int = 4) -> nx.Graph:
    """A line of switches with one host on each.

    nodes: number of switches, and of hosts
    """
    _within("nodes", nodes, 2)
    graph = nx.Graph()
    _add_hosts(graph, {f"s{i}": 1 for i in range(1, nodes + 1)})
    for i in range(1, nodes):
        graph.add_edge(f"s{i}", f"s{i + 1}")
    return graph


def dumbbell(*, left: int = 2, right: int = 2) -> nx.Graph:
    """Two switches joined by one link, which all traffic from side to side shares, with hosts on both.

    left: number of hosts on s1
    right: number of hosts on s2
    """
    _within("left", left, 1)
    _within("right", right, 1)
    graph = nx.Graph()
    _add_hosts(graph, {"s1": left, "s2": right})
    graph.add_edge("s1", "s2")
    return graph


def tree(*, depth: int = 2, fanout: int = 2) -> nx.Graph:
    """A tree of switches with fanout ** depth hosts as its leaves, as Mininet's `--topo tree`.

    depth: levels of switches; 1 is a star
    fanout: children of each switch
    """
    _within("depth", depth, 1, 16)
    _within("fanout", fanout, 1)
    if fanout**depth > MAX_HOSTS:
        raise ValueError(f"depth={depth} and fanout={fanout} give more than {MAX_HOSTS} hosts")
    if fanout**depth < 2:
        raise ValueError(
            f"fanout={fanout} gives a single host; at least 2 hosts are needed (fanout 2 or more)"
        )
    graph = nx.Graph()
    counter = itertools.count(1)
    level = [f"s{next(counter)}"]
    graph.add_node(level[0], kind="switch")
    for _ in range(depth - 1):
        below = []
        for parent in level:
            for _ in range(fanout):
                child = f"s{next(counter)}"
                graph.add_node(child, kind="switch")
                graph.add_edge(parent, child)
                below.append(child)
        level = below
    _add_hosts(graph, dict.fromkeys(level, fanout))
    return graph


def random_regular(*, nodes: int = 8, degree: int = 3, seed: int) -> nx.Graph:
    """Switches joined by a connected random regular graph, with one host on each.

    nodes: number of switches, and of hosts
    degree: links from each switch to other switches
    """
    _within("nodes", nodes, 2)
    edges = connected_regular(nodes, degree, seed)
    graph = nx.Graph()
    _add_hosts(graph, {f"s{i}": 1 for i in range(1, nodes + 1)})
    for a, b in edges:
        graph.add_edge(f"s{a + 1}", f"s{b + 1}")
    return graph


def _add_hosts(graph: nx.Graph, hosts_per_switch: dict[str, int]) -> None:
    """Add the switches, and h1, h2, ... with an access link each, in order of the switches."""
    for switch in hosts_per_switch:
        graph.add_node(switch, kind="switch")
    counter = itertools.count(1)
    for switch, count in hosts_per_switch.items():
        for _ in range(count):
            host = f"h{next(counter)}"
            graph.add_node(host, kind="host")
            graph.add_edge(host, switch)


def _within(name: str, value: int, least: int, most: int = MAX_HOSTS) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name}={value}; it must be {least} to {most}")
