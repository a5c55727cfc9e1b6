"""What holds for every topology generator, including those written after this test."""

from __future__ import annotations

import networkx as nx
import pytest
import yaml

import topologies
from topologies import rules
from topologies.building import MAX_HOSTS
from topologies.description import from_description, to_description

# What must be given.
GIVEN = {"networkx": {"graph": "petersen_graph"}}


def edges(graph: nx.Graph) -> list[tuple[str, str]]:
    return list(graph.edges)


@pytest.mark.parametrize("kind", topologies.names())
class TestGenerator:
    def test_its_defaults_give_a_valid_network(self, kind: str) -> None:
        graph = topologies.generate(kind, GIVEN.get(kind, {}), 1)
        rules.check(graph)
        assert rules.hosts(graph) == [f"h{i}" for i in range(1, len(rules.hosts(graph)) + 1)]
        assert rules.switches(graph) == [f"s{i}" for i in range(1, len(rules.switches(graph)) + 1)]

    def test_the_same_seed_gives_the_same_graph_in_the_same_order(self, kind: str) -> None:
        given = GIVEN.get(kind, {})
        once, again = topologies.generate(kind, given, 7), topologies.generate(kind, given, 7)
        assert list(once.nodes(data=True)) == list(again.nodes(data=True))
        assert edges(once) == edges(again)

    def test_it_explains_itself(self, kind: str) -> None:
        assert topologies.purpose(kind).endswith(".")
        for parameter in topologies.parameters(kind).values():
            assert parameter.help, f"{kind}: the docstring says nothing about {parameter.name}"
            assert parameter.type in (int, float, str, bool, dict)

    def test_a_misspelt_parameter_is_refused(self, kind: str) -> None:
        with pytest.raises(topologies.ParameterError):
            topologies.generate(kind, {"no_such_parameter": 1}, 1)

    def test_it_bounds_the_number_of_hosts(self, kind: str) -> None:
        if "nodes" in topologies.parameters(kind):
            with pytest.raises(ValueError, match="nodes"):
                topologies.generate(kind, {"nodes": MAX_HOSTS + 1}, 1)

    def test_its_graph_survives_our_yaml(self, kind: str) -> None:
        graph = topologies.generate(kind, GIVEN.get(kind, {}), 1)
        again = from_description(yaml.safe_load(yaml.safe_dump(to_description(graph))))
        assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
        assert nx.utils.edges_equal(again.edges(data=True), graph.edges(data=True))
        assert {key: again.graph.get(key) for key in graph.graph} == graph.graph
