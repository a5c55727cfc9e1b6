"""Dilation of a link: slower and longer by the same factor, so that the bandwidth-delay product stays the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnbed.plan.properties import LinkProperties, along

LINK = LinkProperties(bandwidth_bps=60e6, delay_s=0.01, jitter_s=0.002, loss=0.01, queue_packets=50)


def test_dilation_two() -> None:
    slow = LINK.dilated(2)
    assert (slow.bandwidth_bps, slow.delay_s, slow.jitter_s) == (30e6, 0.02, 0.004)
    assert (slow.loss, slow.queue_packets) == (0.01, 50)


def test_real_time_changes_nothing() -> None:
    assert LINK.dilated(1.0) == LINK


@given(st.floats(min_value=0.01, max_value=100))
def test_the_bandwidth_delay_product_stays(dilation: float) -> None:
    slow = LINK.dilated(dilation)
    assert slow.bandwidth_bps * slow.delay_s == pytest.approx(LINK.bandwidth_bps * LINK.delay_s)


def test_a_path_adds_delays_and_variances_and_compounds_losses() -> None:
    one = LinkProperties(bandwidth_bps=1e6, delay_s=0.01, jitter_s=0.003, loss=0.1)
    other = LinkProperties(bandwidth_bps=1e6, delay_s=0.02, jitter_s=0.004, loss=0.5)
    path = along([one, LinkProperties(bandwidth_bps=1e6), other])
    assert (path.delay_s, path.jitter_s, path.loss) == pytest.approx((0.03, 0.005, 0.55))
    assert path.distribution == "normal"


def test_the_waiting_room_may_be_given_in_bandwidth_delay_products() -> None:
    link = LinkProperties(bandwidth_bps=1e9, delay_s=0.01, queue_bdp=2)
    assert link.waiting_room_packets == 3303
    assert LinkProperties(bandwidth_bps=1e6, queue_bdp=2).waiting_room_packets == 20
