"""Connected random regular graphs as plain edges: for the generator of that name, and for overlays."""

from __future__ import annotations

import networkx as nx

from topologies.building import connected_draw


def connected_regular(nodes: int, degree: int, seed: int) -> list[tuple[int, int]]:
    """Edges among 0..nodes-1, sorted; the first connected graph of a sequence of draws that the seed fixes.

    Raises ValueError, with the numbers, where there is no such graph.
    """
    if not 1 <= degree < nodes:
        raise ValueError(f"degree={degree} must be at least 1 and below the number of nodes, {nodes}")
    if nodes * degree % 2:
        raise ValueError(f"nodes * degree must be even, and {nodes} * {degree} is odd")
    if degree == 1 and nodes > 2:
        raise ValueError(f"degree=1 only joins pairs, so {nodes} nodes cannot be connected; use 2 or more")
    if degree == 2:
        # Random draws fall into several rings; connected means one ring, so only its order is drawn.
        order = nx.utils.create_random_state(seed % 2**32).permutation(nodes).tolist()
        return _sorted_edges(nx.cycle_graph(order))
    # From degree 3 on nearly every draw is connected.
    graph = connected_draw(
        lambda number: nx.random_regular_graph(degree, nodes, seed=number), seed, "use a larger degree"
    )
    return _sorted_edges(graph)


def _sorted_edges(graph: nx.Graph) -> list[tuple[int, int]]:
    return sorted((min(edge), max(edge)) for edge in graph.edges)
