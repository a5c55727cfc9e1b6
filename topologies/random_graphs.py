"""Network graphs drawn from the experiment's seed, and any generator of networkx by its name.

Every public function here is a generator; see `topologies/__init__.py`. All draws are repeated until the graph is
connected; the seed fixes which one it is.
"""

from __future__ import annotations

import inspect
from typing import Any

import networkx as nx

from topologies.building import MAX_HOSTS, connected_draw, on_switches, within
from topologies.regular import connected_regular


def random_regular(*, nodes: int = 8, degree: int = 3, seed: int) -> nx.Graph:
    """Switches joined by a connected random regular graph, with one host on each.

    nodes: number of switches, and of hosts
    degree: links from each switch to other switches
    """
    within("nodes", nodes, 2)
    return on_switches(nodes, connected_regular(nodes, degree, seed))


def erdos_renyi(*, nodes: int = 8, probability: float = 0.4, seed: int) -> nx.Graph:
    """Switches of which every two are joined with one probability (Erdős-Rényi, Gilbert's G(n, p)); a host on each.

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
    within("nodes", nodes, 3)
    within("neighbours", neighbours, 2, nodes - 1)
    if neighbours % 2:
        raise ValueError(f"neighbours={neighbours}; it must be even")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability:g}; it must be 0 to 1")
    graph = connected_draw(
        lambda number: nx.watts_strogatz_graph(nodes, neighbours, probability, seed=number),
        seed,
        "use more neighbours",
    )
    return on_switches(nodes, graph.edges)


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
    args: its parameters, e.g. {n: 3}; a `seed` it may have is the experiment's
    hosts_per_switch: hosts on each switch
    """
    function = getattr(nx, graph, None)
    if graph.startswith("_") or not inspect.isroutine(function) or not _makes_graphs(graph):
        raise ValueError(
            f"graph={graph}: networkx has no such generator; they end in _graph, _tree or _lattice"
        )
    arguments = dict(args or {})
    seeded = "seed" in inspect.signature(function).parameters
    if "seed" in arguments:
        raise ValueError("args: the seed is the experiment's own; leave it out")

    def draw(number: int) -> Any:
        try:
            drawn = function(**arguments, **({"seed": number} if seeded else {}))
        except (TypeError, nx.NetworkXException, ValueError, ArithmeticError) as error:
            raise ValueError(f"{graph}: {error}") from None
        if not isinstance(drawn, nx.Graph):
            raise ValueError(f"graph={graph}: it makes no graph")
        within("nodes", len(drawn), 1)
        # Directions, parallel edges and links of a node to itself mean nothing here.
        simple = nx.Graph(drawn)
        simple.remove_edges_from(list(nx.selfloop_edges(simple)))
        return nx.convert_node_labels_to_integers(simple)

    found = connected_draw(draw, seed, "choose other args") if seeded else draw(seed)
    if not nx.is_connected(found):
        raise ValueError(f"{graph} with these args is not connected")
    within("nodes * hosts_per_switch", len(found) * hosts_per_switch, 2, MAX_HOSTS)
    return on_switches(len(found), found.edges, hosts_per_switch)


def _makes_graphs(name: str) -> bool:
    return name.endswith(("_graph", "_tree", "_lattice")) and not name.startswith(
        ("is_", "to_", "from_", "read_")
    )


def _probability(value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"probability={value:g}; it must be above 0, and at most 1")
