"""AD-PSGD's two variants checked against hand-computed values, and what an exchange preserves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from node_agent.algorithms import Outbox
from node_agent.algorithms.ad_psgd import AdPsgd
from node_agent.wire import Fragment
from tests.fakes import FakeNetwork, make_algorithms, make_context


def ad_psgd(num_nodes: int = 2, node: int = 0, **settings: object) -> AdPsgd:
    values = AdPsgd.Settings(name="ad_psgd", **settings)  # type: ignore[arg-type]
    return AdPsgd(values, make_context(node, num_nodes, 2))


def arrives(algorithm: AdPsgd, sender: int, round: int, values: list[float], *, asks: bool) -> Outbox | None:
    array = np.array(values, np.float32)
    return algorithm.on_fragment(Fragment(sender, round, 0, 1, 0, 0.0, array, asks))


def payload(outbox: Outbox) -> list[float]:
    return [float(value) for value in np.frombuffer(outbox.payloads[0], "<f4")]


def vector(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


class TestPaper:
    def test_both_sides_of_an_exchange_move_to_the_middle(self) -> None:
        asker, answerer = ad_psgd(node=0), ad_psgd(node=1)
        a, b = vector(0, 8), vector(4, 0)
        for algorithm, values in ((asker, a), (answerer, b)):
            algorithm.before_local_phase(values, 0.0)
        request = asker.after_local_phase(0, a)
        assert request.reply_wanted
        assert payload(request) == [0, 8]
        answer = arrives(answerer, 0, 0, payload(request), asks=True)
        assert answer is not None
        assert not answer.reply_wanted
        assert payload(answer) == [4, 0]  # its model before averaging
        assert arrives(asker, 1, 0, payload(answer), asks=False) is None
        asker.before_local_phase(a, 1.0)
        answerer.before_local_phase(b, 1.0)
        assert a.tolist() == b.tolist() == [2, 4]

    def test_steps_during_an_exchange_are_kept(self) -> None:
        """The model was averaged while training changed a copy of it: both count."""
        algorithm = ad_psgd()
        values = vector(0, 0)
        algorithm.before_local_phase(values, 0.0)
        arrives(algorithm, 1, 0, [4, 4], asks=True)
        values += 1  # one local phase
        algorithm.after_local_phase(0, values)
        assert values.tolist() == [3, 3]

    def test_several_requests_are_averaged_one_after_the_other(self) -> None:
        algorithm = ad_psgd(4)
        values = vector(0, 0)
        algorithm.before_local_phase(values, 0.0)
        arrives(algorithm, 1, 0, [8, 8], asks=True)
        answer = arrives(algorithm, 2, 0, [0, 0], asks=True)
        assert answer is not None
        assert payload(answer) == [4, 4]
        algorithm.before_local_phase(values, 0.0)
        assert values.tolist() == [2, 2]

    def test_one_exchange_at_a_time(self) -> None:
        algorithm = ad_psgd()
        values = vector(0, 0)
        algorithm.before_local_phase(values, 0.0)
        assert len(algorithm.after_local_phase(0, values).sends) == 1
        assert algorithm.after_local_phase(1, values).sends == []
        arrives(algorithm, 1, 0, [2, 2], asks=False)
        assert len(algorithm.after_local_phase(2, values).sends) == 1
        algorithm.peer_lost(1)
        assert len(algorithm.after_local_phase(3, values).sends) == 1

    def test_with_drop_a_new_round_gives_up_the_last_exchange(self) -> None:
        algorithm = ad_psgd(stale="drop")
        values = vector(0, 0)
        algorithm.before_local_phase(values, 0.0)
        algorithm.after_local_phase(0, values)
        second = algorithm.after_local_phase(1, values)
        assert len(second.sends) == 1
        assert second.replace_unsent

    def test_duplicates_and_unasked_answers_change_nothing(self) -> None:
        algorithm = ad_psgd(3)
        values = vector(0, 0)
        algorithm.before_local_phase(values, 0.0)
        assert arrives(algorithm, 1, 5, [4, 4], asks=True) is not None
        assert arrives(algorithm, 1, 5, [4, 4], asks=True) is None
        assert arrives(algorithm, 1, 4, [100, 100], asks=True) is None  # late
        assert arrives(algorithm, 2, 5, [100, 100], asks=False) is None  # nobody asked
        algorithm.before_local_phase(values, 0.0)
        assert values.tolist() == [2, 2]
        algorithm.peer_joined(1)  # it counts its rounds from 0 again
        assert arrives(algorithm, 1, 0, [2, 2], asks=True) is not None

    def test_before_its_first_round_a_node_moves_no_model(self) -> None:
        answer = arrives(ad_psgd(), 1, 0, [4, 6], asks=True)
        assert answer is not None
        assert payload(answer) == [4, 6]

    @pytest.mark.parametrize("slow", [0.0, 0.4])
    def test_the_mean_over_all_nodes_is_kept(self, slow: float) -> None:
        """Unequal speeds, slow links, no training: exchanges alone must not move the mean."""
        num_nodes = 6
        network = FakeNetwork(
            make_algorithms({"name": "ad_psgd"}, num_nodes, 3), num_parameters=3, frame_s={0: slow, 1: slow}
        )
        start = [np.arange(3, dtype=np.float32) + 10 * node for node in range(num_nodes)]
        for node in range(num_nodes):
            network.start(node, start[node], 1.0 + 0.13 * node)
        network.run_until(40)
        for node in range(num_nodes):  # let what is under way arrive
            network.nodes[node].alive = False
        network.run_until(60)
        models = [network.nodes[node].algorithm._model for node in range(num_nodes)]  # type: ignore[attr-defined]
        assert np.mean(models, axis=0) == pytest.approx(np.mean(start, axis=0), abs=1e-3)
        assert np.ptp(models, axis=0).max() < 10  # they began 50 apart


class TestArtifact:
    def test_half_of_degree_exchanges_a_round(self) -> None:
        algorithm = ad_psgd(5, variant="artifact", degree=6)
        values = vector(1, 2)
        algorithm.before_local_phase(values, 0.0)
        outbox = algorithm.after_local_phase(0, values)
        assert len(outbox.sends) == 3
        assert outbox.reply_wanted
        assert not outbox.replace_unsent

    def test_a_plain_mean_with_the_newest_of_each_sender(self) -> None:
        algorithm = ad_psgd(4, variant="artifact")
        values = vector(0, 3)
        arrives(algorithm, 1, 0, [100, 100], asks=False)
        arrives(algorithm, 1, 1, [6, 0], asks=False)
        arrives(algorithm, 2, 7, [0, 0], asks=True)
        algorithm.before_local_phase(values, 0.0)
        assert values.tolist() == [2, 1]

    def test_the_answer_is_the_last_finished_rounds_model(self) -> None:
        algorithm = ad_psgd(variant="artifact")
        values = vector(1, 1)
        assert arrives(algorithm, 1, 0, [0, 0], asks=True) is None  # it has none yet
        algorithm.after_local_phase(0, values)
        values += 5  # the next round trains
        answer = arrives(algorithm, 1, 1, [0, 0], asks=True)
        assert answer is not None
        assert payload(answer) == [1, 1]
        assert not answer.replace_unsent


def test_a_degree_without_an_exchange_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        AdPsgd.Settings(name="ad_psgd", degree=1)
