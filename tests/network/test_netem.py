"""What netem does to packets: spread of delays, loss, overtaking, each direction by itself; in the guest if needed."""

from __future__ import annotations

import statistics
from dataclasses import asdict, replace
from typing import Any

import pytest

from mnbed.network.build import build_network
from mnbed.network.live_changes import LiveNetwork
from mnbed.network.shaping import asked_shape, differences
from tests.network.one_way import one_way
from tests.network.plans import facts, plan_for
from topologies.burst_loss import NO_BURSTS, BurstLoss

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _needs_netem() -> None:
    if not facts().netem:
        pytest.skip("this kernel has no netem")


def network_of(**link: Any) -> Any:
    """Two hosts; the properties hold only from h1 to its switch."""
    links = [{"link": ["h1", "s1"], "one_way": True, **link}]
    return build_network(
        plan_for({"kind": "star", "nodes": 2}, bandwidth="50mbit", delay="0s", network={"links": links})
    )


@pytest.mark.parametrize(
    ("distribution", "spread_s"),
    [
        ("normal", 0.005),
        ("uniform", 0.005 / 3**0.5),
        pytest.param("paretonormal", 0.005, marks=pytest.mark.no_guest),
    ],
)
def test_delays_are_spread_as_asked(distribution: str, spread_s: float) -> None:
    with network_of(delay="30ms", jitter="5ms", distribution=distribution) as network:
        arrived = one_way(network, "h1", "h2", 600)
        there = [seconds for _, seconds in one_way(network, "h2", "h1", 50)]
    assert len(arrived) == 600
    delays = [seconds for _, seconds in arrived]
    assert statistics.fmean(delays) == pytest.approx(0.030, abs=0.0015)
    # netem's tables are coarse, paretonormal's tail is cut, and now and then the machine itself holds a packet up.
    usual = sorted(delays)[: int(0.98 * len(delays))]
    assert statistics.pstdev(usual) == pytest.approx(spread_s, rel=0.35)
    if distribution == "uniform":
        # Except for what the machine itself adds now and then.
        assert sorted(delays)[int(0.98 * len(delays))] < 0.030 + 0.005 + 0.003
    # The other direction has none of it.
    assert statistics.median(there) < 0.003


def test_packets_are_lost_as_asked() -> None:
    with network_of(loss=0.1) as network:
        arrived = one_way(network, "h1", "h2", 800)
        back = one_way(network, "h2", "h1", 200)
    # Four standard deviations of a binomial distribution.
    assert abs(len(arrived) - 720) < 4 * (800 * 0.1 * 0.9) ** 0.5
    assert len(back) == 200


def test_packets_are_lost_in_bursts_as_asked() -> None:
    """And `build_network` has compared what the kernel reports with what was asked."""
    model = BurstLoss(p=0.05, r=0.25, loss_bad=0.95, loss_good=0.0)
    with network_of(burst_loss=asdict(model)) as network, LiveNetwork.of(network) as live:
        kept = {number for number, _ in one_way(network, "h1", "h2", 1500)}
        back = one_way(network, "h2", "h1", 200)
        direction = network.plan.directions["h1", "s1"]
        other = replace(
            direction.wire, burst_loss=BurstLoss(p=0.125, r=0.5, loss_bad=0.75, loss_good=0.03125)
        )
        live.reshape([replace(direction, wire=other)])
        shown = {entry.link.a: entry.a.shape for entry in network.read_back()}
        assert differences(asked_shape(other, "netem"), shown["h1"]) == []
        live.reshape([replace(direction, wire=replace(other, burst_loss=NO_BURSTS))])
        after = one_way(network, "h1", "h2", 200)
    lost = [number not in kept for number in range(1500)]
    # Losses cluster: their standard deviation is larger than that of independent ones.
    ratio = (2 - model.p - model.r) / (model.p + model.r)
    deviation = (1500 * model.loss_share * (1 - model.loss_share) * ratio) ** 0.5
    assert abs(sum(lost) - 1500 * model.loss_share) < 5 * deviation
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    # About 60 bursts; independent losses with the same share would have a mean length of 1.2.
    assert 2.0 < sum(lost) / bursts < 6.5
    assert (len(back), len(after)) == (200, 200)


def test_packets_overtake_as_asked() -> None:
    with network_of(delay="20ms", reorder=0.2) as network:
        arrived = one_way(network, "h1", "h2", 600)
    assert len(arrived) == 600
    early = sum(seconds < 0.01 for _, seconds in arrived)
    assert abs(early - 120) < 4 * (600 * 0.2 * 0.8) ** 0.5
    numbers = [number for number, _ in arrived]
    assert numbers != sorted(numbers)
