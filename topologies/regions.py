"""Hosts in regions, with a bandwidth and a delay for each pair of regions: matrices of measured networks.

A pair of regions has no switch of its own. All hosts are on one switch, and the properties of each pair of regions are
in the graph's attribute `paths`; the network shapes them at the sender, with a queue for each destination, in addition
to the host's own access link. Every public function here is a generator; see `topologies/__init__.py`.
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from topologies.building import add_hosts, within
from topologies.matrices import matrix as read_matrix
from topologies.reading import brief


def regions(
    *,
    matrix: str = "aws",
    hosts_per_region: int = 6,
    only: str = "",
    delays: bool = True,
    shared: bool = False,
) -> nx.Graph:
    """Hosts in regions, with a measured bandwidth and delay between every two regions.

    matrix: a file of topologies/data, which says where each figure comes from: aws
    hosts_per_region: hosts in each region
    only: names of the regions to take, separated by commas; empty: all
    delays: false leaves out the delays, and keeps the bandwidths
    shared: true: a host's traffic to all hosts of a region shares one path; false: it has one to each of them
    """
    data = read_matrix(matrix)
    names = _chosen(only, list(data["regions"]))
    within("hosts_per_region", hosts_per_region, 1)
    within("regions * hosts_per_region", len(names) * hosts_per_region, 2)
    graph = nx.Graph(paths=_paths(data, names, delays), paths_shared=shared)
    add_hosts(graph, {"s1": len(names) * hosts_per_region})
    for index in range(len(names) * hosts_per_region):
        name = names[index // hosts_per_region]
        number = index % hosts_per_region + 1
        graph.nodes[f"h{index + 1}"].update(region=name, label=f"{name}-{number}")
    return graph


def pairwise(*, nodes: int = 8) -> nx.Graph:
    """A star whose links limit each pair of hosts separately: a host may send at its full rate to all others at once.

    nodes: number of hosts
    """
    within("nodes", nodes, 2)
    graph = nx.Graph(per_pair=True)
    add_hosts(graph, {"s1": nodes})
    return graph


def _paths(data: dict[str, Any], names: list[str], delays: bool) -> list[dict[str, Any]]:
    paths: list[dict[str, Any]] = []
    for pair in data["pairs"]:
        a, b = pair["between"]
        if a in names and b in names:
            path = {"between": [a, b], "bandwidth_bps": pair["bandwidth"] * 1e6}
            if delays:
                path["delay_s"] = _seconds(pair["rtt"])
            paths.append(path)
    if delays:
        within_regions = {name: data["regions"][name].get("rtt_within") for name in names}
        paths += [
            {"between": [name, name], "delay_s": _seconds(rtt)}
            for name, rtt in within_regions.items()
            if rtt is not None
        ]
    return paths


def _seconds(rtt_ms: float) -> float:
    """One-way time, half of a round trip."""
    return round(rtt_ms / 2e3, 9)


def _chosen(only: str, known: list[str]) -> list[str]:
    asked = [name.strip() for name in only.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise ValueError(f"only={only}: no region {brief(name)}; there are: {', '.join(known)}")
    return [name for name in known if not asked or name in asked]
