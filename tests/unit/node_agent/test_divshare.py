"""DivShare's rule checked against hand-computed values, its draw, and whole exchanges over the in-memory network."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from node_agent.algorithms import Outbox
from node_agent.algorithms.divshare import DivShare
from node_agent.fragments import FragmentLayout
from node_agent.wire import Fragment
from tests.fakes import FakeNetwork, make_algorithms, make_context


def divshare(num_nodes: int, num_parameters: int, node: int = 0, **settings: object) -> DivShare:
    values = DivShare.Settings(name="divshare", **settings)  # type: ignore[arg-type]
    return DivShare(values, make_context(node, num_nodes, num_parameters))


def arrives(
    algorithm: DivShare, sender: int, round: int, index: int, values: list[float], sent_s: float = 0.0
) -> None:
    array = np.array(values, np.float32)
    seed, count = algorithm.permutation_seed, algorithm.num_fragments
    assert seed is not None
    algorithm.on_fragment(Fragment(sender, round, index, count, seed, sent_s, array))


def drift(node: int, round: int, values: NDArray[np.float32]) -> None:
    """A stand-in for training: every node pulls its model in its own direction."""
    values += np.float32(0.01 * (node + 1)) * np.float32(round + 1)


def test_whole_models_average_to_the_plain_mean() -> None:
    algorithm = divshare(3, 2, fragment_fraction=1, degree=2)
    arrives(algorithm, 1, 0, 0, [3, 6], sent_s=1.0)
    arrives(algorithm, 2, 5, 0, [8, 0], sent_s=2.0)
    values = np.array([1, 3], np.float32)
    aggregated = algorithm.before_local_phase(values, now_s=4.0)
    assert values.tolist() == [4, 3]
    assert aggregated.of == [(1, 0, 0), (2, 5, 0)]
    assert aggregated.mean_age_s == 2.5


def test_each_parameter_counts_its_own_copies() -> None:
    algorithm = divshare(4, 4, fragment_fraction=0.5, degree=1)
    own = np.frombuffer(
        b"".join(algorithm.after_local_phase(0, np.arange(4, dtype=np.float32)).payloads), "<f4"
    )
    first, second = own[:2].astype(int), own[2:].astype(int)
    arrives(algorithm, 1, 0, 0, [10, 20])
    arrives(algorithm, 2, 0, 0, [40, 50])
    arrives(algorithm, 3, 0, 1, [7, 9])
    values = np.array([1, 1, 1, 1], np.float32)
    algorithm.before_local_phase(values, 0.0)
    assert values[first].tolist() == pytest.approx([51 / 3, 71 / 3])
    assert values[second].tolist() == [4, 5]


def test_latest_of_each_sender_counts_and_only_once() -> None:
    algorithm = divshare(3, 1, fragment_fraction=1, degree=1)
    arrives(algorithm, 1, 4, 0, [9])
    arrives(algorithm, 1, 5, 0, [3])
    arrives(algorithm, 1, 3, 0, [100])
    values = np.array([1], np.float32)
    assert algorithm.before_local_phase(values, 0.0).of == [(1, 5, 0)]
    assert values.tolist() == [2]
    arrives(algorithm, 1, 5, 0, [3])
    assert algorithm.before_local_phase(values, 0.0).of == []
    assert values.tolist() == [2]


def test_nothing_received_leaves_the_model_alone() -> None:
    algorithm = divshare(8, 20)
    values = np.linspace(0, 1, 20, dtype=np.float32)
    before = values.tobytes()
    aggregated = algorithm.before_local_phase(values, 3.0)
    assert (values.tobytes(), aggregated.of, aggregated.mean_age_s) == (before, [], None)


def test_every_fragment_goes_to_degree_distinct_peers() -> None:
    algorithm = divshare(9, 100, node=4, fragment_fraction=0.3, degree=5)
    for round in range(20):
        sends = algorithm.after_local_phase(round, np.zeros(100, np.float32)).sends
        assert len(set(sends)) == len(sends) == 4 * 5
        assert Counter(send.fragment for send in sends) == {0: 5, 1: 5, 2: 5, 3: 5}
        assert all(send.peer in algorithm.context.peers for send in sends)


def test_peers_are_drawn_uniformly_and_pairs_are_shuffled() -> None:
    algorithm = divshare(9, 100, fragment_fraction=0.25, degree=2)
    rounds = 1000
    outboxes = [algorithm.after_local_phase(round, np.zeros(100, np.float32)) for round in range(rounds)]
    drawn = Counter((send.fragment, send.peer) for outbox in outboxes for send in outbox.sends)
    # Each of the 32 pairs is drawn with probability 2/8: binomial, mean 250, deviation 13.7; allow six of those.
    assert len(drawn) == 32
    assert all(abs(times - 250) < 82 for times in drawn.values())
    first = Counter(outbox.sends[0].fragment for outbox in outboxes)
    assert all(abs(first[fragment] - 250) < 82 for fragment in range(4))


def test_degree_may_be_every_peer() -> None:
    sends = (
        divshare(4, 10, fragment_fraction=1, degree=3).after_local_phase(0, np.zeros(10, np.float32)).sends
    )
    assert sorted(send.peer for send in sends) == [1, 2, 3]


def test_degree_above_the_number_of_peers_is_an_error_not_a_cap() -> None:
    settings = DivShare.Settings(name="divshare", degree=3)
    assert DivShare.check_settings(settings, 3) is None
    problem = DivShare.check_settings(settings, 2)
    assert problem is not None
    assert problem.startswith(
        "degree: got 3, and a node has only 2 peers to choose from; set algorithm.degree to at most 2"
    )
    with pytest.raises(ValueError, match="only 2 peers"):
        divshare(3, 100, degree=3)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"fragment_fraction": 0}, "fragment_fraction must be above 0 and at most 1, not 0"),
        ({"fragment_fraction": 1.01}, "fragment_fraction must be above 0 and at most 1, not 1.01"),
        ({"fragment_fraction": float("nan")}, "fragment_fraction must be above 0"),
        ({"degree": 0}, "degree must be at least 1, not 0"),
        ({"degree": -1, "fragment_fraction": 2}, "not 2; degree must be"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DivShare.Settings(name="divshare", **settings)  # type: ignore[arg-type]


def test_the_controllers_validation_applies_the_same_limits() -> None:
    with pytest.raises(pydantic.ValidationError, match="degree must be at least 1, not 0"):
        pydantic.TypeAdapter(DivShare.Settings).validate_python({"name": "divshare", "degree": 0})


@pytest.mark.parametrize(("stale", "replace"), [("drop", True), ("keep", False)])
def test_stale_decides_about_unsent_data(stale: str, replace: bool) -> None:
    outbox = divshare(8, 20, stale=stale).after_local_phase(3, np.zeros(20, np.float32))
    assert (outbox.replace_unsent, outbox.round) == (replace, 3)


def test_everything_delivered_gives_the_mean_of_the_latest_models() -> None:
    """Omega = 1, J = n - 1, fast links: a round begins from the mean of all models."""
    algorithms = make_algorithms({"name": "divshare", "fragment_fraction": 1, "degree": 4}, 5, 30)
    network = FakeNetwork(algorithms, num_parameters=30)
    starts = np.random.default_rng(0).standard_normal((5, 30)).astype(np.float32)
    for node in range(5):
        network.start(node, starts[node], round_s=1.0)
    network.run_until(1.5)
    for entry in network.nodes.values():
        assert entry.round == 1
        values = entry.values.copy()
        entry.algorithm.before_local_phase(values, 1.5)
        np.testing.assert_allclose(values, starts.mean(axis=0), rtol=1e-6, atol=1e-6)


def run_unequal(stale: str = "drop", duplicate: bool = False) -> FakeNetwork:
    """Eight nodes that train and send at unequal speeds, frames that overtake each other, one death."""
    jitter = np.random.default_rng(5)
    settings = {"name": "divshare", "fragment_fraction": 0.25, "degree": 3, "stale": stale}
    network = FakeNetwork(
        make_algorithms(settings, 8, 101),
        num_parameters=101,
        frame_s={0: 0.3, 1: 0.05},
        delay_s=lambda _sender, _peer: float(jitter.uniform(0, 2)),
        duplicate=duplicate,
    )
    for node in range(8):
        network.start(node, np.full(101, node, np.float32), 0.5 + 0.25 * node, drift)
    network.run_until(10)
    network.kill(6)
    network.run_until(20)
    return network


def test_the_same_run_twice_gives_the_same_models() -> None:
    first, second = run_unequal(), run_unequal()
    for node in first.nodes:
        assert first.nodes[node].values.tobytes() == second.nodes[node].values.tobytes()
        assert first.nodes[node].aggregated == second.nodes[node].aggregated


def test_unequal_progress_stops_no_node() -> None:
    network = run_unequal()
    rounds = {index: node.round for index, node in network.nodes.items()}
    assert rounds == {index: int((10 if index == 6 else 20) / (0.5 + 0.25 * index)) for index in range(8)}
    for index, node in network.nodes.items():
        assert node.alive == (index != 6)
        assert any(aggregated.of for aggregated in node.aggregated)


def test_each_copy_is_averaged_once_and_rounds_never_go_back() -> None:
    for duplicate in (False, True):
        for node in run_unequal(duplicate=duplicate).nodes.values():
            newest: dict[tuple[int, int], int] = {}
            for aggregated in node.aggregated:
                for sender, round, index in aggregated.of:
                    assert round > newest.get((sender, index), -1)
                    newest[sender, index] = round


def test_duplicated_frames_change_nothing() -> None:
    """The same delays for every frame: a second copy right behind the first must not count."""
    results = []
    for duplicate in (False, True):
        settings = {"name": "divshare", "fragment_fraction": 0.5, "degree": 2}
        network = FakeNetwork(make_algorithms(settings, 4, 10), num_parameters=10, duplicate=duplicate)
        for node in range(4):
            network.start(node, np.full(10, node, np.float32), 1 + 0.1 * node, drift)
        network.run_until(8)
        results.append([node.values.tobytes() for node in network.nodes.values()])
    assert results[0] == results[1]


def test_a_slow_sender_delivers_fresh_fragments_when_it_drops() -> None:
    """Node 0 makes 12 frames per round and can send 2: dropping keeps its data fresh, keeping lets it age."""
    ages = {}
    for stale in ("drop", "keep"):
        network = run_unequal(stale)
        received = [got for node in network.nodes.values() for got in node.received if got.sender == 0]
        ages[stale] = max(int(got.sent_s / 0.5) - got.round for got in received)
    assert ages["drop"] <= 2
    assert ages["keep"] > 10


def test_a_peer_that_returns_is_heard_again() -> None:
    settings = {"name": "divshare", "fragment_fraction": 1, "degree": 2}
    network = FakeNetwork(make_algorithms(settings, 3, 4), num_parameters=4)
    for node in range(3):
        network.start(node, np.full(4, node, np.float32))
    network.run_until(10.5)
    network.kill(2)
    network.run_until(12.5)
    network.revive(2, make_algorithms(settings, 3, 4)[2])
    network.start(2, np.zeros(4, np.float32))
    network.run_until(15)
    later = [entry for aggregated in network.nodes[0].aggregated[13:] for entry in aggregated.of]
    assert (2, 0, 0) in later


def test_payloads_are_copies() -> None:
    algorithm = divshare(8, 20)
    values = np.ones(20, np.float32)
    outbox: Outbox = algorithm.after_local_phase(0, values)
    values[:] = 2
    assert np.frombuffer(b"".join(outbox.payloads), "<f4").tolist() == [1.0] * 20


def test_more_fragments_than_parameters_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 parameters cannot be cut into 10 fragments"):
        divshare(8, 5)


# --- a new cut for each round ---


def cut_of(round: int, num_parameters: int = 6, num_fragments: int = 3) -> FragmentLayout:
    seed = divshare(3, num_parameters, fragment_fraction=1 / num_fragments, degree=1, fragmentation="redrawn")
    outbox = seed.after_local_phase(round, np.zeros(num_parameters, np.float32))
    return FragmentLayout(num_parameters, num_fragments, outbox.permutation_seed)


def piece(sender: int, round: int, index: int, model: NDArray[np.float32]) -> Fragment:
    layout = cut_of(round, len(model))
    values = np.frombuffer(layout.cut(model)[index], "<f4")
    return Fragment(sender, round, index, 3, layout.permutation_seed, 0.0, values)


def redrawn() -> DivShare:
    return divshare(3, 6, fragment_fraction=1 / 3, degree=1, fragmentation="redrawn")


def test_every_round_has_a_new_cut_that_is_the_same_on_all_nodes() -> None:
    seeds = [cut_of(round).permutation_seed for round in range(5)]
    assert len(set(seeds)) == 5
    other = divshare(3, 6, node=1, fragment_fraction=1 / 3, degree=1, fragmentation="redrawn")
    assert other.after_local_phase(3, np.zeros(6, np.float32)).permutation_seed == seeds[3]


def test_redrawn_fragments_of_several_rounds_count_once_for_each_parameter() -> None:
    """The newest copy of a parameter counts, whichever fragment holds it."""
    algorithm = redrawn()
    old, new = np.full(6, 100, np.float32), np.arange(6, dtype=np.float32)
    for index in range(3):
        algorithm.on_fragment(piece(1, 0, index, old))
        algorithm.on_fragment(piece(1, 4, index, new))
    values = np.zeros(6, np.float32)
    assert len(algorithm.before_local_phase(values, 1.0).of) == 6
    assert values == pytest.approx(new / 2)


def test_redrawn_fragments_of_two_senders_average_with_the_own_value() -> None:
    algorithm = redrawn()
    algorithm.on_fragment(piece(1, 0, 0, np.full(6, 3, np.float32)))
    algorithm.on_fragment(piece(2, 0, 0, np.full(6, 6, np.float32)))
    values = np.zeros(6, np.float32)
    algorithm.before_local_phase(values, 1.0)
    touched = cut_of(0).parameters_of(0)
    expected = np.zeros(6)
    expected[touched] = 3
    assert values == pytest.approx(expected)


def test_redrawn_fragments_are_taken_once() -> None:
    algorithm = redrawn()
    for _ in range(2):
        algorithm.on_fragment(piece(1, 2, 0, np.full(6, 2, np.float32)))
    values = np.zeros(6, np.float32)
    algorithm.before_local_phase(values, 1.0)
    algorithm.on_fragment(piece(1, 2, 0, np.full(6, 2, np.float32)))  # again
    algorithm.on_fragment(piece(1, 1, 1, np.full(6, 2, np.float32)))  # older
    assert algorithm.before_local_phase(values, 1.0).of == []


@pytest.mark.parametrize("fragmentation", ["shared", "redrawn"])
def test_with_fast_links_and_all_peers_the_aggregate_is_the_plain_mean(fragmentation: str) -> None:
    """Omega = 1 or not, J = n - 1: everybody has everything from everyone."""
    settings = {"name": "divshare", "fragment_fraction": 0.25, "degree": 4, "fragmentation": fragmentation}
    network = FakeNetwork(make_algorithms(settings, 5, 8), num_parameters=8, delay_s=lambda *_: 0.0001)
    for node in range(5):
        network.start(node, np.full(8, node, np.float32), 1.0 + 1e-2 * node)
    network.run_until(1.5)
    last = network.nodes[4]  # the last to end its round has had the others' models
    assert last.values == pytest.approx(np.full(8, 2.0))
