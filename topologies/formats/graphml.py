"""GraphML, as networkx, yEd, Gephi and the Internet Topology Zoo write it."""

from __future__ import annotations

import warnings

import networkx as nx

from topologies.formats import safe_xml
from topologies.normal_form import flat


def read(text: str) -> nx.Graph:
    """Raises ValueError."""
    safe_xml.parse(text)
    try:
        with warnings.catch_warnings():
            # networkx warns when it assumes that an attribute without a type is text.
            warnings.simplefilter("ignore")
            graph: nx.Graph = nx.parse_graphml(text)
    except (nx.NetworkXError, KeyError, ValueError, TypeError, StopIteration) as error:
        raise ValueError(f"not GraphML that can be read: {error}") from None
    return graph


def write(graph: nx.Graph) -> str:
    """Keeps everything."""
    return "\n".join(nx.generate_graphml(flat(graph))) + "\n"
