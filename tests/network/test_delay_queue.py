"""The NFQUEUE delay, in real namespaces: per-path delays, spread, loss, changes, many packets, its end."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from mnbed.errors import RunError
from mnbed.network.build import Network, build_network
from mnbed.network.live_changes import LiveNetwork
from mnbed.network.nfqueue.delay import Paths, host_paths
from mnbed.network.nfqueue.loss_chain import LossChain
from mnbed.plan.model import Plan, Reshape
from node_agent.streams import stream_seed
from tests.network.one_way import one_way
from tests.network.plans import facts, ping, plan_for
from topologies.burst_loss import NO_BURSTS, BurstLoss

pytestmark = [pytest.mark.root, pytest.mark.no_guest]


def nfqueue_plan(topology: dict[str, object], delay: str, **network: Any) -> Plan:
    if not facts().nfqueue:
        pytest.skip("this kernel has no NFQUEUE")
    return plan_for(topology, delay=delay, network={"delay_backend": "nfqueue", **network})


def statistics_of(network: Network) -> dict[str, float]:
    assert network.delay is not None
    assert network.delay.statistics is not None
    return network.delay.statistics


def test_every_source_has_its_own_delay() -> None:
    plan = nfqueue_plan({"kind": "ring", "nodes": 5}, "2ms")
    (first, *others) = host_paths(plan, Paths(plan))
    # h2 and h5 are three links away, h3 and h4 four.
    assert [delay for delay, *_ in first.sources.values()] == pytest.approx([0.006, 0.008, 0.008, 0.006])
    assert not first.lossy
    assert len(others) == 4


def test_links_without_delay_need_no_queue() -> None:
    links = [{"link": ["h1", "s1"], "delay": "5ms", "one_way": True}]
    plan = nfqueue_plan({"kind": "star", "nodes": 3}, "0s", links=links)
    # What h1 sends arrives late, at the others.
    assert [arriving.host for arriving in host_paths(plan, Paths(plan))] == ["h2", "h3"]


@pytest.mark.parametrize("delay_ms", [0.25, 5, 25])
def test_round_trips_are_as_asked(delay_ms: float) -> None:
    with build_network(nfqueue_plan({"kind": "star", "nodes": 2}, f"{delay_ms}ms")) as network:
        times = sorted(ping(network, "h1", "h2", count=20))
    assert 4 * delay_ms / 1e3 - 5e-4 <= times[0] < 4 * delay_ms / 1e3 + 0.0015
    counts = statistics_of(network)
    assert counts["packets"] >= 40
    assert counts["lost"] == counts["dropped_on_request"] == 0


def test_near_and_far_sources_of_one_host_do_not_wait_for_each_other() -> None:
    """A batch verdict for the near source's packets must not release the far one's, which arrived before them."""
    links = [{"link": ["h3", "s1"], "delay": "80ms"}]
    with build_network(nfqueue_plan({"kind": "star", "nodes": 3}, "5ms", links=links)) as network:
        far = one_way(network, "h3", "h1", 400, wait=False)
        near = one_way(network, "h2", "h1", 400)
        far_delays = [seconds for _, seconds in far()]
        near_delays = [seconds for _, seconds in near]
    assert len(far_delays) == len(near_delays) == 400
    # A machine that stalls delays packets by as much; released with the near ones they would be 70 ms early.
    assert min(far_delays) > 0.075
    assert statistics.median(far_delays) < 0.090
    assert min(near_delays) > 0.0085
    assert statistics.median(near_delays) < 0.015


@pytest.mark.parametrize(
    ("distribution", "spread_s"), [("normal", 0.005), ("uniform", 0.005 / 3**0.5), ("paretonormal", 0.005)]
)
def test_delays_are_spread_as_asked(distribution: str, spread_s: float) -> None:
    links = [
        {
            "link": ["h1", "s1"],
            "one_way": True,
            "delay": "30ms",
            "jitter": "5ms",
            "distribution": distribution,
        }
    ]
    with build_network(nfqueue_plan({"kind": "star", "nodes": 2}, "0s", links=links)) as network:
        arrived = one_way(network, "h1", "h2", 600)
        there = [seconds for _, seconds in one_way(network, "h2", "h1", 50)]
    assert len(arrived) == 600
    delays = [seconds for _, seconds in arrived]
    assert statistics.fmean(delays) == pytest.approx(0.030, abs=0.0015)
    assert statistics.pstdev(delays) == pytest.approx(spread_s, rel=0.35)
    assert statistics.median(there) < 0.003


def test_packets_are_lost_as_asked() -> None:
    links = [{"link": ["h1", "s1"], "one_way": True, "loss": 0.1}]
    with build_network(nfqueue_plan({"kind": "star", "nodes": 2}, "1ms", links=links)) as network:
        arrived = one_way(network, "h1", "h2", 1500)
        back = one_way(network, "h2", "h1", 200)
    # Four standard deviations of a binomial distribution.
    assert abs(len(arrived) - 1350) < 4 * (1500 * 0.1 * 0.9) ** 0.5
    assert len(back) == 200
    counts = statistics_of(network)
    assert counts["dropped_on_request"] == 1500 - len(arrived)
    assert counts["lost"] == 0


def test_bursts_are_those_of_the_seed() -> None:
    """Each packet takes one step of its link's chain, so it is known beforehand which are lost."""
    model = BurstLoss(p=0.1, r=0.25, loss_bad=0.9, loss_good=0.01)
    links = [{"link": ["h1", "s1"], "one_way": True, "burst_loss": asdict(model)}]
    plan = nfqueue_plan({"kind": "star", "nodes": 2}, "1ms", links=links)
    with build_network(plan) as network, LiveNetwork.of(network) as live:
        arrived = one_way(network, "h1", "h2", 1000)
        back = one_way(network, "h2", "h1", 200)
        live.reshape([changed(plan, "h1", "s1", burst_loss=NO_BURSTS)])
        after = one_way(network, "h1", "h2", 200)
    chain = LossChain(random.Random(stream_seed(plan.experiment.seed, "burst_loss", "h1", "s1")).random)
    chain.follow(model)
    kept = [number for number in range(1000) if not chain.loses()]
    assert sorted(number for number, _ in arrived) == kept
    assert abs(len(kept) - 1000 * (1 - model.loss_share)) < 1000 * 0.1, "a seed like any other"
    assert (len(back), len(after)) == (200, 200)
    counts = statistics_of(network)
    assert counts["dropped_on_request"] == 1000 - len(kept)
    assert counts["lost"] == 0


