"""What holds for every topology generator, also for those written after this test."""

from __future__ import annotations

import networkx as nx
import pytest

import topologies
from topologies import generators, rules


def edges(graph: nx.Graph) -> list[tuple[str, str]]:
    return list(graph.edges)


@pytest.mark.parametrize("kind", topologies.names())
class TestGenerator:
    def test_its_defaults_give_a_valid_network(self, kind: str) -> None:
        graph = topologies.generate(kind, {}, 1)
        rules.check(graph)
        assert rules.hosts(graph) == [f"h{i}" for i in range(1, len(rules.hosts(graph)) + 1)]
        assert rules.switches(graph) == [f"s{i}" for i in range(1, len(rules.switches(graph)) + 1)]

    def test_the_same_seed_gives_the_same_graph_in_the_same_order(self, kind: str) -> None:
        once, again = topologies.generate(kind, {}, 7), topologies.generate(kind, {}, 7)
        assert list(once.nodes(data=True)) == list(again.nodes(data=True))
        assert edges(once) == edges(again)

    def test_it_explains_itself(self, kind: str) -> None:
        assert topologies.purpose(kind).endswith(".")
        for parameter in topologies.parameters(kind).values():
            assert parameter.help, f"{kind}: the docstring says nothing about {parameter.name}"
            assert parameter.type in (int, float, str, bool)

    def test_a_misspelt_parameter_is_refused(self, kind: str) -> None:
        with pytest.raises(topologies.ParameterError):
            topologies.generate(kind, {"no_such_parameter": 1}, 1)

    def test_it_bounds_the_number_of_hosts(self, kind: str) -> None:
        if "nodes" in topologies.parameters(kind):
            with pytest.raises(ValueError, match="nodes"):
                topologies.generate(kind, {"nodes": generators.MAX_HOSTS + 1}, 1)
