"""Which packets leave when, and that a batch verdict never releases a packet that must still wait."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnbed.network.nfqueue.delay_line import DelayLine, Released
from mnbed.network.nfqueue.delay_spread import spread, table, table_path


class Kernel:
    """The queue's other end: which packets wait, and what verdicts do to them."""

    def __init__(self) -> None:
        self.waiting: dict[int, float] = {}
        self.left: dict[int, float] = {}

    def obey(self, released: Released | None, now: float) -> None:
        if released is None:
            return
        for number in [*released.single, *(n for n in self.waiting if n <= (released.up_to or 0))]:
            if number in self.waiting:
                del self.waiting[number]
                self.left[number] = now


@given(
    st.lists(
        st.tuples(st.sampled_from([0.01, 0.01, 0.02, 0.05, -1.0]), st.floats(0, 0.02), st.floats(0, 0.1)),
        max_size=80,
    )
)
def test_every_packet_leaves_on_time_and_none_early(packets: list[tuple[float, float, float]]) -> None:
    line, kernel, deadlines, now = DelayLine(), Kernel(), {}, 0.0
    for number, (delay, gap, drawn) in enumerate(packets, start=1):
        now += gap
        kernel.obey(line.release(now, now), now)
        kernel.waiting[number] = now
        if delay < 0:
            deadlines[number] = now + drawn
            line.add_spread(number, now + drawn)
        else:
            deadlines[number] = now + delay
            line.add(number, now, delay)
        assert line.next_deadline() == pytest.approx(min(deadlines[n] for n in kernel.waiting))
    while (due := line.next_deadline()) is not None:
        now = max(now, due)
        kernel.obey(line.release(now, now), now)
    assert not kernel.waiting
    assert len(line) == 0
    for number, left in kernel.left.items():
        assert left >= deadlines[number]


def test_a_shorter_delay_overtakes_and_the_batch_stays_behind() -> None:
    line = DelayLine()
    line.add(1, 0.0, 0.5)
    line.add(2, 0.0, 0.1)
    line.add(3, 0.0, 0.1)
    early = line.release(0.2, 0.2)
    assert early is not None
    assert (early.up_to, early.single, early.count) == (None, [2, 3], 2)
    line.add(4, 0.2, 0.5)
    later = line.release(0.5, 0.5)
    assert later is not None
    # 2 and 3 have left already; the batch may go up to 3, but not to 4.
    assert (later.up_to, later.single, later.count) == (3, [], 1)


def test_equal_delays_need_one_verdict() -> None:
    line = DelayLine()
    for number in range(1, 101):
        line.add(number, number / 1000, 0.01)
    released = line.release(0.0601, 0.0601)
    assert released is not None
    assert (released.up_to, released.single, released.count) == (50, [], 50)
    assert released.longest_late_s == pytest.approx(0.0491)
    assert released.late == 49


def test_nobody_waits_nobody_leaves() -> None:
    line = DelayLine()
    assert line.next_deadline() is None
    assert line.release(1.0, 1.0) is None
    line.add(7, 0.0, 2.0)
    assert line.release(1.0, 1.0) is None


@pytest.mark.parametrize(("distribution", "std"), [("normal", 1), ("paretonormal", 1), ("uniform", 3**-0.5)])
def test_draws_have_the_mean_and_spread_that_was_asked(distribution: str, std: float) -> None:
    if distribution != "uniform" and table_path(distribution) is None:
        pytest.skip("iproute2's tables are not installed")
    draw = spread(random.Random(1), 0.1, 0.01, distribution)
    values = [draw() for _ in range(20_000)]
    mean = sum(values) / len(values)
    assert mean == pytest.approx(0.1, abs=0.0015)
    assert (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 == pytest.approx(
        0.01 * std, rel=0.2
    )


def test_draws_are_never_negative_and_come_from_the_seed() -> None:
    first, again, other = (spread(random.Random(seed), 0.001, 0.01, "uniform") for seed in (1, 1, 2))
    values = [first() for _ in range(100)]
    assert min(values) == 0.0
    assert values == [again() for _ in range(100)]
    assert values != [other() for _ in range(100)]


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"cauchy\.dist"):
        table("cauchy")
