"""Each generator's own shape; what holds for all of them is in tests/unit/contracts/test_generator_contract.py."""

from __future__ import annotations

from typing import Any

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


def test_grid() -> None:
    switches = switch_graph(topologies.generate("grid", {"rows": 3, "columns": 4}, 1))
    assert nx.is_isomorphic(switches, nx.grid_2d_graph(3, 4))
    assert switches.has_edge("s1", "s2")
    assert switches.has_edge("s1", "s5")


def test_torus() -> None:
    switches = switch_graph(topologies.generate("torus", {"rows": 3, "columns": 5}, 1))
    assert nx.is_isomorphic(switches, nx.grid_2d_graph(3, 5, periodic=True))


def test_fat_tree() -> None:
    graph = topologies.generate("fat_tree", {"ports": 4}, 1)
    assert (len(rules.hosts(graph)), len(rules.switches(graph))) == (16, 20)
    assert {graph.degree(switch) for switch in rules.switches(graph)} == {4}
    # Hosts in different pods: as many equal paths as there are core switches.
    assert len(list(nx.all_shortest_paths(graph, "h1", "h16"))) == 4


def test_leaf_spine() -> None:
    graph = topologies.generate("leaf_spine", {"leaves": 3, "spines": 2, "hosts_per_leaf": 4}, 1)
    assert len(rules.hosts(graph)) == 12
    assert nx.is_isomorphic(switch_graph(graph), nx.complete_bipartite_graph(2, 3))
    assert nx.shortest_path_length(graph, "h1", "h12") == 4


def test_erdos_renyi() -> None:
    graphs = [
        topologies.generate("erdos_renyi", {"nodes": 30, "probability": 0.3}, seed) for seed in range(5)
    ]
    assert len({tuple(graph.edges) for graph in graphs}) == 5
    links = [switch_graph(graph).number_of_edges() for graph in graphs]
    # Mean 130.5, standard deviation 9.6: the mean of five within four of its own.
    assert 130.5 - 18 < sum(links) / 5 < 130.5 + 18
    assert switch_graph(topologies.generate("erdos_renyi", {"nodes": 6, "probability": 1.0}, 1)).size() == 15


def test_watts_strogatz() -> None:
    still = switch_graph(topologies.generate("watts_strogatz", {"nodes": 12, "probability": 0.0}, 1))
    assert nx.is_isomorphic(still, nx.circulant_graph(12, [1, 2]))
    rewired = switch_graph(topologies.generate("watts_strogatz", {"nodes": 12, "probability": 0.5}, 1))
    assert rewired.size() == still.size()
    assert not nx.is_isomorphic(still, rewired)


def test_barabasi_albert() -> None:
    switches = switch_graph(topologies.generate("barabasi_albert", {"nodes": 40, "links": 2}, 1))
    assert switches.size() == 2 * 38
    assert max(degree for _, degree in switches.degree) >= 3 * 4  # hubs, far above the mean of 4


def test_any_generator_of_networkx() -> None:
    graph = topologies.generate(
        "networkx", {"graph": "hypercube_graph", "args": {"n": 3}, "hosts_per_switch": 2}, 1
    )
    assert nx.is_isomorphic(switch_graph(graph), nx.hypercube_graph(3))
    assert len(rules.hosts(graph)) == 16


def test_a_random_generator_of_networkx_follows_the_seed() -> None:
    given = {"graph": "random_geometric_graph", "args": {"n": 20, "radius": 0.4}}
    first, same, other = (topologies.generate("networkx", given, seed) for seed in (1, 1, 2))
    assert list(first.edges) == list(same.edges) != list(other.edges)


def test_regions() -> None:
    graph = topologies.generate("regions", {"hosts_per_region": 2, "only": "tokyo, ohio"}, 1)
    assert [graph.nodes[host]["label"] for host in rules.hosts(graph)] == [
        "tokyo-1",
        "tokyo-2",
        "ohio-1",
        "ohio-2",
    ]
    between = {tuple(path["between"]): path for path in graph.graph["paths"]}
    assert between["tokyo", "ohio"]["bandwidth_bps"] == 86e6
    assert between["tokyo", "ohio"]["delay_s"] == pytest.approx((132.39 + 132.96) / 4e3, abs=1e-5)
    assert "bandwidth_bps" not in between["tokyo", "tokyo"]


def test_all_ten_regions_of_the_paper_are_there() -> None:
    graph = topologies.generate("regions", {}, 1)
    assert len(rules.hosts(graph)) == 60
    pairs = [path for path in graph.graph["paths"] if path["between"][0] != path["between"][1]]
    assert len(pairs) == 45
    assert all({"bandwidth_bps", "delay_s"} <= path.keys() for path in pairs)
    assert all(
        "delay_s" not in path for path in topologies.generate("regions", {"delays": False}, 1).graph["paths"]
    )


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
        ("torus", {"rows": 2, "columns": 5}, "rows=2"),
        ("grid", {"rows": 1, "columns": 1}, "rows [*] columns=1"),
        ("fat_tree", {"ports": 3}, "ports=3; it must be even"),
        ("leaf_spine", {"spines": 0}, "spines=0"),
        ("erdos_renyi", {"nodes": 200, "probability": 0.001}, "too low for 200 nodes"),
        ("erdos_renyi", {"probability": 0.0}, "above 0"),
        ("watts_strogatz", {"neighbours": 3}, "neighbours=3; it must be even"),
        ("barabasi_albert", {"nodes": 4, "links": 4}, "links=4"),
        ("networkx", {"graph": "no_such_graph"}, "no such generator"),
        ("networkx", {"graph": "read_gml"}, "no such generator"),
        ("networkx", {"graph": "hypercube_graph"}, "hypercube_graph: .*missing"),
        ("networkx", {"graph": "hypercube_graph", "args": {"n": 3, "seed": 4}}, "leave it out"),
        ("networkx", {"graph": "empty_graph", "args": {"n": 3}}, "not connected"),
        ("regions", {"matrix": "mars"}, "there are: aws"),
        ("regions", {"only": "tokyo, atlantis"}, "no region 'atlantis'"),
    ],
)
def test_impossible_parameters_are_refused_with_the_numbers(
    kind: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        topologies.generate(kind, given, 1)
