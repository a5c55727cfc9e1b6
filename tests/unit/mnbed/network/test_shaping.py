"""From link properties to tc's words, and from tc's output back."""

from __future__ import annotations

import pytest

from mnbed.network.shaping import (
    asked_shape,
    change_commands,
    differences,
    gso_bytes,
    parse_shapes,
    tc_commands,
)
from mnbed.plan.properties import FRAME_BYTES, LinkProperties

LINK = LinkProperties(bandwidth_bps=60e6, delay_s=0.02)
OUTPUT = (
    '[{"kind":"htb","handle":"5:","dev":"h1-eth0","root":true,"options":{},"bytes":1000,"drops":3,"backlog":70},'
    '{"kind":"netem","handle":"10:","dev":"h1-eth0","parent":"5:1","options":{"limit":299,"delay":{"delay":0.02,'
    '"jitter":0,"correlation":0}}},{"kind":"noqueue","dev":"lo","options":{}}]\n'
    "@h1-eth0\nclass htb 5:1 root leaf 10: prio 0 rate 60Mbit ceil 60Mbit burst 7500b cburst 7500b \n"
    " Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) \n"
)


def test_netem_hangs_below_htb_as_tclink_has_it() -> None:
    lines = tc_commands("h1-eth0", LINK, "netem")
    assert lines[0] == "qdisc add dev h1-eth0 root handle 5: htb default 1"
    assert "classid 5:1 htb rate 60000000bit burst 7500" in lines[1]
    assert lines[2] == "qdisc add dev h1-eth0 parent 5:1 handle 10: netem limit 299 delay 20000.000us"


def test_jitter_and_loss_reach_netem() -> None:
    link = LinkProperties(bandwidth_bps=1e6, delay_s=0.01, jitter_s=0.002, loss=0.01)
    assert tc_commands("x", link, "netem")[2].endswith(
        "delay 10000.000us 2000.000us distribution normal loss 1.000000%"
    )


@pytest.mark.parametrize(
    ("distribution", "words"),
    [("uniform", ""), ("pareto", " distribution pareto"), ("normal", " distribution normal")],
)
def test_the_distribution_is_netems_own(distribution: str, words: str) -> None:
    link = LinkProperties(
        bandwidth_bps=1e6, delay_s=0.01, jitter_s=0.002, distribution=distribution, reorder=0.25
    )
    assert tc_commands("x", link, "netem")[2].endswith(f"2000.000us{words} reorder 25.000000%")


def test_a_change_keeps_handles_and_so_the_queue() -> None:
    for backend in ("netem", "nfqueue"):
        added, changed = tc_commands("x", LINK, backend)[1:], change_commands("x", LINK, backend)
        assert changed == [line.replace(" add ", " change ") for line in added]


def test_without_netem_a_bfifo_has_the_same_room() -> None:
    assert tc_commands("x", LINK, "nfqueue")[2].endswith(f"bfifo limit {199 * FRAME_BYTES}")


def test_more_than_a_gigabit_is_shaped_too() -> None:
    """Mininet's TCIntf ignores a rate this high."""
    assert "rate 2500000000bit" in tc_commands("x", LinkProperties(bandwidth_bps=2.5e9), "nfqueue")[1]


def test_the_queue_is_one_bandwidth_delay_product_and_at_least_20_packets() -> None:
    assert asked_shape(LinkProperties(bandwidth_bps=1e6, delay_s=0.001), "none").limit == 20 * FRAME_BYTES
    assert asked_shape(LinkProperties(bandwidth_bps=1e9, delay_s=0.01), "none").limit == 1652 * FRAME_BYTES
    assert asked_shape(LinkProperties(bandwidth_bps=1e9, queue_packets=5), "none").limit == 5 * FRAME_BYTES


def test_dilation_leaves_the_queue_alone() -> None:
    assert asked_shape(LINK.dilated(7), "none").limit == asked_shape(LINK, "none").limit


def test_a_gso_packet_fits_the_queue_twice() -> None:
    for bandwidth in (1e6, 60e6, 1e9, 1e10):
        link = LinkProperties(bandwidth_bps=bandwidth, delay_s=0.001)
        assert 2 * FRAME_BYTES <= gso_bytes(link) <= 65536
        assert 2 * gso_bytes(link) <= asked_shape(link, "none").limit


def test_what_the_kernel_says_is_read_back() -> None:
    readback = parse_shapes(OUTPUT, ["h1-eth0"])["h1-eth0"]
    assert (readback.bytes_sent, readback.drops, readback.backlog_bytes) == (1000, 3, 70)
    assert differences(asked_shape(LINK, "netem"), readback.shape) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("60Mbit", "48Mbit"), "rate 48000000 bit/s instead of 60000000"),
        (('"delay":0.02', '"delay":0.021'), "delay 0.021 s instead of 0.02 s"),
        (('"limit":299', '"limit":1000'), "queue limit 1000 instead of 299"),
        (
            ('"limit":299', '"limit":299,"loss-random":{"loss":0.01,"correlation":0}'),
            "loss 0.01 instead of 0",
        ),
        (
            ('"limit":299', '"limit":299,"reorder":{"reorder":0.25,"correlation":0}'),
            "reorder 0.25 instead of 0",
        ),
        (("htb 5:1 root", "htb 5:2 root"), "not shaped at all"),
    ],
)
def test_every_difference_is_named(change: tuple[str, str], words: str) -> None:
    readback = parse_shapes(OUTPUT.replace(*change), ["h1-eth0"])["h1-eth0"]
    assert differences(asked_shape(LINK, "netem"), readback.shape) == [words]
