"""Turns a graph as read from a file into the form of this package: names that Linux can use, hosts and switches, at
most one link between two nodes, properties as plain numbers.

What a file leaves out gets a default, and what was done is noted in the graph's attribute `notes`. What cannot be
fixed is a ValueError that names the node or link.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import networkx as nx

from topologies import attributes, rules
from topologies.building import within
from topologies.description import put_properties
from topologies.properties import EDGE_PROPERTIES

PARALLEL = ("refuse", "merge")
COMPONENTS = ("all", "largest")
_SHOWN = 5


def normalise(raw: nx.Graph, *, hosts_per_switch: int, parallel: str, component: str) -> nx.Graph:
    """The graph, checked. `raw` may be directed, and have parallel links. Raises ValueError.

    hosts_per_switch: hosts put on each switch if the file has none, as in maps of backbones
    parallel: refuse links between the same two nodes, or merge them: bandwidths add up, the smallest delay counts
    component: all: the graph must be connected; largest: take its largest part
    """
    notes: list[str] = list(raw.graph.get("notes", ()))
    _refuse_loops(raw)
    graph = nx.Graph()
    for node, data in raw.nodes(data=True):
        graph.add_node(node, kind=attributes.kind_of(node, data), **_kept(node, data))
    _add_edges(graph, raw, parallel, notes)
    _coordinates(graph, raw, notes)
    if component == "largest":
        graph = _largest(graph, notes)
    _decide_kinds(graph, notes)
    graph = _named(graph, notes)
    _attach_hosts(graph, hosts_per_switch, notes)
    _graph_attributes(graph, raw)
    if notes:
        graph.graph["notes"] = notes
    rules.check(graph)
    return graph


def _kept(node: Any, data: dict[str, Any]) -> dict[str, str]:
    kept = {}
    if data.get("region") not in (None, ""):
        kept["region"] = str(data["region"])
    label = data.get("label")
    if label not in (None, "") and str(label) != str(node):
        kept["label"] = str(label)
    return kept


def _refuse_loops(raw: nx.Graph) -> None:
    loops = sorted({str(a) for a, _ in nx.selfloop_edges(raw)})
    if loops:
        raise ValueError(f"{_some(loops)}: a link from a node to itself; remove it")


def _add_edges(graph: nx.Graph, raw: nx.Graph, parallel: str, notes: list[str]) -> None:
    """All links between two nodes become one, with the properties of each direction."""
    by_ends: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for a, b, data in raw.edges(data=True):
        properties, link_notes = attributes.link_properties(data, f"link {a} - {b}")
        notes += link_notes
        # In an undirected graph the ends come in either order.
        ends = (b, a) if not raw.is_directed() and (b, a) in by_ends else (a, b)
        by_ends.setdefault(ends, []).append(properties)
    several = [f"{a} - {b}" for (a, b), links in by_ends.items() if len(links) > 1]
    if several and parallel == "refuse":
        raise ValueError(
            f"{_some(several)}: several links between the same two nodes, where one is allowed; "
            "`parallel: merge` merges them"
        )
    if several:
        notes.append(f"{len(several)} sets of parallel links were merged: {_some(several)}")
    one_way = []
    for (a, b), links in by_ends.items():
        if graph.has_edge(a, b):
            continue
        forward = _merged(links)
        if raw.is_directed() and (b, a) in by_ends:
            backward = _merged(by_ends[b, a])
        else:
            backward = forward
            one_way += [f"{a} - {b}"] if raw.is_directed() else []
        graph.add_edge(a, b)
        put_properties(graph.edges[a, b], a, b, forward, backward)
    if one_way:
        notes.append(
            f"{len(one_way)} links are given in one direction only; the other has the same properties: {_some(one_way)}"
        )


def _merged(links: list[dict[str, Any]]) -> dict[str, Any]:
    if len(links) == 1:
        return links[0]
    merged = {}
    for row in EDGE_PROPERTIES:
        values = [link[row.attribute] for link in links if row.attribute in link]
        if values:
            merged[row.attribute] = row.parallel(values)
    return merged


def _coordinates(graph: nx.Graph, raw: nx.Graph, notes: list[str]) -> None:
    """Derive delays from coordinates, if no link has one."""
    if any("delay_s" in data or "towards" in data for _, _, data in graph.edges(data=True)):
        return
    places = {node: attributes.coordinates(data) for node, data in raw.nodes(data=True)}
    known = 0
    for a, b, data in graph.edges(data=True):
        if (place_a := places[a]) is not None and (place_b := places[b]) is not None:
            data["delay_s"] = attributes.fibre_delay_s(place_a, place_b)
            known += 1
    if known:
        notes.append(
            f"delays of {known} links come from the coordinates of their ends, at the speed of light in fibre"
        )
    if 0 < known < graph.number_of_edges():
        notes.append(
            f"{graph.number_of_edges() - known} links have an end without coordinates, and get the default delay"
        )


def _largest(graph: nx.Graph, notes: list[str]) -> nx.Graph:
    parts = sorted(nx.connected_components(graph), key=len, reverse=True)
    if len(parts) > 1:
        notes.append(f"{len(graph) - len(parts[0])} nodes outside the largest connected part were left out")
    return graph.subgraph(parts[0]).copy() if parts else graph


def _decide_kinds(graph: nx.Graph, notes: list[str]) -> None:
    """Nodes without a kind are switches, with a note if other nodes are hosts."""
    unknown = [node for node, kind in graph.nodes(data="kind") if kind is None]
    if not unknown:
        return
    if any(kind == "host" for _, kind in graph.nodes(data="kind")):
        # A host has one link, to a switch: everything else is between hosts.
        notes.append(f"{len(unknown)} nodes without a kind are taken to be switches: {_some(unknown)}")
    for node in unknown:
        graph.nodes[node]["kind"] = "switch"


def _named(graph: nx.Graph, notes: list[str]) -> nx.Graph:
    """If Linux cannot use some name of a kind, rename all of that kind to h1.. or s1..; labels keep the old names."""
    renamed: dict[Any, str] = {}
    for kind, letter in (("host", "h"), ("switch", "s")):
        nodes = [node for node, is_kind in graph.nodes(data="kind") if is_kind == kind]
        bad = [node for node in nodes if not rules.usable_name(graph, node)]
        if not bad:
            continue
        for number, node in enumerate(nodes, start=1):
            renamed[node] = f"{letter}{number}"
            graph.nodes[node].setdefault("label", str(node))
        plural = "hosts" if kind == "host" else "switches"
        notes.append(
            f"{plural} are called {letter}1 to {letter}{len(nodes)}, as Linux cannot name interfaces after "
            f"{_some(bad)}; their old names are kept as labels"
        )
    taken = set(renamed.values()) & {node for node in graph if node not in renamed}
    if taken:
        raise ValueError(f"{_some(taken)}: these names are needed for nodes whose own names Linux cannot use")
    for _, _, data in graph.edges(data=True):
        if "towards" in data:
            data["towards"] = {
                renamed.get(end, end): properties for end, properties in data["towards"].items()
            }
    return nx.relabel_nodes(graph, renamed)


def _attach_hosts(graph: nx.Graph, hosts_per_switch: int, notes: list[str]) -> None:
    switches = [node for node, kind in graph.nodes(data="kind") if kind == "switch"]
    if any(kind == "host" for _, kind in graph.nodes(data="kind")) or not switches:
        return
    within("hosts_per_switch", hosts_per_switch, 1)
    within("switches * hosts_per_switch", len(switches) * hosts_per_switch, 1)
    for number, switch in enumerate(switch for switch in switches for _ in range(hosts_per_switch)):
        name = f"h{number + 1}"
        if name in graph:
            raise ValueError(
                f"a switch is called {name}, a name that is needed for a host on one of the switches"
            )
        graph.add_node(name, kind="host")
        graph.add_edge(name, switch)
    count = "one host" if hosts_per_switch == 1 else f"{hosts_per_switch} hosts"
    notes.append(f"the file has no hosts: {count} on each of {len(switches)} switches")


def _graph_attributes(graph: nx.Graph, raw: nx.Graph) -> None:
    """`paths` is a list, or its JSON in formats that hold text only."""
    paths = raw.graph.get("paths")
    if isinstance(paths, str):
        try:
            paths = json.loads(paths)
        except ValueError:
            paths = None
        if not isinstance(paths, list) or not all(
            isinstance(path, dict) and "between" in path for path in paths
        ):
            raise ValueError("the graph's attribute `paths` is not in mnbed's form")
    if paths:
        graph.graph["paths"] = paths
    for key in ("paths_shared", "per_pair"):
        if str(raw.graph.get(key, "")).lower() in ("true", "1"):
            graph.graph[key] = True
    if paths:
        graph.graph.setdefault("paths_shared", False)


def _some(names: Iterable[Any]) -> str:
    shown = [str(name) for name in names]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def flat(graph: nx.Graph) -> nx.Graph:
    """The graph as formats with plain attributes can hold it: directed if a link's directions differ."""
    asymmetric = any("towards" in data for _, _, data in graph.edges(data=True))
    plain = nx.DiGraph() if asymmetric else nx.Graph()
    for node, data in graph.nodes(data=True):
        plain.add_node(node, **data)
    for a, b, data in graph.edges(data=True):
        if not asymmetric:
            plain.add_edge(a, b, **data)
            continue
        common = {key: value for key, value in data.items() if key != "towards"}
        for source, target in ((a, b), (b, a)):
            plain.add_edge(source, target, **common, **data.get("towards", {}).get(target, {}))
    if graph.graph.get("paths"):
        plain.graph["paths"] = json.dumps(graph.graph["paths"])
    plain.graph.update({key: "true" for key in ("paths_shared", "per_pair") if graph.graph.get(key)})
    return plain
