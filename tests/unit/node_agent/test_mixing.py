"""Weights, mailboxes and rounds that algorithms on fixed graphs share."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.mixing import MAX_MODELS_AHEAD, LatestModels, RoundModels, metropolis_hastings, mix_into
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
    assert [fragment.round for fragment in fresh] == [3]
    models, fresh = mailbox.look()
    assert models[1][0] == 5.0
    assert fresh == []
    mailbox.forget_rounds(1)
    assert mailbox.put(model(1, 0, 9.0))
    assert mailbox.look()[0][1][0] == 9.0


def test_a_round_is_complete_when_everybody_awaited_is_there() -> None:
    rounds = RoundModels([1, 2])
    rounds.put(model(1, 0))
    assert rounds.missing(0, [1, 2])
    assert not rounds.missing(0, [1])
    rounds.lost(2)
    assert not rounds.missing(0, [1, 2])


def test_a_neighbour_that_is_a_round_ahead_keeps_both_models() -> None:
    rounds = RoundModels([1, 2])
    for fragment in (model(1, 1, 11.0), model(1, 0, 10.0), model(2, 0, 20.0)):  # reordered
        rounds.put(fragment)
    assert not rounds.missing(0, [1, 2])
    assert [(fragment.sender, fragment.round) for fragment in rounds.take(0)] == [(1, 0), (2, 0)]
    assert rounds.missing(1, [1, 2])
    rounds.put(model(2, 1))
    assert [(fragment.sender, fragment.round) for fragment in rounds.take(1)] == [(1, 1), (2, 1)]
    rounds.put(model(1, 1))  # a duplicate of what was taken
    assert rounds.take(1) == []


def test_a_peer_that_comes_back_is_waited_for_when_it_has_caught_up() -> None:
    rounds = RoundModels([1])
    rounds.lost(1)
    assert not rounds.missing(7, [1])
    rounds.joined(1)
    rounds.put(model(1, 2))  # far behind: taken, not waited for
    assert not rounds.missing(8, [1])
    assert [fragment.round for fragment in rounds.take(8)] == [2]
    rounds.put(model(1, 9))
    assert not rounds.missing(9, [1])
    assert rounds.missing(10, [1])


def test_a_model_of_a_later_round_is_not_taken_before_its_round() -> None:
    """Sender 1 is ahead, and drew this node in round 3 but not in round 1."""
    rounds = RoundModels([1, 2])
    rounds.put(model(1, 3))
    rounds.put(model(2, 1))
    assert not rounds.missing(1, [2])
    assert [(fragment.sender, fragment.round) for fragment in rounds.take(1)] == [(2, 1)]
    assert not rounds.missing(3, [1])
    assert [(fragment.sender, fragment.round) for fragment in rounds.take(3)] == [(1, 3)]


def test_a_round_that_a_newer_one_has_overtaken_is_not_waited_for() -> None:
    rounds = RoundModels([1])
    rounds.put(model(1, 4))
    assert not rounds.missing(2, [1])
    assert rounds.take(2) == []
    assert not rounds.missing(4, [1])
    assert rounds.take(4)
    assert rounds.missing(5, [1]) == [1]


def test_of_a_sender_far_ahead_few_models_are_kept_and_the_oldest_is_taken() -> None:
    rounds = RoundModels([1])
    for number in range(100, 150):
        rounds.put(model(1, number))
    taken = [fragment.round for number in range(MAX_MODELS_AHEAD) for fragment in rounds.take(number)]
    assert taken == [150 - MAX_MODELS_AHEAD]
    rounds.put(model(1, 150))
    assert [fragment.round for fragment in rounds.take(9)] == [151 - MAX_MODELS_AHEAD]


def test_a_node_that_came_back_waits_for_those_who_are_where_it_is() -> None:
    rounds = RoundModels([1, 2], restarted=True)
    rounds.put(model(1, 3))  # before this node knows its own round
    assert not rounds.missing(5, [1, 2])
    rounds.put(model(2, 5))
    assert rounds.missing(6, [1, 2]) == [2]
