"""D-PSGD and EL-Local: synchronous rounds, checked against hand-computed values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from node_agent.algorithms.d_psgd import DPsgd
from node_agent.algorithms.el_local import ElLocal
from node_agent.wire import Fragment
from tests.fakes import FakeNetwork, make_algorithms, make_context


def model(sender: int, round: int, *values: float) -> Fragment:
    return Fragment(sender, round, 0, 1, 0, 0.0, np.array(values, np.float32))


def test_d_psgd_waits_for_all_and_mixes_by_metropolis_hastings() -> None:
    """Node 1 in the line 0 - 1 - 2: every edge weighs 1/3."""
    context = dataclasses.replace(make_context(1, 3, 1), peers=(0, 2), overlay={0: (1,), 1: (0, 2), 2: (1,)})
    algorithm = DPsgd(DPsgd.Settings(name="d_psgd"), context)
    values = np.array([3.0], np.float32)
    assert algorithm.may_start_round()
    algorithm.before_local_phase(values, 0.0)
    assert len(algorithm.after_local_phase(0, values).sends) == 2
    algorithm.on_fragment(model(0, 0, 6.0))
    assert not algorithm.may_start_round()
    algorithm.on_fragment(model(2, 1, 100.0))  # a round ahead: not this round's
    algorithm.on_fragment(model(2, 0, 0.0))
    assert algorithm.may_start_round()
    assert algorithm.before_local_phase(values, 1.0).of == [(0, 0, 0), (2, 0, 0)]
    assert values == pytest.approx([3.0])


@pytest.mark.parametrize("slow", [{}, {0: 0.9, 1: 0.2}])
def test_d_psgd_keeps_the_mean_at_every_round(slow: dict[int, float]) -> None:
    network = FakeNetwork(make_algorithms({"name": "d_psgd"}, 5, 2), num_parameters=2, frame_s=slow)
    for node in range(5):
        network.start(node, np.array([node, -node], np.float32), 1.0 + 0.2 * node)
    network.run_until(30)
    rounds = [node.round for node in network.nodes.values()]
    assert max(rounds) - min(rounds) <= 1
    for agent in network.nodes.values():  # a complete graph agrees after one round
        assert agent.values == pytest.approx([2, -2], abs=1e-5)


def test_d_psgd_continues_with_a_peer_that_died_and_restarted() -> None:
    network = FakeNetwork(make_algorithms({"name": "d_psgd"}, 3, 2), num_parameters=2)
    for node in range(3):
        network.start(node, np.zeros(2, np.float32), 1.0)
    network.run_until(4.5)
    network.kill(2)
    network.run_until(10.5)
    assert network.nodes[0].round >= 9
    network.revive(2, make_algorithms({"name": "d_psgd"}, 3, 2)[2])
    network.start(2, np.ones(2, np.float32), 1.0)
    network.run_until(30.5)
    assert network.nodes[0].round >= 27
    assert network.nodes[2].round >= 15
    assert network.nodes[0].received


def el_local(node: int = 0, num_nodes: int = 6, **settings: object) -> ElLocal:
    values = ElLocal.Settings(name="el_local", **{"degree": 2, **settings})  # type: ignore[arg-type]
    return ElLocal(values, make_context(node, num_nodes, 1))


def receivers(algorithm: ElLocal, round: int) -> list[int]:
    return [send.peer for send in algorithm.after_local_phase(round, np.zeros(1, np.float32)).sends]


def test_el_local_takes_the_plain_mean_of_those_who_drew_it() -> None:
    nodes = [el_local(node) for node in range(6)]
    drawn = {node: receivers(algorithm, 0) for node, algorithm in enumerate(nodes)}
    assert all(len(set(chosen)) == 2 and node not in chosen for node, chosen in drawn.items())
    senders = [node for node, chosen in drawn.items() if 0 in chosen]
    algorithm, values = el_local(), np.array([1.0], np.float32)
    algorithm.before_local_phase(values, 0.0)
    algorithm.after_local_phase(0, values)
    for sender in senders:
        assert not algorithm.may_start_round()
        algorithm.on_fragment(model(sender, 0, 1.0 + sender))
    assert algorithm.may_start_round()
    algorithm.before_local_phase(values, 1.0)
    assert values == pytest.approx([(1.0 + sum(1.0 + sender for sender in senders)) / (1 + len(senders))])


def test_el_local_redraws_only_if_asked() -> None:
    assert len({tuple(receivers(el_local(), round)) for round in range(12)}) > 1
    assert len({tuple(receivers(el_local(redraw=False), round)) for round in range(12)}) == 1


def test_el_local_without_waiting_continues() -> None:
    algorithm = el_local(wait=False)
    receivers(algorithm, 0)
    assert algorithm.may_start_round()


def test_el_local_agrees_in_the_end() -> None:
    network = FakeNetwork(
        make_algorithms({"name": "el_local", "degree": 3}, 8, 1), num_parameters=1, frame_s={0: 0.3}
    )
    for node in range(8):
        network.start(node, np.array([node], np.float32), 1.0 + 0.05 * node)
    network.run_until(60)
    finals = [float(node.values[0]) for node in network.nodes.values()]
    assert max(finals) - min(finals) < 0.05
    network.run_until(240)
    rounds = [node.round for node in network.nodes.values()]
    assert min(rounds) >= 150
    assert max(rounds) - min(rounds) <= 3


def test_el_local_refuses_to_wait_for_what_is_dropped() -> None:
    with pytest.raises(ValueError, match="stale"):
        el_local(stale="drop")
    assert el_local(stale="drop", wait=False).may_start_round()


def test_el_local_without_waiting_takes_what_is_newest() -> None:
    algorithm, values = el_local(wait=False), np.array([1.0], np.float32)
    receivers(algorithm, 0)
    for fragment in (model(1, 0, 9.0), model(1, 5, 3.0)):  # the sender is five rounds ahead
        algorithm.on_fragment(fragment)
    assert algorithm.before_local_phase(values, 1.0).of == [(1, 5, 0)]
    assert values == pytest.approx([2.0])
