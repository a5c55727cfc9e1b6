"""Graphs as plain data, in the form they have in our YAML: files of their own, and `kind: inline` in an experiment.

hosts: [h1, {name: h2, region: tokyo, label: Shinjuku 4}]
switches: [s1]
links:
  - {link: [h1, s1], bandwidth: 60mbit, delay: 1ms}
  - {link: [h2, s1], bandwidth: 60mbit, reverse: {bandwidth: 10mbit}}       # from s1 to h2
paths:                                                                      # optional: between regions
  - {between: [tokyo, ohio], bandwidth: 86mbit, delay: 66ms}
paths_shared: false
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx

from topologies import rules
from topologies.properties import BY_KEY, EDGE_PROPERTIES
from topologies.reading import brief

KEYS = ("hosts", "switches", "links", "paths", "paths_shared", "per_pair", "source")


def to_description(graph: nx.Graph) -> dict[str, Any]:
    """Plain data from which `from_description` makes an equal graph."""
    description: dict[str, Any] = {
        "hosts": [_node(graph, name) for name in rules.hosts(graph)],
        "switches": [_node(graph, name) for name in rules.switches(graph)],
        "links": [_link(a, b, data) for a, b, data in graph.edges(data=True)],
    }
    if "source" in graph.graph:
        description["source"] = graph.graph["source"]
    if graph.graph.get("paths"):
        description["paths"] = [
            {"between": list(path["between"]), **_properties_out(path)} for path in graph.graph["paths"]
        ]
        description["paths_shared"] = bool(graph.graph.get("paths_shared", False))
    if graph.graph.get("per_pair"):
        description["per_pair"] = True
    return description


def from_description(data: Mapping[str, Any]) -> nx.Graph:
    """The graph, checked. Raises ValueError that says which entry is wrong."""
    _known(data, KEYS, "the topology")
    graph = nx.Graph()
    for section, kind in (("hosts", "host"), ("switches", "switch")):
        for number, entry in enumerate(_list(data, section)):
            where = f"{section}[{number}]"
            fields = {"name": entry} if isinstance(entry, str) else entry
            if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
                raise ValueError(
                    f"{where}: got {brief(entry)}; write a name, or {{name: ..., label: ..., region: ...}}"
                )
            _known(fields, ("name", "label", "region"), where)
            if fields["name"] in graph:
                raise ValueError(f"{where}: {fields['name']} is given twice")
            extra = {key: str(fields[key]) for key in ("label", "region") if fields.get(key) is not None}
            graph.add_node(fields["name"], kind=kind, **extra)
    for number, entry in enumerate(_list(data, "links")):
        _add_link(graph, entry, f"links[{number}]")
    _add_paths(graph, data)
    for key in ("per_pair", "source"):
        if data.get(key):
            graph.graph[key] = data[key]
    rules.check(graph)
    return graph


def _node(graph: nx.Graph, name: str) -> Any:
    data = graph.nodes[name]
    extra = {key: data[key] for key in ("label", "region") if data.get(key) is not None}
    return {"name": name, **extra} if extra else name


def _link(a: str, b: str, data: Mapping[str, Any]) -> dict[str, Any]:
    towards = data.get("towards", {})
    link = {"link": [a, b], **_properties_out({**data, **towards.get(b, {})})}
    if towards:
        reverse = _properties_out({**data, **towards.get(a, {})})
        # What is not repeated holds for both directions; null: the experiment's own.
        link["reverse"] = (
            dict.fromkeys([key for key in link if key != "link" and key not in reverse]) | reverse
        )
    return link


def _add_link(graph: nx.Graph, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(
            f"{where}: got {brief(entry)}; write {{link: [h1, s1], bandwidth: 60mbit, delay: 1ms}}"
        )
    _known(entry, ("link", *BY_KEY, "reverse"), where)
    a, b = _pair(entry.get("link"), f"{where}.link")
    for name in (a, b):
        if name not in graph:
            raise ValueError(f"{where}.link: no host or switch {brief(name)}")
    if graph.has_edge(a, b):
        raise ValueError(f"{where}.link: a second link between {a} and {b}; two nodes can have only one link")
    graph.add_edge(a, b)
    forward = _properties_in(entry, where)
    reverse = entry.get("reverse") or {}
    if not isinstance(reverse, Mapping):
        raise ValueError(f"{where}.reverse: got {brief(reverse)}; write {{bandwidth: 10mbit}}")
    _known(reverse, tuple(BY_KEY), f"{where}.reverse")
    own = {BY_KEY[key].attribute for key in reverse}
    backward = {name: value for name, value in forward.items() if name not in own}
    backward |= _properties_in(reverse, f"{where}.reverse")
    put_properties(graph.edges[a, b], a, b, forward, backward)


def put_properties(
    edge: dict[str, Any], a: str, b: str, forward: Mapping[str, Any], backward: Mapping[str, Any]
) -> None:
    """Give the edge its properties from a to b and from b to a, in the simplest form."""
    if forward == backward:
        edge.update(forward)
    else:
        edge["towards"] = {b: dict(forward), a: dict(backward)}


def _add_paths(graph: nx.Graph, data: Mapping[str, Any]) -> None:
    if not data.get("paths"):
        return
    graph.graph["paths"] = []
    graph.graph["paths_shared"] = bool(data.get("paths_shared", False))
    for number, entry in enumerate(_list(data, "paths")):
        where = f"paths[{number}]"
        if not isinstance(entry, Mapping):
            raise ValueError(
                f"{where}: got {brief(entry)}; write {{between: [tokyo, ohio], bandwidth: 86mbit}}"
            )
        _known(entry, ("between", *(row.key for row in EDGE_PROPERTIES if row.of_paths)), where)
        between = list(_pair(entry.get("between"), f"{where}.between"))
        graph.graph["paths"].append({"between": between, **_properties_in(entry, where)})


def _properties_in(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    properties = {}
    for row in EDGE_PROPERTIES:
        if entry.get(row.key) is not None:
            try:
                properties[row.attribute] = row.parse(entry[row.key])
            except ValueError as error:
                raise ValueError(f"{where}.{row.key}: got {brief(entry[row.key])}; {error}") from None
    return properties


def _properties_out(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        row.key: row.form(data[row.attribute])
        for row in EDGE_PROPERTIES
        if data.get(row.attribute) is not None
    }


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key) or []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{key}: it must be a list")
    return list(value)


def _pair(value: Any, where: str) -> tuple[str, str]:
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 2
        or not all(isinstance(name, str) for name in value)
    ):
        raise ValueError(f"{where}: got {brief(value)}; it must be two names: [h1, s1]")
    return value[0], value[1]


def _known(entry: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    for key in entry:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), list(allowed), n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{where}: no such key {brief(key)}{meant} (allowed: {', '.join(allowed)})")
