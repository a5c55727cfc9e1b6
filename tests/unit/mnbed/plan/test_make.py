"""Plans: names, addresses, draws, and above all routes that reach every host from every other."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnbed.errors import InputError, MachineError
from mnbed.experiment.sections import Experiment, parse
from mnbed.machine import MachineFacts
from mnbed.plan.links import plan_links
from mnbed.plan.make import make_plan, plan_routes
from mnbed.plan.model import HostPlan, LinkPlan, Plan
from mnbed.plan.properties import LinkProperties, PathProperties
from tests.machines import ROOMY


def plan_of(facts: MachineFacts = ROOMY, **sections: Any) -> Plan:
    return make_plan(parse({"algorithm": {"name": "local"}, **sections}), facts)


def star(nodes: int, **network: Any) -> dict[str, Any]:
    return {"topology": {"kind": "star", "nodes": nodes}, **network}


# --- names and addresses ---


def test_hosts_have_mininets_names_and_addresses() -> None:
    plan = plan_of(network=star(300), task={"name": "digits", "partition": {"kind": "iid"}})
    assert [host.name for host in plan.hosts][:2] == ["h1", "h2"]
    assert [host.index for host in plan.hosts] == list(range(300))
    assert (plan.hosts[0].address, plan.hosts[0].mac) == ("10.0.0.1", "00:00:00:00:00:01")
    assert (plan.hosts[255].address, plan.hosts[255].mac) == ("10.0.1.0", "00:00:00:00:01:00")
    assert len({host.address for host in plan.hosts}) == len({host.mac for host in plan.hosts}) == 300
    assert all(ipaddress.ip_address(host.address) in ipaddress.ip_network(plan.subnet) for host in plan.hosts)


def test_interfaces_are_numbered_as_mininet_numbers_them() -> None:
    plan = plan_of(network={"topology": {"kind": "ring", "nodes": 3}})
    assert [(link.a_interface, link.b_interface) for link in plan.links[:2]] == [
        ("h1-eth0", "s1-eth1"),
        # In order of links: s1's second port leads to s2.
        (plan.links[1].a_interface, plan.links[1].b_interface),
    ]
    names = [name for link in plan.links for name in (link.a_interface, link.b_interface)]
    assert len(names) == len(set(names))
    for switch in plan.switches:
        assert sorted(name for name in names if name.startswith(f"{switch}-")) == [
            f"{switch}-eth{i}" for i in (1, 2, 3)
        ]


def test_the_host_is_end_a_of_its_access_link() -> None:
    plan = plan_of(network={"topology": {"kind": "tree"}})
    assert sorted(link.a for link in plan.links if link.a.startswith("h")) == [
        host.name for host in plan.hosts
    ]
    assert not any(link.b.startswith("h") for link in plan.links)


def test_dilation_reaches_every_link_and_path() -> None:
    plan = plan_of(network=star(2, link={"bandwidth": "60mbit", "delay": "1ms"}), time={"dilation": 2})
    for one in plan.links[0].directions:
        assert one.asked == LinkProperties(bandwidth_bps=60e6, delay_s=0.001)
        assert one.wire == LinkProperties(bandwidth_bps=30e6, delay_s=0.002)
    assert plan.path("h1", "h2") == plan.path("h2", "h1") == PathProperties(delay_s=0.004)


def test_the_reverse_direction_may_differ() -> None:
    plan = plan_of(
        network=star(2, link={"bandwidth": "10mbit", "delay": "2ms", "reverse": {"bandwidth": "50mbit"}})
    )
    up, down = plan.links[0].directions
    assert (up.source, up.asked.bandwidth_bps, up.asked.delay_s) == ("h1", 10e6, 0.002)
    assert (down.target, down.asked.bandwidth_bps, down.asked.delay_s) == ("h1", 50e6, 0.002)
    assert (down.interface, down.arrival) == ("s1-eth1", "h1-eth0")


def test_single_links_have_the_last_word_one_way_or_both() -> None:
    links = [
        {"link": ["s1", "h1"], "bandwidth": "1mbit", "one_way": True},
        {"link": ["h2", "s1"], "delay": "9ms", "jitter": "1ms", "queue": "3bdp"},
    ]
    plan = plan_of(network=star(2, links=links))
    of = {pair: one.asked for pair, one in plan.directions.items()}
    assert of["s1", "h1"].bandwidth_bps == 1e6
    assert of["h1", "s1"].bandwidth_bps == 60e6
    assert of["h2", "s1"] == of["s1", "h2"]
    assert (of["h2", "s1"].delay_s, of["h2", "s1"].jitter_s, of["h2", "s1"].queue_bdp) == (0.009, 0.001, 3)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (["h1", "s9"], r"network\.links\[0\]\.link: no node 's9' in the network; it has: h1, h2, s1"),
        (["h1", "h2"], r"network\.links\[0\]\.link: no link h1 - h2; h1 has links to: s1"),
    ],
)
def test_a_single_link_must_be_there(link: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_of(network=star(2, links=[{"link": link, "bandwidth": "1mbit"}]))


def test_a_jitter_above_the_delay_is_refused() -> None:
    with pytest.raises(InputError, match="2ms on link h1 - s1 is above its delay, 1ms"):
        plan_of(network=star(2, link={"delay": "1ms", "jitter": "2ms"}))


def test_the_same_experiment_gives_the_same_plan() -> None:
    sections: dict[str, Any] = {
        "network": {"topology": {"kind": "random_regular", "nodes": 10}, "stragglers": {"count": 3}},
        "overlay": {"kind": "random_regular", "degree": 3},
    }
    assert plan_of(**sections) == plan_of(**sections)
    assert plan_of(seed=2, **sections).hosts != plan_of(**sections).hosts


# --- routes ---


def follow(plan: Plan, source: HostPlan, target: HostPlan) -> float:
    """Walk a packet along the tables; returns the delays it met. Fails on a loop or a dead end."""
    across = {}
    for link in plan.links:
        for one in link.directions:
            across[one.interface] = (one.target, one)
    node, one = across[f"{source.name}-eth0"]
    delay = one.wire.delay_s
    for _ in range(len(plan.switches) + 1):
        if node == target.name:
            return delay
        node, one = across[plan.forwarding[node][target.mac]]
        delay += one.wire.delay_s
    pytest.fail(f"{source.name} -> {target.name} goes round in circles")


def planned(graph: nx.Graph) -> Plan:
    """A plan over any graph, past the generators."""
    experiment = Experiment()
    names = sorted(
        (node for node, kind in graph.nodes(data="kind") if kind == "host"), key=lambda name: int(name[1:])
    )
    links = plan_links(experiment, graph, {}, 1.0, [])
    hosts = tuple(
        HostPlan(name=name, index=i, address="", mac=f"mac{i}", straggler=False, step_time_s=1, peers=())
        for i, name in enumerate(names)
    )
    switches = [node for node, kind in graph.nodes(data="kind") if kind == "switch"]
    return Plan(
        experiment=experiment,
        dilation=1,
        delay_backend="none",
        hosts=hosts,
        switches=tuple(switches),
        links=links,
        forwarding=plan_routes(hosts, switches, links),
    )


@st.composite
def networks(draw: st.DrawFn) -> nx.Graph:
    """Connected switch graphs with loops; delays often equal, often zero; up to three hosts on a switch."""
    count = draw(st.integers(1, 9))
    graph = nx.Graph()
    graph.add_nodes_from((f"s{i}" for i in range(1, count + 1)), kind="switch")
    delays = st.sampled_from([0.0, 0.001, 0.001, 0.002, 0.1 + 0.2])
    for i in range(2, count + 1):
        graph.add_edge(f"s{i}", f"s{draw(st.integers(1, i - 1))}", delay_s=draw(delays))
    for _ in range(draw(st.integers(0, 10))):
        a, b = draw(st.integers(1, count)), draw(st.integers(1, count))
        if a != b:
            graph.add_edge(f"s{a}", f"s{b}", delay_s=draw(delays))
    for host in range(1, draw(st.integers(2, 6)) + 1):
        graph.add_node(f"h{host}", kind="host")
        graph.add_edge(f"h{host}", f"s{draw(st.integers(1, count))}", delay_s=draw(delays))
    return graph


@settings(deadline=None, max_examples=150)
@given(networks())
def test_tables_lead_from_every_host_to_every_other_on_a_shortest_way(graph: nx.Graph) -> None:
    plan = planned(graph)
    best = dict(nx.all_pairs_dijkstra_path_length(graph, weight="delay_s"))
    pairs = [(a, b) for a in plan.hosts for b in plan.hosts if a is not b]
    for source, target in pairs:
        walked = follow(plan, source, target)
        assert walked == pytest.approx(plan.path(source.name, target.name).delay_s, abs=1e-12)
        assert walked == pytest.approx(best[source.name][target.name], abs=1e-12)


def test_every_switch_knows_every_host() -> None:
    plan = plan_of(network={"topology": {"kind": "tree", "depth": 3, "fanout": 2}})
    macs = {host.mac for host in plan.hosts}
    assert {switch: set(table) for switch, table in plan.forwarding.items()} == dict.fromkeys(
        plan.switches, macs
    )


def test_without_delays_the_way_with_fewest_links_is_taken() -> None:
    plan = plan_of(network={"topology": {"kind": "ring", "nodes": 6}, "link": {"delay": 0}})
    interface = plan.forwarding["s1"][plan.host("h2").mac]
    (link,) = [link for link in plan.links if interface in (link.a_interface, link.b_interface)]
    assert {link.a, link.b} == {"s1", "s2"}


# --- stragglers, slow nodes, overlay ---


def access(plan: Plan) -> Mapping[str, LinkPlan]:
    return {link.a: link for link in plan.links if link.a.startswith("h")}


def test_stragglers_get_the_bandwidth_over_the_factor_within_the_spread() -> None:
    plan = plan_of(network=star(40, stragglers={"count": 20, "factor": 5, "spread": 0.1}))
    slowed = [access(plan)[host.name].forward.asked.bandwidth_bps for host in plan.hosts if host.straggler]
    others = {
        access(plan)[host.name].forward.asked.bandwidth_bps for host in plan.hosts if not host.straggler
    }
    assert len(slowed) == 20
    assert others == {60e6}
    assert all(12e6 * 0.9 <= bandwidth <= 12e6 * 1.1 for bandwidth in slowed)
    assert len(set(slowed)) == 20
    assert [link.straggler for link in plan.links] == [plan.host(link.a).straggler for link in plan.links]


def test_stragglers_follow_the_seed() -> None:
    def drawn(seed: int) -> set[str]:
        plan = plan_of(seed=seed, network=star(40, stragglers={"count": 5}))
        return {host.name for host in plan.hosts if host.straggler}

    assert drawn(1) == drawn(1)
    assert len({frozenset(drawn(seed)) for seed in range(5)}) > 1


def test_stragglers_by_name() -> None:
    plan = plan_of(network=star(4, stragglers={"hosts": ["h3", "h2"], "spread": 0, "factor": 2}))
    assert [host.name for host in plan.hosts if host.straggler] == ["h2", "h3"]
    assert access(plan)["h3"].forward.asked.bandwidth_bps == 30e6


def test_slow_nodes() -> None:
    plan = plan_of(network=star(10), compute={"step_time": "10ms", "slow_nodes": {"count": 3, "factor": 4}})
    assert sorted(host.step_time_s for host in plan.hosts) == [0.01] * 7 + [0.04] * 3


@pytest.mark.parametrize(("kind", "num_peers"), [("complete", 9), ("ring", 2), ("random_regular", 4)])
def test_overlays(kind: str, num_peers: int) -> None:
    overlay = {"kind": kind, **({"degree": 4} if kind == "random_regular" else {})}
    plan = plan_of(network=star(10), overlay=overlay)
    graph = nx.Graph([(host.name, peer) for host in plan.hosts for peer in host.peers])
    assert nx.is_connected(graph)
    for host in plan.hosts:
        assert len(host.peers) == num_peers
        assert host.name not in host.peers
        assert all(host.name in plan.host(peer).peers for peer in host.peers)
        assert list(host.peers) == sorted(host.peers, key=lambda name: int(name[1:]))


def test_a_ring_of_two_has_one_peer_each() -> None:
    assert [host.peers for host in plan_of(network=star(2), overlay={"kind": "ring"}).hosts] == [
        ("h2",),
        ("h1",),
    ]


# --- impossible plans ---


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"network": star(4, stragglers={"count": 5})},
            "network.stragglers.count: got 5; the network has 4 hosts",
        ),
        ({"network": star(4, stragglers={"hosts": ["h5"]})}, "no host 'h5' .allowed: h1, h2, h3, h4"),
        ({"network": star(4, stragglers={"hosts": ["h1", "h1"]})}, "h1 named more than once"),
        ({"network": star(4, stragglers={"hosts": ["h1"], "count": 2})}, "leave one of them out"),
        ({"network": star(4, stragglers={"hosts": ["s1"]})}, "no host 's1'"),
        (
            {"network": star(4), "compute": {"slow_nodes": {"count": 5}}},
            "compute.slow_nodes.count: got 5; the network has 4 hosts",
        ),
        ({"network": star(1)}, "network.topology: star: nodes=1"),
        (
            {"network": star(5), "overlay": {"kind": "random_regular", "degree": 3}},
            "overlay.degree: nodes [*] degree",
        ),
        (
            {"network": star(5), "overlay": {"kind": "random_regular", "degree": 5}},
            "overlay.degree: degree=5",
        ),
        (
            {"network": star(4), "algorithm": {"name": "divshare", "degree": 6}},
            r"algorithm.degree: got 6 \(the default\).*3 peers",
        ),
        (
            {"network": star(4, link={"bandwidth": "4kbit"})},
            "network.link.bandwidth: 4kbit .* 8kbit to 34gbit",
        ),
        ({"network": star(4, link={"bandwidth": "50gbit"})}, "network.link.bandwidth: 50gbit"),
        (
            {"network": star(4, link={"bandwidth": "1mbit"}), "time": {"dilation": 200}},
            "1mbit on link .* is 5kbit after dilation",
        ),
        ({"network": star(4, link={"delay": "1h"})}, "network.link.delay: 3600s"),
        (
            {"time": {"duration": "10ms"}, "evaluate": {"every": "10ms"}},
            "time.duration: got 10ms; one round takes",
        ),
        ({"evaluate": {"every": "61s"}}, "evaluate.every: got 61s; it must be at most time.duration, 60s"),
        ({"evaluate": {"every": "1ms"}}, "60,000 snapshots per node"),
    ],
)
def test_impossible_experiments_name_their_key(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        plan_of(**sections)
    assert len(error.value.message.splitlines()) == 1


def test_all_impossible_settings_are_reported_together() -> None:
    with pytest.raises(InputError) as error:
        plan_of(
            network=star(4, stragglers={"count": 5}),
            compute={"slow_nodes": {"count": 5}},
            evaluate={"every": "1h"},
        )
    assert [line.split(":")[0] for line in error.value.message.splitlines()] == [
        "evaluate.every",
        "network.stragglers.count",
        "compute.slow_nodes.count",
    ]


def test_a_congestion_control_the_kernel_lacks() -> None:
    with pytest.raises(MachineError, match="got vegas; this kernel has: reno, cubic") as error:
        plan_of(network=star(2, tcp={"congestion_control": "vegas"}))
    assert "modprobe tcp_vegas" in str(error.value)
