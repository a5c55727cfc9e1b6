"""Weights, mailboxes and rounds that algorithms on fixed graphs share."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.mixing import LatestModels, RoundModels, metropolis_hastings, mix_into
from node_agent.wire import Fragment


def model(sender: int, round: int, *values: float) -> Fragment:
    return Fragment(sender, round, 0, 1, 0, 0.0, np.array(values or (0.0,), np.float32))


@given(st.integers(2, 12), st.floats(0.2, 1), st.integers(0, 1000))
def test_metropolis_hastings_is_doubly_stochastic(nodes: int, density: float, seed: int) -> None:
    graph = nx.gnp_random_graph(nodes, density, seed=seed)
    matrix = np.zeros((nodes, nodes))
    for node in graph:
        weights = metropolis_hastings(graph.degree[node], {peer: graph.degree[peer] for peer in graph[node]})
        for peer, weight in weights.items():
            matrix[node, peer] = weight
        matrix[node, node] = 1 - sum(weights.values())
    assert matrix.min() >= 0
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(matrix.sum(axis=0), 1)


def test_a_line_of_three_by_hand() -> None:
    """1 - 2 - 3: the middle has degree 2, so every edge weighs 1/3."""
    assert metropolis_hastings(1, {2: 2}) == {2: pytest.approx(1 / 3)}
    values = np.array([3.0, 0.0], np.float32)
    mix_into(values, {2: np.array([6.0, 9.0], np.float32)}, {2: 1 / 3})
    assert values == pytest.approx([4.0, 3.0])


def test_the_weight_of_a_missing_model_stays_with_the_node() -> None:
    values = np.array([4.0], np.float32)
    mix_into(values, {1: np.array([8.0], np.float32)}, {1: 0.25, 2: 0.25})
    assert values == pytest.approx([0.75 * 4 + 0.25 * 8])
    untouched = values.copy()
    mix_into(values, {}, {1: 0.25})
    assert values.tobytes() == untouched.tobytes()


def test_the_newest_model_stays_in_the_mailbox() -> None:
    mailbox = LatestModels()
    assert mailbox.put(model(1, 3, 5.0))
    assert not mailbox.put(model(1, 2, 7.0))  # late
    assert not mailbox.put(model(1, 3, 7.0))  # twice
    models, fresh = mailbox.look()
    assert models[1][0] == 5.0
    assert [one.round for one in fresh] == [3]
    models, fresh = mailbox.look()
    assert models[1][0] == 5.0
    assert fresh == []
    mailbox.forget_rounds(1)
    assert mailbox.put(model(1, 0, 9.0))
    assert mailbox.look()[0][1][0] == 9.0


def test_a_round_is_complete_when_everybody_awaited_is_there() -> None:
    rounds = RoundModels([1, 2])
    rounds.put(model(1, 0))
    assert not rounds.complete(0, [1, 2])
    assert rounds.complete(0, [1])
    rounds.lost(2)
    assert rounds.complete(0, [1, 2])


def test_a_neighbour_that_is_a_round_ahead_keeps_both_models() -> None:
    rounds = RoundModels([1, 2])
    for one in (model(1, 1, 11.0), model(1, 0, 10.0), model(2, 0, 20.0)):  # reordered
        rounds.put(one)
    assert rounds.complete(0, [1, 2])
    assert [(one.sender, one.round) for one in rounds.take(0)] == [(1, 0), (2, 0)]
    assert not rounds.complete(1, [1, 2])
    rounds.put(model(2, 1))
    assert [(one.sender, one.round) for one in rounds.take(1)] == [(1, 1), (2, 1)]
    rounds.put(model(1, 1))  # a duplicate of what was taken
    assert rounds.take(1) == []


def test_a_peer_that_comes_back_is_waited_for_when_it_has_caught_up() -> None:
    rounds = RoundModels([1])
    rounds.lost(1)
    assert rounds.complete(7, [1])
    rounds.joined(1)
    rounds.put(model(1, 2))  # far behind: taken, not waited for
    assert rounds.complete(8, [1])
    assert [one.round for one in rounds.take(8)] == [2]
    rounds.put(model(1, 9))
    assert rounds.complete(9, [1])
    assert not rounds.complete(10, [1])
