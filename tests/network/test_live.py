"""A network that changes while packets flow: no packet in flight is lost, and closed links drop silently."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mnbed.errors import RunError
from mnbed.network.build import Network, build_network
from mnbed.network.live_changes import LiveNetwork
from mnbed.plan.model import Direction
from tests.network.plans import needs_open_vswitch, ping, plan_for

pytestmark = pytest.mark.root

# One datagram of 1,400 bytes every 2 ms: 5.6 Mbit/s.
_SEND = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began = time.monotonic()
for number in range(int(sys.argv[1])):
    time.sleep(max(0, began + number * 0.002 - time.monotonic()))
    sender.sendto(number.to_bytes(4, "big") + bytes(1396), ("10.0.0.2", 9100))
"""
_RECEIVE = """
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
receiver.bind(("10.0.0.2", 9100))
print("ready", flush=True)
receiver.settimeout(2)
seen = set()
try:
    while True:
        seen.add(int.from_bytes(receiver.recv(2000)[:4], "big"))
except TimeoutError:
    print(len(seen))
"""


@pytest.fixture(scope="module")
def star() -> Iterator[Network]:
    with build_network(plan_for({"kind": "star", "nodes": 4}, bandwidth="60mbit", delay="5ms")) as network:
        yield network


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("bridge", marks=pytest.mark.no_guest),
        pytest.param("ovs", marks=needs_open_vswitch),
    ],
)
def live(request: pytest.FixtureRequest, star: Network) -> Iterator[LiveNetwork]:
    if request.param == "bridge":
        with LiveNetwork.of(star) as live_star:
            yield live_star
        return
    plan = plan_for({"kind": "star", "nodes": 4}, bandwidth="60mbit", delay="5ms", network={"switch": "ovs"})
    with build_network(plan) as network, LiveNetwork.of(network) as live_star:
        yield live_star


def reaches(network: Network, source: str, target: str) -> bool:
    address = network.plan.host(target).address
    return ", 0% packet loss" in str(network.mininet.nameToNode[source].cmd(f"ping -c 1 -W 1 {address}"))


def changed(network: Network, source: str, target: str, **wire: Any) -> Direction:
    """A direction with other properties than now, in wall-clock units as the plan's dilation is 1."""
    direction = network.plan.directions[source, target]
    return replace(direction, wire=replace(direction.wire, **wire))


def test_rate_and_delay_change_and_nothing_is_lost(star: Network) -> None:
    hosts = star.mininet.nameToNode
    with LiveNetwork.of(star) as live:
        receiver = hosts["h2"].popen([sys.executable, "-c", _RECEIVE], stdout=subprocess.PIPE, text=True)
        try:
            assert receiver.stdout.readline() == "ready\n"
            sender = hosts["h1"].popen([sys.executable, "-c", _SEND, "1000"])
            for bandwidth, delay in ((20e6, 0.02), (8e6, 0.005), (60e6, 0.05), (60e6, 0.005)):
                time.sleep(0.3)
                live.reshape(
                    [
                        changed(star, "h1", "s1", bandwidth_bps=bandwidth, delay_s=delay),
                        changed(star, "s1", "h2", bandwidth_bps=bandwidth, delay_s=delay),
                    ]
                )
                star.verify()
            sender.communicate()
            assert receiver.stdout.readline() == "1000\n"
        finally:
            receiver.kill()
            receiver.communicate()


def test_a_new_delay_applies_at_once(star: Network) -> None:
    with LiveNetwork.of(star) as live:
        assert 0.019 < min(ping(star, "h3", "h4")) < 0.03
        live.reshape([changed(star, "h3", "s1", delay_s=0.045)])
        assert 0.059 < min(ping(star, "h3", "h4")) < 0.07
        star.verify()
        live.reshape([changed(star, "h3", "s1")])
        assert 0.019 < min(ping(star, "h3", "h4")) < 0.03


@pytest.mark.no_guest
def test_what_tc_refuses_is_an_error() -> None:
    with (
        build_network(plan_for({"kind": "star", "nodes": 2})) as network,
        LiveNetwork.of(network, ["h1"]) as live,
    ):
        network.mininet.nameToNode["h1"].cmd("tc qdisc del dev h1-eth0 root")
        with pytest.raises(RunError, match="changing links at h1: "):
            live.reshape([changed(network, "h1", "s1", delay_s=0.1)])
        # The shell still works.
        live.reshape([changed(network, "s1", "h1", delay_s=0.1)])


def test_a_link_goes_down_and_comes_up(live: LiveNetwork) -> None:
    network = live._network
    assert reaches(network, "h1", "h2")
    for ends in (("h1", "s1"), ("s1", "h1")):
        live.set_link(*ends, up=False)
        assert not reaches(network, "h1", "h2")
        assert not reaches(network, "h2", "h1")
        assert reaches(network, "h3", "h4")
        live.set_link(*ends, up=True)
        assert reaches(network, "h1", "h2")


def test_a_partition_separates_its_groups_and_nobody_else(live: LiveNetwork) -> None:
    network = live._network
    live.partition((("h1", "h2"), ("h3",)))
    for a, b in (("h1", "h3"), ("h2", "h3")):
        assert not reaches(network, a, b)
        assert not reaches(network, b, a)
    for a, b in (("h1", "h2"), ("h1", "h4"), ("h3", "h4"), ("h4", "h2")):
        assert reaches(network, a, b)
    live.partition(())
    for a, b in (("h1", "h3"), ("h2", "h3"), ("h3", "h1")):
        assert reaches(network, a, b)


@pytest.mark.no_guest
def test_shells_end_with_the_block(star: Network) -> None:
    with LiveNetwork.of(star, ["h1", "s1"]) as live:
        pids = [shell._process.pid for shell in live._shells.values()]
        assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
