"""Graphs that are not valid networks, and the messages that say why."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import pytest

import topologies
from topologies import rules


def two_hosts() -> nx.Graph:
    return topologies.generate("star", {"nodes": 2}, 1)


def disconnected(graph: nx.Graph) -> None:
    graph.add_node("s2", kind="switch")
    graph.add_node("h3", kind="host")
    graph.add_edge("h3", "s2")


def two_access_links(graph: nx.Graph) -> None:
    graph.add_node("s2", kind="switch")
    graph.add_edge("s1", "s2")
    graph.add_edge("h1", "s2")


def host_to_host(graph: nx.Graph) -> None:
    graph.remove_node("s1")
    graph.add_edge("h1", "h2")


def long_name(graph: nx.Graph) -> None:
    nx.relabel_nodes(graph, {"h1": "amsterdam-one"}, copy=False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (disconnected, "2 components: h1, h2, s1 | h3, s2"),
        (two_access_links, "host h1 has 2 links [(]to s1, s2[)]"),
        (host_to_host, "must lead to a switch"),
        (
            lambda graph: nx.relabel_nodes(graph, {"h1": "controller"}, copy=False),
            "host controller has a reserved",
        ),
        (
            lambda graph: nx.relabel_nodes(graph, {"h1": "parent"}, copy=False),
            "host parent has a reserved name",
        ),
        (long_name, "amsterdam-one-eth1 has 18 characters"),
        (lambda graph: graph.add_edge("s1", "s1"), "s1 has a link to itself"),
        (lambda graph: graph.add_node("h9", kind="host"), "host h9 has 0 links"),
        (lambda graph: graph.add_node("x y", kind="switch"), "'x y' has an invalid name"),
        (lambda graph: graph.add_node(7, kind="switch"), "node 7 has an invalid name"),
        (lambda graph: graph.add_node("r1"), "r1 has kind None"),
        (lambda graph: graph.remove_node("h2"), "has 1 hosts"),
        (lambda graph: graph.edges["h1", "s1"].update(bandwidth_bps=0), "bandwidth_bps=0"),
        (lambda graph: graph.edges["h1", "s1"].update(delay_s="5ms"), "delay_s='5ms'"),
        (lambda graph: graph.edges["h1", "s1"].update(delay_s=float("nan")), "delay_s=nan"),
    ],
)
def test_an_invalid_graph_is_refused(spoil: Callable[[nx.Graph], None], words: str) -> None:
    graph = two_hosts()
    rules.check(graph)
    spoil(graph)
    with pytest.raises(ValueError, match=words):
        rules.check(graph)


def test_directed_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match="undirected"):
        rules.check(two_hosts().to_directed())


def test_names_come_in_natural_order() -> None:
    graph = topologies.generate("star", {"nodes": 11}, 1)
    assert rules.hosts(graph)[1] == "h2"
    assert rules.hosts(graph)[-1] == "h11"


def test_overriding_edges_are_fine() -> None:
    graph = two_hosts()
    graph.edges["h1", "s1"].update(bandwidth_bps=5e6, delay_s=0)
    rules.check(graph)