def test_tcp_goes_through_bursts() -> None:
    """Even if the link loses in bursts only after an event: its queue is ready."""
    plan = nfqueue_plan({"kind": "star", "nodes": 2}, "1ms")
    with build_network(plan) as network, LiveNetwork.of(network) as live:
        live.reshape([changed(plan, "h1", "s1", burst_loss=BurstLoss(p=0.01, r=0.5))])
        hosts = network.mininet.nameToNode
        receiver = hosts["h2"].popen(["sh", "-c", "socat -u TCP-LISTEN:9200 - | wc -c"], text=True)
        time.sleep(0.3)
        hosts["h1"].cmd("head -c 2000000 /dev/zero | socat -u - TCP:10.0.0.2:9200")
        assert receiver.communicate()[0].strip() == "2000000"
    # 1,400 frames and more, of which 2 % are lost.
    assert 3 < statistics_of(network)["dropped_on_request"] < 280


def test_tcp_frames_are_lost_one_by_one() -> None:
    """A packet of 64 kB is forty frames: it must be cut up before one of them is lost."""
    links = [{"link": ["h1", "s1"], "one_way": True, "loss": 0.05}]
    plan = nfqueue_plan({"kind": "star", "nodes": 2}, "1ms", links=links)
    (arriving,) = [paths for paths in host_paths(plan, Paths(plan)) if paths.host == "h2"]
    assert arriving.lossy
    with build_network(plan) as network:
        hosts = network.mininet.nameToNode
        receiver = hosts["h2"].popen(["sh", "-c", "socat -u TCP-LISTEN:9200 - | wc -c"], text=True)
        time.sleep(0.3)
        hosts["h1"].cmd("head -c 2000000 /dev/zero | socat -u - TCP:10.0.0.2:9200")
        assert receiver.communicate()[0].strip() == "2000000"
    counts = statistics_of(network)
    # 1,400 frames, some of them twice; acknowledgements go to h1, where nothing is lost.
    assert counts["packets"] > 1400
    assert 30 < counts["dropped_on_request"] < 150


