"""Routes through the network graph: one shortest-path tree for each destination, so that no route can loop.

Shortest is by delay, then by number of links, then by the nodes' natural order; every switch follows the same
tree towards a destination, whatever the source. Pure graph work: no names of interfaces, no addresses.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

Neighbours = Mapping[str, Mapping[str, float]]
"""node -> neighbour -> one-way delay in seconds; symmetric. The order of nodes breaks ties."""


def tree_towards(neighbours: Neighbours, destination: str) -> tuple[dict[str, str], dict[str, float]]:
    """Each other node's next node on its way to the destination, and the sum of delays along that way."""
    order = {node: position for position, node in enumerate(neighbours)}
    next_node: dict[str, str] = {}
    delay: dict[str, float] = {}
    # (delay, links, order of the node, order of its next node): the first entry popped for a node is its
    # best.
    heap: list[tuple[float, int, int, str, str]] = [(0.0, 0, order[destination], destination, destination)]
    while heap:
        so_far, links, _, node, via = heapq.heappop(heap)
        if node in delay:
            continue
        delay[node] = so_far
        next_node[node] = via
        for neighbour, link_delay in neighbours[node].items():
            if neighbour not in delay:
                heapq.heappush(heap, (so_far + link_delay, links + 1, order[neighbour], neighbour, node))
    del next_node[destination]
    return next_node, delay
