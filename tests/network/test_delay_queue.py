"""The NFQUEUE delay, in real namespaces: per-path delays, many packets, its end."""

from __future__ import annotations

import os
import signal
import time

import pytest

from mnbed.network.build import build_network
from mnbed.network.delay import host_queues, iptables_rules
from mnbed.plan import Plan
from tests.network.plans import facts, ping, plan_for

pytestmark = [pytest.mark.root, pytest.mark.no_guest]


def nfqueue_plan(topology: dict[str, object], delay: str) -> Plan:
    if not facts().nfqueue:
        pytest.skip("this kernel has no NFQUEUE")
    return plan_for(topology, delay=delay, network={"delay_backend": "nfqueue"})


def test_sources_at_other_distances_take_other_queues() -> None:
    plan = nfqueue_plan({"kind": "ring", "nodes": 5}, "2ms")
    queues = host_queues(plan, "h1")
    # h2 and h5 are three links away, h3 and h4 four.
    assert sorted(queues.delays_s.values()) == pytest.approx([0.006, 0.008])
    assert len(queues.exceptions) == 2
    rules = iptables_rules("h1-eth0", queues)
    assert rules.count("NFQUEUE") == 3


@pytest.mark.parametrize("delay_ms", [0.25, 5, 25])
def test_round_trips_are_as_asked(delay_ms: float) -> None:
    with build_network(nfqueue_plan({"kind": "star", "nodes": 2}, f"{delay_ms}ms")) as network:
        times = sorted(ping(network, "h1", "h2", count=20))
    assert 4 * delay_ms / 1e3 - 5e-4 <= times[0] < 4 * delay_ms / 1e3 + 0.0015
    assert network.delay is not None
    assert network.delay.statistics is not None
    assert network.delay.statistics["packets"] >= 40
    assert network.delay.statistics["lost"] == 0


def test_the_death_of_the_delay_process_is_noticed() -> None:
    with build_network(nfqueue_plan({"kind": "star", "nodes": 2}, "1ms")) as network:
        assert network.delay is not None
        assert not network.delay.died()
        os.kill(network.delay.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not network.delay.died():
            assert time.monotonic() < deadline
