"""Node-link JSON, as networkx and D3 write it: {"nodes": [{"id"}], "links" or "edges": [{"source", "target"}]}."""

from __future__ import annotations

import json
from typing import Any

import networkx as nx

from topologies.normal_form import flat
from topologies.reading import brief


def read(text: str) -> nx.Graph:
    """Raises ValueError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise ValueError('not node-link JSON: it has no list "nodes"')
    links = data.get("links", data.get("edges"))
    if not isinstance(links, list):
        raise ValueError('not node-link JSON: it has no list "links" or "edges"')
    graph: Any = nx.MultiDiGraph() if data.get("directed") is True else nx.MultiGraph()
    if isinstance(data.get("graph"), dict):
        graph.graph.update(data["graph"])
    for number, node in enumerate(data["nodes"]):
        if not isinstance(node, dict) or not isinstance(node.get("id"), (str, int)):
            raise ValueError(f"nodes[{number}]: it has no id")
        if node["id"] in graph:
            raise ValueError(f"nodes[{number}]: {node['id']} is given twice")
        graph.add_node(node["id"], **_attributes(node, ("id",)))
    for number, link in enumerate(links):
        ends = (link.get("source"), link.get("target")) if isinstance(link, dict) else (None, None)
        for end in ends:
            if not isinstance(end, (str, int)) or end not in graph:
                raise ValueError(f"links[{number}]: source and target must be ids of nodes; got {brief(end)}")
        graph.add_edge(*ends, **_attributes(link, ("source", "target", "key")))
    return graph


def write(graph: nx.Graph) -> str:
    """Keeps everything."""
    plain = flat(graph)
    data = {
        "directed": plain.is_directed(),
        "multigraph": False,
        "graph": plain.graph,
        "nodes": [{"id": node, **attributes} for node, attributes in plain.nodes(data=True)],
        "links": [{"source": a, "target": b, **attributes} for a, b, attributes in plain.edges(data=True)],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _attributes(entry: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    return {str(key): value for key, value in entry.items() if key not in without}
