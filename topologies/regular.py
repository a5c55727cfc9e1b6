"""Graphs on the numbers 0..n-1, drawn by network generators and overlays alike."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import networkx as nx

from topologies.building import connected_draw, within


def connected_regular(nodes: int, degree: int, seed: int) -> list[tuple[int, int]]:
    """Edges among 0..nodes-1, sorted; the first connected graph of a sequence of draws determined by the seed.

    Raises ValueError, with the numbers, if there is no such graph.
    """
    if not 1 <= degree < nodes:
        raise ValueError(f"degree={degree} must be at least 1 and below the number of nodes, {nodes}")
    if nodes * degree % 2:
        raise ValueError(f"nodes * degree must be even, and {nodes} * {degree} is odd")
    if degree == 1 and nodes > 2:
        raise ValueError(f"degree=1 only joins pairs, so {nodes} nodes cannot be connected; use 2 or more")
    if degree == 2:
        # Random draws consist of several rings; a connected graph is one ring, so only its order is drawn.
        order = nx.utils.create_random_state(seed % 2**32).permutation(nodes).tolist()
        return _sorted_edges(nx.cycle_graph(order))
    # From degree 3 on nearly every draw is connected.
    graph = connected_draw(
        lambda number: nx.random_regular_graph(degree, nodes, seed=number), seed, "use a larger degree"
    )
    return _sorted_edges(graph)


def small_world_edges(nodes: int, neighbours: int, probability: float, seed: int) -> list[tuple[int, int]]:
    """A connected Watts-Strogatz graph. Raises ValueError, with the numbers, if there is none."""
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
    return _sorted_edges(graph)


def networkx_graph(graph: str, args: Mapping[str, Any], seed: int) -> nx.Graph:
    """The graph of networkx's generator of that name: simple, connected, with numbered nodes. Raises ValueError."""
    function = getattr(nx, graph, None)
    if graph.startswith("_") or not inspect.isroutine(function) or not _makes_graphs(graph):
        raise ValueError(
            f"graph={graph}: networkx has no such generator; they end in _graph, _tree or _lattice"
        )
    arguments = dict(args)
    seeded = "seed" in inspect.signature(function).parameters
    if "seed" in arguments:
        raise ValueError("args: the seed is the experiment's own; leave it out")

    def draw(number: int) -> Any:
        try:
            drawn = function(**arguments, **({"seed": number} if seeded else {}))
        except (TypeError, nx.NetworkXException, ValueError, ArithmeticError) as error:
            raise ValueError(f"{graph}: {error}") from None
        if not isinstance(drawn, nx.Graph):
            raise ValueError(f"graph={graph}: its result is not a graph")
        within("nodes", len(drawn), 1)
        # Directions, parallel edges and links from a node to itself have no meaning here.
        simple = nx.Graph(drawn)
        simple.remove_edges_from(list(nx.selfloop_edges(simple)))
        return nx.convert_node_labels_to_integers(simple)

    chosen = connected_draw(draw, seed, "choose other args") if seeded else draw(seed)
    if not nx.is_connected(chosen):
        raise ValueError(f"{graph} with these args is not connected")
    return chosen


def _makes_graphs(name: str) -> bool:
    return name.endswith(("_graph", "_tree", "_lattice")) and not name.startswith(
        ("is_", "to_", "from_", "read_")
    )


def _sorted_edges(graph: nx.Graph) -> list[tuple[int, int]]:
    return sorted((min(edge), max(edge)) for edge in graph.edges)
