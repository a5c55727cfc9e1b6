"""Edge lists: one link per line, two names and its attributes.

# names that begin with h and a number are hosts, all others switches
h1 s1 bandwidth=60mbit delay=1ms
s1 > s2 bandwidth=10mbit                only the direction from s1 to s2; the other has its own line
h2 s1 {'bandwidth_bps': 60e6}           as networkx writes them
"""

from __future__ import annotations

import ast
from typing import Any

import networkx as nx

from topologies.normal_form import flat
from topologies.properties import EDGE_PROPERTIES
from topologies.reading import brief


def read(text: str) -> nx.Graph:
    """Raises ValueError with the line."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.partition("#")[0].strip()
        if line:
            try:
                rows.append(_row(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    directed = any(row[2] for row in rows)
    graph: Any = nx.MultiDiGraph() if directed else nx.MultiGraph()
    for a, b, one_way, attributes in rows:
        graph.add_edge(a, b, **attributes)
        if directed and not one_way:
            graph.add_edge(b, a, **attributes)
    return graph


def write(graph: nx.Graph) -> str:
    """Links only. Raises ValueError if the graph has something that an edge list cannot hold."""
    if graph.graph.get("paths") or graph.graph.get("per_pair"):
        raise ValueError(
            "an edge list holds no properties between regions or pairs; write .yaml, .json or .graphml"
        )
    wrong = [
        node
        for node, data in graph.nodes(data=True)
        if (data["kind"] == "host") != (node[:1] == "h" and node[1:].isdecimal())
    ]
    if wrong:
        raise ValueError(
            f"in an edge list h1, h2, ... are hosts and all other names switches; {wrong[0]} does not follow that: "
            "write .yaml, .json or .graphml"
        )
    plain = flat(graph)
    between = " > " if plain.is_directed() else " "
    return "".join(f"{a}{between}{b}{_words(data)}\n" for a, b, data in plain.edges(data=True))


def _row(line: str) -> tuple[str, str, bool, dict[str, Any]]:
    """(one end, the other, whether in this direction only, attributes)"""
    head, brace, rest = line.partition("{")
    words = head.split()
    one_way = ">" in words
    if one_way:
        words.remove(">")
    if len(words) < 2:
        raise ValueError("a link is two names, then attributes")
    if brace:
        try:
            attributes = ast.literal_eval(brace + rest)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"not a Python dictionary: {brace}{rest}") from None
        if not isinstance(attributes, dict):
            raise ValueError(f"not a Python dictionary: {brace}{rest}")
        return words[0], words[1], one_way, {str(key): value for key, value in attributes.items()}
    pairs = [word.partition("=") for word in words[2:]]
    for key, equals, _ in pairs:
        if not equals:
            raise ValueError(f"{brief(key)} has no name; write bandwidth=60mbit delay=1ms")
    return words[0], words[1], one_way, {key: value for key, _, value in pairs}


def _words(data: dict[str, Any]) -> str:
    text = ""
    for row in EDGE_PROPERTIES:
        if data.get(row.attribute) is not None:
            text += f" {row.key}={row.form(data[row.attribute])}"
    return text
