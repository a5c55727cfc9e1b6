"""Routes through the network graph: a shortest-path tree per destination, so that no route can loop.

Shortest is by delay, then by number of links, then by the nodes' natural order; every switch follows the same
tree towards a destination, whatever the source. Pure graph computation: no interface names, no addresses.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

Neighbours = Mapping[str, Mapping[str, float]]
"""node -> neighbour -> one-way delay to it in seconds, for both directions. The order of nodes breaks ties."""


def tree_towards(neighbours: Neighbours, destination: str) -> dict[str, str]:
    """Node -> next node on its way to the destination."""
    order = {node: position for position, node in enumerate(neighbours)}
    next_node: dict[str, str] = {}
    delay: dict[str, float] = {}
    # (delay, links, order of the node, ...): the first entry popped for a node is its best.
    heap: list[tuple[float, int, int, str, str]] = [(0.0, 0, order[destination], destination, destination)]
    while heap:
        so_far, links, _, node, via = heapq.heappop(heap)
        if node in delay:
            continue
        delay[node] = so_far
        next_node[node] = via
        for neighbour in neighbours[node]:
            if neighbour not in delay:
                # Packets travel towards the destination, so the delay from the neighbour to this node counts.
                so_far_there = so_far + neighbours[neighbour][node]
                heapq.heappush(heap, (so_far_there, links + 1, order[neighbour], neighbour, node))
    del next_node[destination]
    return next_node
