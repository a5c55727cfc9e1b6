"""Reads graphs from files and writes them, in the format that the file's ending names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import networkx as nx

from topologies import rules
from topologies.normal_form import COMPONENTS, PARALLEL, normalise
from topologies.reading import brief, read_text

# No machine could emulate a graph from a larger file.
MAX_FILE_BYTES = 20_000_000
# Ending -> module of `formats`.
FORMATS = {
    ".graphml": "graphml",
    ".gml": "gml",
    ".edges": "edge_list",
    ".edgelist": "edge_list",
    ".txt": "edge_list",
    ".json": "node_link",
    ".yaml": "yaml_file",
    ".yml": "yaml_file",
    ".xml": "kollaps",
}
NAMES = {
    "graphml": "GraphML",
    "gml": "GML",
    "edge_list": "edge list",
    "node_link": "node-link JSON",
    "yaml_file": "mnbed's YAML",
    "kollaps": "Kollaps XML",
}


def load(
    path: Path, *, hosts_per_switch: int = 1, parallel: str = "refuse", component: str = "all"
) -> nx.Graph:
    """The graph in that file, checked; its attribute `notes` says what was done to it.

    hosts_per_switch: hosts put on each switch if the file has none, as in maps of backbones
    parallel: refuse several links between two nodes, or merge them: bandwidths add up, the smallest delay counts
    component: all: the graph must be connected; largest: take its largest connected part

    Raises ValueError, with the file's name, if it cannot be read or is not a network.
    """
    for value, allowed, name in ((parallel, PARALLEL, "parallel"), (component, COMPONENTS, "component")):
        if value not in allowed:
            raise ValueError(f"{name}: got {brief(value)}; allowed: {', '.join(allowed)}")
    text = _text(path)
    try:
        name = _format_of(path)
        if name == "kollaps" and "<graphml" in text[:2000]:
            name = "graphml"
        raw = _module(name).read(text)
        if name == "yaml_file":
            graph = raw
        else:
            graph = normalise(raw, hosts_per_switch=hosts_per_switch, parallel=parallel, component=component)
    except OverflowError:
        raise ValueError(f"{path}: it contains a number that is too large to calculate with") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    graph.graph["source"] = path.name
    return graph


def save(graph: nx.Graph, path: Path) -> None:
    """Raises ValueError if the format cannot hold the graph, or the file cannot be written."""
    rules.check(graph)
    try:
        text = _module(_format_of(path)).write(graph)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def endings() -> str:
    """All endings, with their formats."""
    return ", ".join(f"{ending} ({NAMES[name]})" for ending, name in FORMATS.items())


def _format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"unknown ending {brief(path.suffix)}; there are: {endings()}") from None


def _module(name: str) -> Any:
    return importlib.import_module(f"topologies.formats.{name}")


def _text(path: Path) -> str:
    try:
        return read_text(path, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
