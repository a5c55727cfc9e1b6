"""SWIFT's two variants checked against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from node_agent.algorithms.swift import Swift
from node_agent.wire import Fragment
from tests.fakes import FakeNetwork, make_algorithms, make_context


def swift(num_nodes: int = 3, **settings: object) -> Swift:
    values = Swift.Settings(name="swift", **settings)  # type: ignore[arg-type]
    return Swift(values, make_context(0, num_nodes, 2))


def arrives(algorithm: Swift, sender: int, round: int, *values: float) -> None:
    algorithm.on_fragment(Fragment(sender, round, 0, 1, 0, 0.0, np.array(values, np.float32)))


def after_round(algorithm: Swift, values: np.ndarray, round: int = 0) -> np.ndarray:
    algorithm.after_local_phase(round, values)
    algorithm.before_local_phase(values, 1.0)
    return values


def test_a_complete_graph_of_three_by_hand() -> None:
    """Every weight is 1/3; a neighbour that has sent nothing leaves its weight with the node."""
    algorithm = swift()
    arrives(algorithm, 1, 0, 6, 3)
    assert after_round(algorithm, np.array([0, 3], np.float32)) == pytest.approx([2, 3])
    arrives(algorithm, 2, 0, 3, 0)
    assert after_round(algorithm, np.array([0, 3], np.float32), 1) == pytest.approx([3, 2])


def test_an_old_model_is_averaged_in_again() -> None:
    algorithm = swift(2)
    arrives(algorithm, 1, 0, 8, 8)
    values = after_round(algorithm, np.array([0, 0], np.float32))
    assert values == pytest.approx([4, 4])
    assert after_round(algorithm, values, 1) == pytest.approx([6, 6])
    assert algorithm.before_local_phase(values, 2.0).of == []  # but it is new only once


def test_only_some_rounds_communicate() -> None:
    algorithm = swift(2, communication_period=1)
    arrives(algorithm, 1, 0, 8, 8)
    values = np.zeros(2, np.float32)
    assert algorithm.after_local_phase(0, values).sends == []
    algorithm.before_local_phase(values, 1.0)
    assert values.tolist() == [0, 0]
    assert len(algorithm.after_local_phase(1, values).sends) == 1
    algorithm.before_local_phase(values, 1.0)
    assert values.tolist() == [4, 4]


def test_models_go_to_all_neighbours_and_are_kept() -> None:
    outbox = swift(4).after_local_phase(0, np.zeros(2, np.float32))
    assert sorted(send.peer for send in outbox.sends) == [1, 2, 3]
    assert not outbox.replace_unsent


def test_the_artifacts_variant_takes_the_plain_mean_of_what_came_once() -> None:
    algorithm = swift(5, variant="artifact", degree=2)
    assert len({send.peer for send in algorithm.after_local_phase(0, np.zeros(2, np.float32)).sends}) == 2
    arrives(algorithm, 1, 0, 3, 3)
    arrives(algorithm, 2, 4, 6, 6)
    values = np.zeros(2, np.float32)
    algorithm.before_local_phase(values, 1.0)
    assert values == pytest.approx([3, 3])
    algorithm.before_local_phase(values, 1.0)
    assert values == pytest.approx([3, 3])


def test_the_artifact_needs_as_many_peers_as_its_degree() -> None:
    assert "only 2 peers" in (Swift.check_settings(Swift.Settings(name="swift", variant="artifact"), 2) or "")
    assert Swift.check_settings(Swift.Settings(name="swift"), 2) is None


def test_nodes_agree_in_the_end_though_links_are_unequal() -> None:
    network = FakeNetwork(
        make_algorithms({"name": "swift"}, 5, 2), num_parameters=2, frame_s={0: 0.2, 1: 0.1}
    )
    for node in range(5):
        network.start(node, np.full(2, node, np.float32), 1.0 + 0.1 * node)
    network.run_until(60)
    finals = [float(node.values[0]) for node in network.nodes.values()]
    assert max(finals) - min(finals) < 1e-2
