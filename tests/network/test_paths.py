"""Paths between hosts or regions are shaped at the sender, for each destination, in addition to its own link."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from mnbed.network.build import Network, build_network
from mnbed.network.live_changes import LiveNetwork
from mnbed.network.namespaces import run_in
from tests.network.plans import iperf3, ping, plan_for

pytestmark = pytest.mark.root

# h1 and h2 in west, h3 in east, h4 in south: from west to east 8 Mbit/s and 10 ms, to south 16 Mbit/s and 5 ms.
PATHS: dict[str, Any] = {
    "kind": "inline",
    "hosts": [
        {"name": "h1", "region": "west"},
        {"name": "h2", "region": "west"},
        {"name": "h3", "region": "east"},
        {"name": "h4", "region": "south"},
    ],
    "switches": ["s1"],
    "links": [{"link": [f"h{number}", "s1"]} for number in range(1, 5)],
    "paths": [
        {"between": ["west", "east"], "bandwidth": "8mbit", "delay": "10ms"},
        {"between": ["west", "south"], "bandwidth": "16mbit", "delay": "5ms"},
    ],
}


@pytest.fixture(scope="module")
def regions() -> Iterator[Network]:
    with build_network(plan_for(PATHS, bandwidth="20mbit", delay="1ms")) as network:
        yield network


def test_every_path_has_its_delay(regions: Network) -> None:
    for source, target, one_way_s in (
        ("h1", "h2", 0.002),
        ("h1", "h3", 0.012),
        ("h4", "h2", 0.007),
        ("h3", "h4", 0.002),
    ):
        assert regions.plan.path(source, target).delay_s == pytest.approx(one_way_s)
        assert min(ping(regions, source, target, count=5)) == pytest.approx(2 * one_way_s, abs=1.5e-3)


@pytest.mark.no_guest
def test_every_path_has_its_rate(regions: Network) -> None:
    assert iperf3(regions, "h1", "h3") == pytest.approx(8e6 * 0.955, rel=0.06)
    assert iperf3(regions, "h1", "h2") == pytest.approx(20e6 * 0.955, rel=0.06)


@pytest.mark.no_guest
def test_all_paths_of_a_host_share_its_link(regions: Network) -> None:
    """8 to the east, and what is left of 20 Mbit/s to the south: 12, not 16."""
    hosts, rates = regions.mininet.nameToNode, {}
    command = ["iperf3", "-s", "-1", "--forceflush"]
    servers = [hosts[name].popen(command, stdout=subprocess.PIPE) for name in ("h3", "h4")]
    try:
        for server in servers:
            server.stdout.readline()
        clients = {
            name: hosts["h1"].popen(
                ["iperf3", "-c", regions.plan.host(name).address, "-t", "4", "-O", "1", "-J"],
                stdout=subprocess.PIPE,
            )
            for name in ("h3", "h4")
        }
        for name, client in clients.items():
            rates[name] = json.loads(client.communicate()[0])["end"]["sum_received"]["bits_per_second"]
    finally:
        for server in servers:
            server.kill()
            server.communicate()
    assert sum(rates.values()) == pytest.approx(20e6 * 0.955, rel=0.06)
    assert rates["h3"] == pytest.approx(8e6 * 0.955, rel=0.12)
    assert rates["h4"] == pytest.approx(12e6 * 0.955, rel=0.12)


def test_a_branch_changed_behind_our_back_is_noticed(regions: Network) -> None:
    change = (
        "class change dev h2-eth0 parent 5:1 classid 5:3 htb rate 1mbit ceil 5mbit burst 6000 cburst 6000"
    )
    run_in(regions.pid("h2"), ["tc", *change.split()], what="changing a rate")
    (wrong,) = regions.differences(regions.read_back())
    assert wrong.startswith("h2-eth0: towards 10.0.0.3: rate 5000000 bit/s instead of 8000000")


@pytest.mark.no_guest
def test_a_change_of_the_link_keeps_its_paths(regions: Network) -> None:
    from dataclasses import replace

    direction = regions.plan.directions["h4", "s1"]
    slower = replace(
        direction,
        asked=replace(direction.asked, bandwidth_bps=6e6),
        wire=replace(direction.wire, bandwidth_bps=6e6),
    )
    with LiveNetwork.of(regions) as live:
        live.reshape([slower])
    assert not [text for text in regions.differences(regions.read_back()) if text.startswith("h4")]
    assert iperf3(regions, "h4", "h1") == pytest.approx(6e6 * 0.955, rel=0.06)


def test_a_region_may_share_one_path() -> None:
    plan = plan_for({**PATHS, "paths_shared": True}, bandwidth="20mbit")
    branches = plan.directions["h3", "s1"].branches
    assert [branch.targets for branch in branches] == [("h1", "h2")]


@pytest.mark.no_guest
def test_limits_of_pairs_alone_let_a_host_send_more_than_its_rate() -> None:
    slow = {"links": [{"link": ["h3", "s1"], "bandwidth": "4mbit"}]}
    plan = plan_for({"kind": "pairwise", "nodes": 3}, bandwidth="10mbit", delay="1ms", network=slow)
    assert [branch.asked.bandwidth_bps for branch in plan.directions["h1", "s1"].branches] == [10e6, 4e6]
    with build_network(plan) as network:
        assert iperf3(network, "h1", "h3") == pytest.approx(4e6 * 0.955, rel=0.06)
        assert iperf3(network, "h1", "h2") == pytest.approx(10e6 * 0.955, rel=0.06)


@pytest.mark.no_guest
def test_sixty_hosts_in_ten_regions_are_built_in_seconds() -> None:
    """The margin is tenfold."""
    import time

    plan = plan_for({"kind": "regions"}, bandwidth="100mbit", delay="0s")
    began = time.monotonic()
    with build_network(plan) as network:
        took = time.monotonic() - began
        print(f"60 hosts with 59 paths each were built in {took:.1f} s")
        assert network.differences(network.read_back()) == []
        path = plan.path("h1", "h60").delay_s
        assert min(ping(network, "h1", "h60", count=3)) == pytest.approx(2 * path, abs=2e-3)
    assert took < 60
