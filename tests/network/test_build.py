"""Real networks, built by mnbed: reachability on any graph, delay, bandwidth, verification, teardown."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.errors import MachineError, RunError
from mnbed.network.build import Network, build_network
from mnbed.network.counters import CounterReader
from mnbed.network.namespaces import run_in, run_script_in
from tests.network.plans import facts, iperf3, ping, plan_for

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def star() -> Iterator[Network]:
    with build_network(plan_for({"kind": "star", "nodes": 4}, delay="5ms")) as network:
        yield network


def root_links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


def test_every_host_reaches_every_other(star: Network) -> None:
    for source in star.plan.hosts:
        for target in star.plan.hosts:
            if source != target:
                assert ping(star, source.name, target.name, count=1)


def test_round_trip_is_four_link_delays(star: Network) -> None:
    times = sorted(ping(star, "h1", "h2", count=20))
    # 4 x 5 ms, less what the nfqueue backend subtracts for its own latency;
    # the best of twenty is hardly longer, unless the machine is overloaded.
    assert 0.0195 <= times[0] < 0.0215


def test_bandwidth_is_the_links_rate(star: Network) -> None:
    rate = iperf3(star, "h1", "h2")
    assert 0.85 * 60e6 < rate < 0.97 * 60e6


def test_nothing_appears_in_the_root_namespace(star: Network) -> None:
    names = {name for node in star.node_names() for name in star.interfaces(node)}
    assert not [
        line for line in root_links().splitlines() if line.split(":")[1].strip().split("@")[0] in names
    ]


def test_ipv6_is_off_and_congestion_control_is_as_asked(star: Network) -> None:
    pid = star.pid("h1")
    assert run_in(pid, ["cat", "/proc/net/if_inet6"], what="reading") == "" or not facts().root
    assert "congctl cubic" in run_in(pid, ["ip", "route"], what="reading")


@pytest.mark.no_guest
def test_counters_count_what_a_link_carries(star: Network) -> None:
    reader = CounterReader({name: star.pid(name) for name in star.node_names()})
    try:
        before = reader.read()
        ping(star, "h1", "h2", count=10)
        after = reader.read()
    finally:
        reader.close()
    # An echo request is 98 bytes with its Ethernet header.
    assert after["h1-eth0"].bytes_sent - before["h1-eth0"].bytes_sent >= 980
    assert after["h4-eth0"].bytes_sent - before["h4-eth0"].bytes_sent < 980


@pytest.mark.parametrize(
    ("topology", "delay"),
    [
        pytest.param({"kind": "ring", "nodes": 5}, "2ms", marks=pytest.mark.no_guest),
        pytest.param({"kind": "tree", "depth": 2, "fanout": 2}, "2ms", marks=pytest.mark.no_guest),
        pytest.param({"kind": "random_regular", "nodes": 6, "degree": 3}, "2ms", marks=pytest.mark.no_guest),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_graphs_with_loops_forward_along_the_planned_paths(topology: dict[str, object], delay: str) -> None:
    with build_network(plan_for(topology, delay=delay)) as network:
        hosts = [host.name for host in network.plan.hosts]
        for source, target in [(hosts[0], name) for name in hosts[1:]]:
            asked = network.plan.path(source, target).delay_s + network.plan.path(target, source).delay_s
            assert asked - 5e-4 <= min(ping(network, source, target, count=5)) < asked + 0.0015


@pytest.mark.no_guest
def test_a_broadcast_does_not_circle_in_a_ring() -> None:
    """With flooding on, one broadcast would fill every link for ever."""
    with build_network(plan_for({"kind": "ring", "nodes": 4})) as network:
        network.mininet.nameToNode["h1"].cmd("ping -b -c 3 -i 0.05 -W 1 10.255.255.255")
        network.mininet.nameToNode["h1"].cmd("ping -I h1-eth0 -c 3 -i 0.05 -W 1 224.0.0.1")
        reader = CounterReader({name: network.pid(name) for name in network.plan.switches})
        try:
            sent = sum(counters.bytes_sent for counters in reader.read().values())
        finally:
            reader.close()
        assert sent < 20_000


@pytest.mark.no_guest
def test_stragglers_have_their_own_rate() -> None:
    stragglers = {"count": 2, "factor": 5, "spread": 0.1}
    with build_network(plan_for({"kind": "star", "nodes": 3}, network={"stragglers": stragglers})) as network:
        rates = {entry.link.a: entry.a.shape.rate_bps for entry in network.read_back() if entry.a.shape}
    slow = [host.name for host in network.plan.hosts if host.straggler]
    assert len(slow) == 2
    for name, rate in rates.items():
        if name in slow:
            assert 10.7e6 < rate < 13.4e6
        else:
            assert rate == pytest.approx(60e6, rel=1e-3)


@pytest.mark.no_guest
def test_dilation_slows_links_and_stretches_delays() -> None:
    plan = plan_for({"kind": "star", "nodes": 2}, delay="1ms", time={"dilation": 4, "duration": "10s"})
    with build_network(plan) as network:
        assert min(ping(network, "h1", "h2")) >= 0.0155
        shape = network.read_back()[0].a.shape
        assert shape is not None
        assert shape.rate_bps == pytest.approx(15e6, rel=1e-3)


@pytest.mark.no_guest
def test_a_qdisc_changed_behind_our_back_is_found() -> None:
    with build_network(plan_for({"kind": "star", "nodes": 2})) as network:
        network.verify()
        change = "tc class change dev s1-eth1 parent 5: classid 5:1 htb rate 48mbit"
        run_script_in(network.pid("s1"), change, what="changing")
        with pytest.raises(
            RunError, match=r"not shaped as asked: s1-eth1: rate 48000000 bit/s instead of 60000000"
        ):
            network.verify()
        run_script_in(network.pid("s1"), "tc qdisc del dev s1-eth1 root", what="changing")
        with pytest.raises(RunError, match="not shaped as asked: s1-eth1: not shaped at all"):
            network.verify()


@pytest.mark.no_guest
def test_the_network_is_torn_down_when_the_block_fails() -> None:
    pids: list[int] = []

    def build_and_fail() -> None:
        with build_network(plan_for({"kind": "ring", "nodes": 3})) as network:
            pids.extend(network.pid(name) for name in network.node_names())
            if network.delay is not None:
                pids.append(network.delay.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_and_fail()
    assert len(pids) >= 6
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/net").exists()]


@pytest.mark.no_guest
def test_system_wide_settings_stay_as_they_were() -> None:
    """Mininet's own initialisation raises sysctls of the whole machine."""
    keys = (
        "net/core/wmem_max",
        "net/core/rmem_max",
        "net/ipv4/tcp_rmem",
        "net/ipv4/neigh/default/gc_thresh1",
    )
    before = [Path("/proc/sys", key).read_text() for key in keys if Path("/proc/sys", key).exists()]
    with build_network(plan_for({"kind": "star", "nodes": 2})):
        pass
    assert [Path("/proc/sys", key).read_text() for key in keys if Path("/proc/sys", key).exists()] == before


