"""Both kinds of switch behave alike: on any graph, with ports that close, links as requested, and no leftovers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.errors import RunError
from mnbed.network.build import Network, build_network
from mnbed.network.counters import CounterReader
from mnbed.network.leftovers import find_leftovers
from mnbed.network.mark import RUNTIME_DIRECTORY
from mnbed.network.namespaces import network_namespace, run_in
from mnbed.network.open_vswitch import OpenVSwitch, check_flows
from tests.network.plans import facts, iperf3, needs_open_vswitch, ping, plan_for

pytestmark = pytest.mark.root
_SLOW_END = {"link": ["h2", "s1"], "bandwidth": "6mbit"}
# h1's frames come ten times as fast as they leave towards h2; no queue is too short to hold them.
SLOW_STAR = {
    "switch": "ovs",
    "link": {"bandwidth": "60mbit", "delay": "1ms", "queue": 500},
    "links": [_SLOW_END],
}
_SEND = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(300):
    s.sendto(bytes(1400), ("10.0.0.2", 5000))
"""
_RECEIVE = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
s.bind(("", 5000))
print("ready", flush=True)
received = 0
try:
    while received < 300:
        s.recv(2000)
        received += 1
        s.settimeout(3)
except TimeoutError:
    pass
print(received, flush=True)
"""
_BUILD_AND_WAIT = """
import time
from mnbed.network.build import build_network
from mnbed.network.mark import marked
from tests.network.plans import needs_open_vswitch, plan_for
with marked("killed-open-vswitch-test"):
    with build_network(plan_for({"kind": "star", "nodes": 2}, delay="0ms", network={"switch": "ovs"})):
        print("built", flush=True)
        time.sleep(60)
"""


_KINDS = [
    # A guest adds nothing to the test of bridges, and is slow.
    pytest.param("bridge", marks=pytest.mark.no_guest),
    pytest.param("ovs", marks=needs_open_vswitch),
]


@pytest.fixture(scope="module", params=_KINDS, ids="switch={}".format)
def ring(request: pytest.FixtureRequest) -> Iterator[Network]:
    plan = plan_for({"kind": "ring", "nodes": 3}, delay="4ms", network={"switch": request.param})
    with build_network(plan) as network:
        yield network


@pytest.fixture(scope="module")
def star() -> Iterator[Network]:
    with build_network(plan_for({"kind": "star", "nodes": 2}, network=SLOW_STAR)) as network:
        yield network


def arrives(network: Network, source: str, target: str) -> bool:
    address = network.plan.host(target).address
    output = str(network.mininet.nameToNode[source].cmd(f"ping -c 1 -W 0.3 {address}"))
    return "1 received" in output


def ovs_programs() -> set[str]:
    """Command lines of Open vSwitch's daemons that run now."""
    programs = set()
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if command.startswith(("ovs-vswitchd", "ovsdb-server")):
            programs.add(f"{folder.name}: {command}")
    return programs


def test_every_pair_is_as_far_apart_as_the_shortest_path(ring: Network) -> None:
    names = [host.name for host in ring.plan.hosts]
    for source, target in zip(names, names[1:] + names[:1], strict=True):
        asked = ring.plan.path(source, target).delay_s + ring.plan.path(target, source).delay_s
        # The userspace datapath adds a tenth of a millisecond for each switch.
        assert asked - 5e-4 <= min(ping(ring, source, target, count=10)) < asked + 0.003


def test_a_broadcast_does_not_circle(ring: Network) -> None:
    reader = CounterReader({name: ring.pid(name) for name in ring.plan.switches})
    try:
        before = sum(counters.bytes_sent for counters in reader.read().values())
        host = ring.mininet.nameToNode["h1"]
        host.cmd("ping -b -c 3 -i 0.05 -W 1 10.255.255.255")
        host.cmd("ping -I h1-eth0 -c 3 -i 0.05 -W 1 224.0.0.1")
        assert sum(counters.bytes_sent for counters in reader.read().values()) - before < 20_000
    finally:
        reader.close()


def test_a_closed_port_drops_in_both_directions_and_nothing_else(ring: Network) -> None:
    """The path between two neighbours is one link: closed at either end it passes nothing, and all others still do."""
    (link,) = [link for link in ring.plan.links if {link.a, link.b} == {"s1", "s2"}]
    for switch, interface in ((link.a, link.a_interface), (link.b, link.b_interface)):
        assert arrives(ring, "h1", "h2")
        ring.forwarding.set_port(switch, interface, False)
        assert not arrives(ring, "h1", "h2")
        assert not arrives(ring, "h2", "h1")
        assert arrives(ring, "h1", "h3")
        assert "LOWER_UP" in run_in(ring.pid(switch), ["ip", "link", "show", interface], what="looking")
        ring.forwarding.set_port(switch, interface, True)
    assert arrives(ring, "h1", "h2")
    ring.verify()


def test_an_unknown_port_is_refused(ring: Network) -> None:
    with pytest.raises(RunError, match=r"s1.*s1-eth9"):
        ring.forwarding.set_port("s1", "s1-eth9", False)


def test_every_interface_is_counted_once(ring: Network) -> None:
    reader = CounterReader({name: ring.pid(name) for name in ring.node_names()})
    try:
        shaped = {name for node in ring.node_names() for name in ring.interfaces(node)}
        assert shaped <= set(reader.read())
        namespaces = {network_namespace(ring.pid(name)) for name in ring.node_names()}
        assert len(reader._sockets) == len(namespaces)
    finally:
        reader.close()


