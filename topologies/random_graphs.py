"""Network graphs drawn from the experiment's seed, and any generator of networkx by its name.

Every public function here is a generator; see `topologies/__init__.py`. Draws are repeated until the graph is
connected; the seed determines which one that is.
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from topologies.building import MAX_HOSTS, connected_draw, on_switches, within
from topologies.regular import connected_regular, networkx_graph, small_world_edges


def random_regular(*, nodes: int = 8, degree: int = 3, seed: int) -> nx.Graph:
    """Switches joined by a connected random regular graph, with one host on each.

    nodes: number of switches, and of hosts
    degree: links from each switch to other switches
    """
    within("nodes", nodes, 2)
    return on_switches(nodes, connected_regular(nodes, degree, seed))


def erdos_renyi(*, nodes: int = 8, probability: float = 0.4, seed: int) -> nx.Graph:
    """Switches, each pair of them joined with the same probability (Erdős-Rényi, Gilbert's G(n, p)); a host on each.

    nodes: number of switches, and of hosts
    probability: of a link between two switches, above 0 to 1
    """
    within("nodes", nodes, 2)
    _probability(probability)
    graph = connected_draw(
        lambda number: nx.gnp_random_graph(nodes, probability, seed=number),
        seed,
        f"probability={probability:g} is too low for {nodes} nodes: they need about log(nodes) / nodes",
    )
    return on_switches(nodes, graph.edges)


def watts_strogatz(*, nodes: int = 8, neighbours: int = 4, probability: float = 0.2, seed: int) -> nx.Graph:
    """A small world (Watts and Strogatz, Nature 1998): a ring with some links rewired; a host on each switch.

    nodes: number of switches, and of hosts
    neighbours: nearest switches on the ring that each is joined to, an even number
    probability: of rewiring a link, 0 to 1
    """
    return on_switches(nodes, small_world_edges(nodes, neighbours, probability, seed))


def barabasi_albert(*, nodes: int = 8, links: int = 2, seed: int) -> nx.Graph:
    """A scale-free graph (Barabási and Albert, Science 1999): new switches prefer those with many links; one host each.

    nodes: number of switches, and of hosts
    links: links that each new switch brings
    """
    within("nodes", nodes, 2)
    within("links", links, 1, nodes - 1)
    return on_switches(nodes, nx.barabasi_albert_graph(nodes, links, seed=seed).edges)


def networkx(
    *, graph: str, args: dict[str, Any] | None = None, hosts_per_switch: int = 1, seed: int
) -> nx.Graph:
    """Any generator of networkx by its name; its nodes become switches with hosts on them.

    graph: the function's name, e.g. petersen_graph, hypercube_graph, random_geometric_graph
    args: its parameters, e.g. {n: 3}; if it takes a `seed`, that is the experiment's
    hosts_per_switch: hosts on each switch
    """
    drawn = networkx_graph(graph, args or {}, seed)
    within("nodes * hosts_per_switch", len(drawn) * hosts_per_switch, 2, MAX_HOSTS)
    return on_switches(len(drawn), drawn.edges, hosts_per_switch)


def _probability(value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"probability={value:g}; it must be above 0, and at most 1")