def changed(plan: Plan, source: str, target: str, **wire: Any) -> Any:
    direction = plan.directions[source, target]
    return replace(direction, wire=replace(direction.wire, **wire))


def test_a_change_applies_from_the_next_packet_on() -> None:
    with (
        build_network(nfqueue_plan({"kind": "star", "nodes": 3}, "5ms")) as network,
        LiveNetwork.of(network) as live,
    ):
        arriving = one_way(network, "h1", "h2", 500, wait=False)
        time.sleep(0.4)
        live.reshape([changed(network.plan, "h1", "s1", delay_s=0.1)])
        time.sleep(0.3)
        live.reshape([changed(network.plan, "h1", "s1", delay_s=0.002, jitter_s=0.001)])
        arrived = arriving()
        assert min(ping(network, "h3", "h2", count=5)) > 0.0195
    assert len(arrived) == 500
    first, last = [seconds for number, seconds in arrived if number < 50], arrived[-50:]
    assert statistics.median(first) == pytest.approx(0.010, abs=0.002)
    assert max(seconds for _, seconds in arrived) == pytest.approx(0.105, abs=0.01)
    assert statistics.median(seconds for _, seconds in last) == pytest.approx(0.007, abs=0.002)


def test_a_queue_is_ready_for_a_delay_or_loss_that_comes_later() -> None:
    plan = nfqueue_plan({"kind": "star", "nodes": 2}, "0s", links=[{"link": ["h1", "s1"], "delay": "1ms"}])
    later = changed(plan, "s1", "h1", delay_s=0.05, loss=0.5)
    plan = replace(plan, timeline=(Reshape(at_s=1, text="", entry=0, directions=(later,)),))
    assert {arriving.host: arriving.lossy for arriving in host_paths(plan, Paths(plan))} == {
        "h1": True,
        "h2": False,
    }
    with build_network(plan) as network, LiveNetwork.of(network) as live:
        assert min(ping(network, "h2", "h1")) < 0.01
        live.reshape([later])
        arrived = one_way(network, "h2", "h1", 200)
    assert 50 < len(arrived) < 150
    assert min(seconds for _, seconds in arrived) > 0.0495


def test_a_change_that_the_process_cannot_make_is_an_error() -> None:
    with (
        build_network(nfqueue_plan({"kind": "star", "nodes": 2}, "1ms")) as network,
        LiveNetwork.of(network) as live,
    ):
        wrong = changed(network.plan, "h1", "s1", jitter_s=0.0005, distribution="cauchy")
        with pytest.raises(RunError, match=r"cauchy\.dist"):
            live.reshape([wrong])
        assert network.delay is not None
        os.kill(network.delay.pid, signal.SIGKILL)
        with pytest.raises(RunError, match="was not changed"):
            live.reshape([changed(network.plan, "h1", "s1", delay_s=0.01)])


def test_the_death_of_the_delay_process_is_noticed() -> None:
    with build_network(nfqueue_plan({"kind": "star", "nodes": 2}, "1ms")) as network:
        assert network.delay is not None
        assert not network.delay.died()
        os.kill(network.delay.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not network.delay.died():
            assert time.monotonic() < deadline
