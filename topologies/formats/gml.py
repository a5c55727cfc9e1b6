"""GML, as networkx, Shadow and the Internet Topology Zoo write it."""

from __future__ import annotations

import re

import networkx as nx

from topologies.normal_form import flat

# In GML a node's name is its `label`; the longer label that it may have goes under this key.
_LONG_NAME = "longname"


def read(text: str) -> nx.Graph:
    """Nodes are called by their labels if these are unique, else by their numbers. Raises ValueError."""
    if not re.search(r"\bmultigraph\b", text):
        # Parallel links must be read as what they are, not as a syntax error.
        text = re.sub(r"\bgraph\s*\[", "graph [\n  multigraph 1", text, count=1)
    try:
        raw = nx.parse_gml(text, label="id")
    except (nx.NetworkXError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not GML that can be read: {error}") from None
    labels = [data.pop("label", None) for _, data in raw.nodes(data=True)]
    for data in dict(raw.nodes(data=True)).values():
        if _LONG_NAME in data:
            data["label"] = data.pop(_LONG_NAME)
    if None not in labels and len(set(labels)) == len(labels):
        raw = nx.relabel_nodes(raw, dict(zip(raw, map(str, labels), strict=True)))
    else:
        for (_, data), label in zip(raw.nodes(data=True), labels, strict=True):
            data.setdefault("label", label)
    return raw


def write(graph: nx.Graph) -> str:
    """Keeps everything."""
    plain = flat(graph)
    for _, data in plain.nodes(data=True):
        if "label" in data:
            data[_LONG_NAME] = data.pop("label")
    return "\n".join(nx.generate_gml(plain)) + "\n"