@needs_open_vswitch
def test_the_datapath_is_the_one_that_the_machine_has(star: Network) -> None:
    assert isinstance(star.forwarding, OpenVSwitch)
    assert star.plan.datapath == ("kernel" if facts().ovs_kernel else "userspace")
    types = star.mininet.nameToNode["s1"].cmd("ovs-appctl -t ovs-vswitchd dpctl/dump-dps")
    assert types.split() == ["system@ovs-system" if facts().ovs_kernel else "netdev@ovs-netdev"]


@needs_open_vswitch
def test_a_switch_queue_holds_what_the_plan_gives_it(star: Network) -> None:
    """One socket of the userspace daemon sends everything, and has room for 90 frames unless it is given more."""
    hosts = star.mininet.nameToNode
    receiver = hosts["h2"].popen([sys.executable, "-c", _RECEIVE], stdout=subprocess.PIPE, text=True)
    try:
        assert receiver.stdout.readline() == "ready\n"
        sender = hosts["h1"].popen([sys.executable, "-c", _SEND])
        assert sender.communicate()[1] == b""
        assert receiver.stdout.readline() == "300\n"
    finally:
        receiver.kill()
        receiver.communicate()


@needs_open_vswitch
def test_bandwidth_is_the_links_rate(star: Network) -> None:
    rate = iperf3(star, "h1", "h2")
    assert 0.85 * 6e6 < rate < 0.97 * 6e6


@needs_open_vswitch
def test_open_vswitch_leaves_the_qdiscs_alone(star: Network) -> None:
    """It reapplies its whole configuration at any change, and by default owns the qdiscs of its ports."""
    reply = star.mininet.nameToNode["s1"].cmd("ovs-vsctl set Interface s1-eth1 external_ids:touched=yes")
    assert reply.strip() == ""
    star.verify()


@needs_open_vswitch
def test_a_switch_shell_is_where_its_interfaces_are(star: Network) -> None:
    shell = star.mininet.nameToNode["s1"]
    assert isinstance(star.forwarding, OpenVSwitch)
    assert network_namespace(star.pid("s1")) == network_namespace(star.forwarding.pid)
    assert network_namespace(star.pid("s1")) != network_namespace(os.getpid())
    assert "s1-eth1" in shell.cmd("ip -br link")
    assert shell.dpctl("dump-flows").count("dl_dst=") == 2


@pytest.mark.no_guest
@needs_open_vswitch
def test_nothing_appears_outside_and_nothing_is_left(star: Network) -> None:
    programs, folders = ovs_programs(), set(RUNTIME_DIRECTORY.glob("run-ovs-*"))
    outside = {path.name for path in Path("/sys/class/net").iterdir()}
    pids: list[int] = []

    def build_and_fail() -> None:
        with build_network(plan_for({"kind": "ring", "nodes": 3}, network={"switch": "ovs"})) as network:
            assert isinstance(network.forwarding, OpenVSwitch)
            pids.extend([network.forwarding.pid, *(network.pid(name) for name in network.node_names())])
            assert {path.name for path in Path("/sys/class/net").iterdir()} == outside
            assert len(ovs_programs() - programs) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_and_fail()
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/net").exists()]
    assert ovs_programs() == programs
    assert set(RUNTIME_DIRECTORY.glob("run-ovs-*")) == folders
    assert arrives(star, "h1", "h2")


@pytest.mark.no_guest
@needs_open_vswitch
def test_a_daemon_that_ended_is_noticed() -> None:
    with OpenVSwitch.start(
        plan_for({"kind": "star", "nodes": 2}, network=SLOW_STAR).datapath or ""
    ) as switches:
        assert not switches.died()
        os.kill(switches.pid, signal.SIGKILL)
        os.waitid(os.P_PID, switches.pid, os.WEXITED | os.WNOWAIT)
        assert switches.died()


@pytest.mark.no_guest
@needs_open_vswitch
def test_what_a_killed_run_leaves_is_found_by_clean() -> None:
    """Processes by their mark, the folder by its name: `remove_leftovers` looks for run-*."""
    before = set(RUNTIME_DIRECTORY.glob("run-*"))
    command = [sys.executable, "-c", _BUILD_AND_WAIT]
    builder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "built\n"
    builder.kill()
    builder.communicate()
    mine = [leftover for leftover in find_leftovers() if leftover.run == "killed-open-vswitch-test"]
    for leftover in mine:
        os.kill(leftover.pid, signal.SIGKILL)
    (folder,) = set(RUNTIME_DIRECTORY.glob("run-*")) - before
    shutil.rmtree(folder)
    assert {leftover.command.split()[0] for leftover in mine} >= {"ovsdb-server", "ovs-vswitchd"}


def test_flows_that_differ_are_named() -> None:
    mac = "00:00:00:00:00:01"
    good = f" priority=1,dl_dst={mac} actions=output:2\n"
    check_flows("s1", {mac: 2}, good)
    for asked, shown, words in (
        ({mac: 3}, good, f"s1: frames for {mac} go to port 2 instead of 3"),
        ({mac: 2}, "", f"s1: frames for {mac} go to port None instead of 2"),
        ({}, good, f"s1: frames for {mac} go to port 2 instead of None"),
        ({mac: 2}, f"{good} priority=0 actions=NORMAL\n", "nobody asked for: priority=0 actions=NORMAL"),
    ):
        with pytest.raises(RunError, match=words):
            check_flows("s1", asked, shown)
