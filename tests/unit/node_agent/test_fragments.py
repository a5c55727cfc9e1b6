"""Cutting, storing and averaging fragments, checked against hand-computed values and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.fragments import FragmentLayout, FragmentStore, num_fragments_for
from node_agent.wire import Fragment


def fragment(
    sender: int, round: int, index: int, values: list[float], layout: FragmentLayout, sent_s: float = 0.0
) -> Fragment:
    array = np.array(values, np.float32)
    array.flags.writeable = False
    return Fragment(sender, round, index, layout.num_fragments, layout.permutation_seed, sent_s, array)


@pytest.mark.parametrize(
    ("fraction", "expected"), [(1, 1), (0.5, 2), (0.3, 4), (0.34, 3), (0.1, 10), (0.15, 7), (0.01, 100)]
)
def test_number_of_fragments_is_the_ceiling(fraction: float, expected: int) -> None:
    assert num_fragments_for(fraction) == expected


@given(st.integers(1, 10_000))
def test_one_nth_gives_n_fragments_whatever_the_rounding(n: int) -> None:
    assert num_fragments_for(1 / n) == n
    assert num_fragments_for(float(f"{1 / n:.12g}")) == n


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        num_fragments_for(fraction)


@pytest.mark.parametrize("num_fragments", [0, 6])
def test_no_more_fragments_than_parameters(num_fragments: int) -> None:
    with pytest.raises(ValueError, match=f"5 parameters cannot be cut into {num_fragments}"):
        FragmentLayout(5, num_fragments, 1)


@given(st.data())
@settings(max_examples=60)
def test_fragments_partition_the_parameters_exactly(data: st.DataObject) -> None:
    num_parameters = data.draw(st.integers(1, 300))
    num_fragments = data.draw(st.integers(1, num_parameters))
    layout = FragmentLayout(num_parameters, num_fragments, data.draw(st.integers(0, 2**63 - 1)))
    parts = [layout.parameters_of(index) for index in range(num_fragments)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_parameters))
    sizes = [layout.size_of(index) for index in range(num_fragments)]
    assert sizes == [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 200), st.integers(0, 2**63 - 1))
@settings(max_examples=40)
def test_a_cut_holds_the_values_of_its_parameters(num_parameters: int, seed: int) -> None:
    layout = FragmentLayout(num_parameters, min(7, num_parameters), seed)
    values = np.arange(num_parameters, dtype=np.float32)
    for index, payload in enumerate(layout.cut(values)):
        assert np.frombuffer(payload, "<f4").tolist() == layout.parameters_of(index).tolist()


def test_a_cut_is_a_read_only_copy() -> None:
    for layout in (FragmentLayout(4, 2, 1), FragmentLayout(4, 1, 0)):
        values = np.ones(4, np.float32)
        payloads = layout.cut(values)
        values[:] = 5
        assert all(
            np.frombuffer(payload, "<f4").tolist() == [1.0] * (payload.nbytes // 4) for payload in payloads
        )
        assert all(payload.readonly for payload in payloads)


def test_the_permutation_mixes_and_depends_on_the_seed_alone() -> None:
    def order(seed: int) -> list[int]:
        layout = FragmentLayout(100, 4, seed)
        return [int(parameter) for index in range(4) for parameter in layout.parameters_of(index)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(0) != list(range(100))


def test_one_fragment_with_seed_zero_is_the_vector_itself() -> None:
    layout = FragmentLayout(3, 1, 0)
    (payload,) = layout.cut(np.array([1, 2, 3], np.float32))
    assert np.frombuffer(payload, "<f4").tolist() == [1, 2, 3]
    values = np.array([1, 2, 3], np.float32)
    layout.average_into(values, [fragment(1, 0, 0, [3, 2, 1], layout)])
    assert values.tolist() == [2, 2, 2]


def test_average_is_the_plain_mean_over_own_and_received() -> None:
    layout = FragmentLayout(5, 2, 3)
    first, second = layout.parameters_of(0), layout.parameters_of(1)
    assert (len(first), len(second)) == (3, 2)
    values = np.array([10, 20, 30, 40, 50], np.float32)
    own = values.copy()
    layout.average_into(
        values,
        [
            fragment(1, 0, 0, [1, 2, 3], layout),
            fragment(2, 4, 0, [4, 5, 6], layout),
            fragment(1, 0, 1, [7, 9], layout),
        ],
    )
    # Fragment 0 averages its own values with two copies, fragment 1 with one copy.
    assert values[first].tolist() == pytest.approx([(own[first[i]] + 2 * i + 5) / 3 for i in range(3)])
    assert values[second].tolist() == [(own[second[0]] + 7) / 2, (own[second[1]] + 9) / 2]


def test_parameters_without_a_copy_keep_their_bits() -> None:
    layout = FragmentLayout(101, 10, 1)
    values = np.random.default_rng(1).standard_normal(101).astype(np.float32)
    before = values.copy()
    layout.average_into(values, [])
    assert values.tobytes() == before.tobytes()
    layout.average_into(values, [fragment(1, 0, 3, [0.0] * 10, layout)])
    changed = np.flatnonzero(values != before)
    assert sorted(layout.parameters_of(3)) == changed.tolist()


def test_average_does_not_depend_on_the_order_of_arrival() -> None:
    layout = FragmentLayout(50, 3, 1)
    rng = np.random.default_rng(2)
    received = [
        fragment(sender, 0, index, rng.standard_normal(layout.size_of(index)).tolist(), layout)
        for sender in range(1, 9)
        for index in range(3)
    ]
    own = rng.standard_normal(50).astype(np.float32)
    results = set()
    for _ in range(5):
        values = own.copy()
        layout.average_into(values, [received[i] for i in rng.permutation(len(received))])
        results.add(values.tobytes())
    assert len(results) == 1


LAYOUT = FragmentLayout(4, 2, 1)


def put_all(store: FragmentStore, *arrivals: tuple[int, int, int, float]) -> list[bool]:
    """(sender, round, index, value) each."""
    return [store.put(fragment(s, r, i, [value, value], LAYOUT)) for s, r, i, value in arrivals]


def taken(store: FragmentStore) -> list[tuple[int, int, int, float]]:
    return [(got.sender, got.round, got.index, float(got.values[0])) for got in store.take_all()]


def test_store_keeps_the_latest_per_sender_and_fragment() -> None:
    store = FragmentStore(LAYOUT)
    kept = put_all(store, (2, 0, 1, 1.0), (1, 5, 0, 2.0), (1, 6, 0, 3.0), (1, 4, 0, 4.0), (1, 0, 1, 5.0))
    assert kept == [True, True, True, False, True]
    assert taken(store) == [(1, 6, 0, 3.0), (1, 0, 1, 5.0), (2, 0, 1, 1.0)]
    assert taken(store) == []


def test_of_one_round_the_last_to_arrive_is_kept() -> None:
    store = FragmentStore(LAYOUT)
    assert put_all(store, (1, 3, 0, 1.0), (1, 3, 0, 2.0)) == [True, True]
    assert taken(store) == [(1, 3, 0, 2.0)]


def test_what_has_been_taken_is_not_taken_again() -> None:
    store = FragmentStore(LAYOUT)
    put_all(store, (1, 3, 0, 1.0))
    store.take_all()
    assert put_all(store, (1, 3, 0, 1.0), (1, 2, 0, 9.0), (1, 0, 1, 5.0)) == [False, False, True]
    assert taken(store) == [(1, 0, 1, 5.0)]


def test_a_restarted_sender_is_heard_again() -> None:
    store = FragmentStore(LAYOUT)
    put_all(store, (1, 30, 0, 1.0), (1, 30, 1, 1.0), (2, 30, 0, 1.0))
    store.forget(1)
    assert put_all(store, (1, 0, 0, 2.0), (2, 0, 0, 2.0)) == [True, False]
    # What came before the restart and was not replaced still counts.
    assert taken(store) == [(1, 0, 0, 2.0), (2, 30, 0, 1.0), (1, 30, 1, 1.0)]


@pytest.mark.parametrize("layout", [FragmentLayout(4, 2, 9), FragmentLayout(4, 4, 1)])
def test_another_layout_is_refused(layout: FragmentLayout) -> None:
    with pytest.raises(ValueError, match="another layout"):
        FragmentStore(LAYOUT).put(fragment(1, 0, 0, [0.0] * layout.size_of(0), layout))


def test_no_fragment_is_lost_or_taken_twice_between_two_threads() -> None:
    import threading

    store = FragmentStore(LAYOUT)
    rounds = 2000
    seen: list[int] = []
    done = threading.Event()

    def put() -> None:
        for round in range(rounds):
            put_all(store, (1, round, 0, 0.0))
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    while not done.is_set():
        seen += [got.round for got in store.take_all()]
    thread.join()
    seen += [got.round for got in store.take_all()]
    assert seen == sorted(set(seen))
    assert seen[-1] == rounds - 1
