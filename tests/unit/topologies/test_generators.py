"""Each generator's own shape; what holds for all of them is in tests/unit/contracts/test_generator_contract.py."""

from __future__ import annotations

import networkx as nx
import pytest

import topologies
from topologies import rules
from topologies.regular import connected_regular


def switch_graph(graph: nx.Graph) -> nx.Graph:
    return graph.subgraph(rules.switches(graph))


def test_star() -> None:
    graph = topologies.generate("star", {"nodes": 5}, 1)
    assert sorted(graph.neighbors("s1")) == ["h1", "h2", "h3", "h4", "h5"]


def test_ring() -> None:
    graph = topologies.generate("ring", {"nodes": 6}, 1)
    switches = switch_graph(graph)
    assert nx.is_connected(switches)
    assert {degree for _, degree in switches.degree} == {2}
    assert list(graph.neighbors("h4")) == ["s4"]


def test_line() -> None:
    graph = topologies.generate("line", {"nodes": 4}, 1)
    assert nx.shortest_path(graph, "h1", "h4") == ["h1", "s1", "s2", "s3", "s4", "h4"]


def test_dumbbell() -> None:
    graph = topologies.generate("dumbbell", {"left": 2, "right": 3}, 1)
    assert sorted(graph.neighbors("s1")) == ["h1", "h2", "s2"]
    assert sorted(graph.neighbors("s2")) == ["h3", "h4", "h5", "s1"]


@pytest.mark.parametrize(("depth", "fanout"), [(1, 4), (2, 2), (3, 3), (4, 1)])
def test_tree(depth: int, fanout: int) -> None:
    if fanout == 1:
        with pytest.raises(ValueError, match="at least 2 hosts"):
            topologies.generate("tree", {"depth": depth, "fanout": fanout}, 1)
        return
    graph = topologies.generate("tree", {"depth": depth, "fanout": fanout}, 1)
    assert nx.is_tree(graph)
    assert len(rules.hosts(graph)) == fanout**depth
    assert {nx.shortest_path_length(graph, "s1", host) for host in rules.hosts(graph)} == {depth}


@pytest.mark.parametrize(("nodes", "degree"), [(2, 1), (8, 3), (9, 2), (50, 2), (20, 4), (6, 5)])
def test_random_regular(nodes: int, degree: int) -> None:
    switches = switch_graph(topologies.generate("random_regular", {"nodes": nodes, "degree": degree}, 3))
    assert nx.is_connected(switches)
    assert {count for _, count in switches.degree} == {degree}


def test_another_seed_draws_another_graph() -> None:
    drawn = {tuple(connected_regular(12, 3, seed)) for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("star", {"nodes": 1}, "nodes=1"),
        ("star", {"nodes": 10**9}, "nodes=1000000000"),
        ("ring", {"nodes": 2}, "nodes=2"),
        ("tree", {"depth": 16, "fanout": 10}, "more than"),
        ("tree", {"depth": 0}, "depth=0"),
        ("random_regular", {"nodes": 9, "degree": 3}, "9 [*] 3 is odd"),
        ("random_regular", {"nodes": 4, "degree": 4}, "degree=4"),
        ("random_regular", {"nodes": 4, "degree": 1}, "pairs"),
        ("random_regular", {"nodes": 4, "degree": 0}, "degree=0"),
    ],
)
def test_impossible_parameters_are_refused_with_the_numbers(
    kind: str, given: dict[str, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        topologies.generate(kind, given, 1)