def test_a_delay_backend_that_the_kernel_lacks_is_refused_before_building() -> None:
    if facts().netem:
        pytest.skip("this kernel has netem")
    with pytest.raises(MachineError, match="netem"):
        plan_for({"kind": "star", "nodes": 2}, network={"delay_backend": "netem"})


def test_an_unknown_qdisc_is_an_error_and_not_a_printed_line() -> None:
    """Mininet prints tc's error and continues without the delay."""
    if facts().netem:
        pytest.skip("this kernel has netem")
    from dataclasses import replace

    plan = replace(plan_for({"kind": "star", "nodes": 2}), delay_backend="netem")
    with (
        pytest.raises(RunError, match=r"configuring .*: Specified qdisc kind is unknown"),
        build_network(plan),
    ):
        pass


@pytest.mark.no_guest
def test_a_mnexec_that_fails_is_an_error_and_not_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a chroot, for example, it cannot mount; Mininet would wait for its shell for ever."""
    broken = tmp_path / "mnexec"
    broken.write_text("#!/bin/sh\necho 'mount: Invalid argument' >&2\nexit 1\n")
    broken.chmod(0o755)
    plan = plan_for({"kind": "star", "nodes": 2})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MachineError, match="namespace: mount: Invalid argument"), build_network(plan):
        pass


@pytest.mark.no_guest
def test_descriptors_are_closed_again() -> None:
    plan = plan_for({"kind": "star", "nodes": 3})
    with build_network(plan):
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with build_network(plan):
            pass
    assert len(os.listdir("/proc/self/fd")) <= before


def test_mininets_own_initialisation_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises system-wide limits, and complains if it may not."""
    called: list[bool] = []
    monkeypatch.setattr("mininet.net.fixLimits", lambda: called.append(True))
    monkeypatch.setattr("mininet.net.Mininet.inited", False)
    with build_network(plan_for({"kind": "star", "nodes": 2})):
        pass
    assert called == []
