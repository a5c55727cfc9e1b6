"""Network graphs of regular structure: lines, rings, grids, trees, and the fabrics of data centres.

Every public function here is a generator, found by its name; see `topologies/__init__.py` for what makes one.
"""

from __future__ import annotations

import itertools

import networkx as nx

from topologies.building import MAX_HOSTS, add_hosts, within


def star(*, nodes: int = 8) -> nx.Graph:
    """One switch with every host on it, each by its own access link.

    nodes: number of hosts
    """
    within("nodes", nodes, 2)
    graph = nx.Graph()
    add_hosts(graph, {"s1": nodes})
    return graph


def ring(*, nodes: int = 8) -> nx.Graph:
    """A ring of switches with one host on each.

    nodes: number of switches, and of hosts
    """
    within("nodes", nodes, 3)
    graph = nx.Graph()
    add_hosts(graph, {f"s{i}": 1 for i in range(1, nodes + 1)})
    for i in range(1, nodes + 1):
        graph.add_edge(f"s{i}", f"s{i % nodes + 1}")
    return graph


def line(*, nodes: int = 4) -> nx.Graph:
    """A line of switches with one host on each.

    nodes: number of switches, and of hosts
    """
    within("nodes", nodes, 2)
    graph = nx.Graph()
    add_hosts(graph, {f"s{i}": 1 for i in range(1, nodes + 1)})
    for i in range(1, nodes):
        graph.add_edge(f"s{i}", f"s{i + 1}")
    return graph


def grid(*, rows: int = 3, columns: int = 3) -> nx.Graph:
    """A grid of switches, each joined to those beside, above and below it, with one host on each.

    rows: number of rows
    columns: number of columns
    """
    return _lattice(rows, columns, wrap=False)


def torus(*, rows: int = 3, columns: int = 3) -> nx.Graph:
    """A grid whose last row and column are joined to the first: every switch has four neighbours.

    rows: number of rows
    columns: number of columns
    """
    # With two of them the wrap-around link would be a second one between the same switches.
    within("rows", rows, 3)
    within("columns", columns, 3)
    return _lattice(rows, columns, wrap=True)


def dumbbell(*, left: int = 2, right: int = 2) -> nx.Graph:
    """Two switches joined by one link, which all traffic from side to side shares, with hosts on both.

    left: number of hosts on s1
    right: number of hosts on s2
    """
    within("left", left, 1)
    within("right", right, 1)
    graph = nx.Graph()
    add_hosts(graph, {"s1": left, "s2": right})
    graph.add_edge("s1", "s2")
    return graph


def tree(*, depth: int = 2, fanout: int = 2) -> nx.Graph:
    """A tree of switches with fanout ** depth hosts as its leaves, as Mininet's `--topo tree`.

    depth: levels of switches; 1 is a star
    fanout: children of each switch
    """
    within("depth", depth, 1, 16)
    within("fanout", fanout, 1)
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
    add_hosts(graph, dict.fromkeys(level, fanout))
    return graph


def fat_tree(*, ports: int = 4) -> nx.Graph:
    """The Clos network of Al-Fares et al. (SIGCOMM 2008): three levels of equal switches, ports**3 / 4 hosts.

    ports: ports of every switch, an even number; also the number of pods
    """
    within("ports", ports, 2, 62)
    if ports % 2:
        raise ValueError(f"ports={ports}; it must be even")
    half = ports // 2
    counter = itertools.count(1)
    core = [[f"s{next(counter)}" for _ in range(half)] for _ in range(half)]
    graph = nx.Graph()
    edges: list[str] = []
    for _ in range(ports):
        aggregation = [f"s{next(counter)}" for _ in range(half)]
        edge = [f"s{next(counter)}" for _ in range(half)]
        edges += edge
        for upper, group in zip(aggregation, core, strict=True):
            graph.add_edges_from((upper, core_switch) for core_switch in group)
            graph.add_edges_from((upper, edge_switch) for edge_switch in edge)
    nx.set_node_attributes(graph, "switch", "kind")
    add_hosts(graph, dict.fromkeys(edges, half))
    return graph


def leaf_spine(*, leaves: int = 4, spines: int = 2, hosts_per_leaf: int = 2) -> nx.Graph:
    """A fabric of two levels: every leaf switch is joined to every spine switch, and the hosts are on the leaves.

    leaves: switches with hosts
    spines: switches above them
    hosts_per_leaf: hosts on each leaf
    """
    within("leaves", leaves, 1)
    within("spines", spines, 1)
    within("hosts_per_leaf", hosts_per_leaf, 1)
    within("leaves * hosts_per_leaf", leaves * hosts_per_leaf, 2)
    above = [f"s{i}" for i in range(1, spines + 1)]
    below = [f"s{i}" for i in range(spines + 1, spines + leaves + 1)]
    graph = nx.Graph()
    graph.add_nodes_from(above, kind="switch")
    add_hosts(graph, dict.fromkeys(below, hosts_per_leaf))
    graph.add_edges_from(itertools.product(above, below))
    return graph


def _lattice(rows: int, columns: int, *, wrap: bool) -> nx.Graph:
    within("rows", rows, 1)
    within("columns", columns, 1)
    within("rows * columns", rows * columns, 2)
    graph = nx.Graph()
    add_hosts(graph, {f"s{i}": 1 for i in range(1, rows * columns + 1)})
    for row, column in itertools.product(range(rows), range(columns)):
        here = f"s{row * columns + column + 1}"
        for below, beside in (((row + 1), column), (row, (column + 1))):
            if wrap or (below < rows and beside < columns):
                graph.add_edge(here, f"s{below % rows * columns + beside % columns + 1}")
    return graph
