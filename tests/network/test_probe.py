"""The probe on links whose true state is known: as requested, wrong in one direction, jittered and lossy, down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mnbed.network.build import Network, build_network
from mnbed.network.live_changes import LiveNetwork
from mnbed.network.namespaces import run_in
from mnbed.network.probe import Probe, probe_network
from tests.network.plans import facts, plan_for

pytestmark = pytest.mark.root

# A guest kernel runs on one processor, which it shares with the other tests, and takes long over a system call.
_RATE_ERROR = 0.1
_DELAY_ERROR_S = 1.5e-3


def rates(probe: Probe) -> dict[tuple[str, str], float | None]:
    return {(probed.source, probed.target): probed.measured_bps for probed in probe.directions}


@pytest.fixture(scope="module")
def uneven() -> Iterator[Network]:
    """Two switches; one link is faster towards its host than from it; dilation 2."""
    links: list[dict[str, Any]] = [
        {"link": ["h1", "s1"], "bandwidth": "1mbit", "one_way": True},
        {"link": ["s1", "s2"], "delay": "8ms"},
    ]
    plan = plan_for(
        {"kind": "line", "nodes": 2},
        bandwidth="40mbit",
        delay="3ms",
        network={"links": links},
        time={"dilation": 2},
    )
    with build_network(plan) as network:
        yield network


def test_every_direction_is_as_asked(uneven: Network) -> None:
    probe = probe_network(uneven)
    assert len(probe.directions) == len(uneven.plan.directions) == 6
    assert probe.skipped == 0
    for probed in probe.directions:
        as_asked = probed.measured_bps == pytest.approx(probed.asked_bps, rel=_RATE_ERROR)
        assert as_asked or probed.limited_by_machine, probed
        if uneven.plan.delay_backend == "netem":
            assert probed.measured_delay_s == pytest.approx(probed.asked_delay_s, abs=_DELAY_ERROR_S / 2)
        else:
            assert probed.measured_delay_s is None
    assert {probed.asked_bps for probed in probe.directions} == {1e6, 40e6}
    assert [(path.source, path.target) for path in probe.paths] == [("h1", "h2"), ("h2", "h1")]
    for path in probe.paths:
        assert path.asked_s == pytest.approx(0.014)
        assert path.measured_s is not None
        # Never early; a busy machine is late by less than any of the links' delays.
        assert 0.014 - _DELAY_ERROR_S / 2 < path.measured_s < 0.014 + 2.5e-3


def test_a_single_wrong_direction_is_noticed(uneven: Network) -> None:
    change = (
        "class change dev s2-eth1 parent 5: classid 5:1 htb rate 16mbit burst 4542 cburst 4542 quantum 1514"
    )
    run_in(uneven.pid("s2"), ["tc", *change.split()], what="changing a rate")
    try:
        probe = probe_network(uneven)
        off = {
            (probed.source, probed.target): probed.measured_bps
            for probed in probe.directions
            if probed.measured_bps is not None
            and not probed.limited_by_machine
            and abs(probed.measured_bps / probed.asked_bps - 1) > 0.05
        }
        (ends,) = off
        assert uneven.plan.directions[ends].interface == "s2-eth1"
        # Far from the 40 Mbit/s that it had before.
        assert off[ends] == pytest.approx(32e6, rel=0.08)
    finally:
        with LiveNetwork.of(uneven) as live:
            live._run({"s2": f"tc {change.replace('16mbit', '20mbit')}\n"}, "mending")


def test_a_link_that_holds_some_frames_back_is_noticed(uneven: Network) -> None:
    """As machines with late timers do. Here each frame waits for those before it, and the first for none."""
    change = "class change dev s2-eth1 parent 5: classid 5:1 htb rate {} burst {} cburst {} quantum 1514"
    slow = change.format("4kbit", 64, 64)
    run_in(uneven.pid("s2"), ["tc", *slow.split()], what="changing a rate")
    try:
        probe = probe_network(uneven)
    finally:
        with LiveNetwork.of(uneven) as live:
            live._run({"s2": f"tc {change.format('20mbit', 4542, 4542)}\n"}, "mending")
    late = {(probed.source, probed.target): probed.late_s for probed in probe.directions}
    (ends,) = (ends for ends in late if uneven.plan.directions[ends].interface == "s2-eth1")
    # Five frames of 128 ms, or less where a busy machine sends them late; emulated time is half of that.
    held_s = late.pop(ends)
    assert held_s is not None
    assert held_s > 0.05
    assert all(late_s is not None and late_s < held_s for late_s in late.values())


def test_a_path_that_is_down_is_noticed(uneven: Network) -> None:
    with LiveNetwork.of(uneven) as live:
        live.set_link("s1", "s2", up=False)
        probe = probe_network(uneven)
        live.set_link("s1", "s2", up=True)
    assert [path.measured_s for path in probe.paths] == [None, None]
    # Each link by itself is as it was.
    assert all(probed.measured_bps is not None for probed in probe.directions)


def test_jitter_and_loss_do_not_disturb_the_probe() -> None:
    if not facts().netem:
        pytest.skip("links have no jitter of their own without netem")
    plan = plan_for(
        {"kind": "star", "nodes": 2},
        bandwidth="10mbit",
        delay="10ms",
        network={"link": {"bandwidth": "10mbit", "delay": "10ms", "jitter": "1ms", "loss": 0.02}},
    )
    with build_network(plan) as network:
        probe = probe_network(network)
    for probed in probe.directions:
        assert probed.measured_bps == pytest.approx(10e6, rel=0.06) or probed.limited_by_machine
        assert probed.measured_delay_s == pytest.approx(0.01, abs=2e-3)


@pytest.mark.no_guest  # it has too little memory
def test_a_star_of_60_takes_seconds_and_leaves_nothing() -> None:
    with build_network(plan_for({"kind": "star", "nodes": 60}, time={"dilation": 4})) as network:
        probe = probe_network(network)
        readbacks = network.read_back()
    # Under a second if nothing else runs.
    assert probe.took_wall_s < 10
    assert len(probe.directions) == 120
    # A moment in which this machine was busy is reported, and not mistaken for a slow link.
    off = [
        probed
        for probed in probe.directions
        if not probed.limited_by_machine and probed.measured_bps != pytest.approx(60e6, rel=_RATE_ERROR)
    ]
    assert off == []
    assert sum(not probed.limited_by_machine for probed in probe.directions) > 100
    assert all(end.drops == end.backlog_bytes == 0 for entry in readbacks for end in (entry.a, entry.b))


@pytest.mark.no_guest
def test_a_very_large_network_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnbed.network.probe._MAX_DIRECTIONS", 5)
    monkeypatch.setattr("mnbed.network.probe._MAX_PATHS", 3)
    with build_network(plan_for({"kind": "star", "nodes": 6})) as network:
        first, second = probe_network(network), probe_network(network)
    assert (len(first.directions), first.skipped, len(first.paths)) == (5, 7, 3)
    assert rates(first).keys() == rates(second).keys()
