"""Our own YAML; `topologies/description.py` shows it."""

from __future__ import annotations

import networkx as nx
import yaml

from topologies import plain_yaml
from topologies.description import from_description, to_description


def read(text: str) -> nx.Graph:
    """Raises ValueError."""
    data = plain_yaml.load(text)
    if not isinstance(data, dict):
        raise ValueError("not a topology: it must have hosts, switches and links")
    return from_description(data)


def write(graph: nx.Graph) -> str:
    """Keeps everything."""
    return yaml.safe_dump(
        to_description(graph), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
