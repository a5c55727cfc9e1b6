"""Puts a link's properties on its two interfaces, and reads them back from the kernel.

The arrangement is TCLink's: HTB for the rate and, below it, netem for delay, jitter and loss. Where the delay is made
by `delay_queue`, a bfifo of the same waiting room stands in netem's place. All rates and times here are wall-clock.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mininet.link import TCIntf, TCLink

from mnbed.links import FRAME_BYTES, LinkProperties

# HTB serves a class each time its tokens allow. A burst of one millisecond rides over the wake-ups of a busy machine;
# three frames are the least that keeps a slow link gap-free.
_BURST_S = 1e-3
_MIN_BURST_FRAMES = 3
# tc prints rates with four digits and keeps times in ticks of 64 ns; beyond this a difference is a wrong setting.
_RATE_TOLERANCE = 0.001
_TIME_TOLERANCE_S = 2e-6


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the qdiscs of one interface do, as far as tc shows it: netem keeps its table of delays to itself."""

    rate_bps: float
    delay_s: float
    jitter_s: float
    loss: float
    reorder: float
    limit: int
    """Bytes for bfifo, packets for netem."""


def gso_bytes(wire: LinkProperties) -> int:
    """Largest segment a host may hand to its interface in one piece.

    An eighth of the waiting room: TCP takes what its own host's queue drops for congestion, and with half of it links
    of 200 to 500 Mbit/s lost 2 to 3 % of their rate; with an eighth, less than 0.2 %. In small queues a quarter does,
    up to 5 frames, which spares the processor packets.
    """
    room = wire.waiting_room_packets
    return max(2 * FRAME_BYTES, min(65536, max(room // 8, min(room // 4, 5)) * FRAME_BYTES))


def asked_shape(wire: LinkProperties, backend: str) -> Shape:
    """What one interface's qdiscs must do for these properties under that delay backend."""
    if backend != "netem":
        return Shape(
            rate_bps=wire.bandwidth_bps,
            delay_s=0,
            jitter_s=0,
            loss=0,
            reorder=0,
            limit=wire.waiting_room_packets * FRAME_BYTES,
        )
    in_flight = math.ceil(wire.bandwidth_bps * (wire.delay_s + 4 * wire.jitter_s) / 8 / FRAME_BYTES)
    return Shape(
        rate_bps=wire.bandwidth_bps,
        delay_s=wire.delay_s,
        jitter_s=wire.jitter_s,
        loss=wire.loss,
        reorder=wire.reorder,
        limit=wire.waiting_room_packets + in_flight,
    )


def burst_bytes(rate_bps: float) -> int:
    """What a link that has rested lets pass at once."""
    return max(_MIN_BURST_FRAMES * FRAME_BYTES, round(rate_bps * _BURST_S / 8))


def tc_commands(device: str, wire: LinkProperties, backend: str) -> list[str]:
    """Lines for `tc -batch` that shape a fresh interface."""
    return [f"qdisc add dev {device} root handle 5: htb default 1", *_put("add", device, wire, backend)]


def change_commands(device: str, wire: LinkProperties, backend: str) -> list[str]:
    """Lines for `tc -batch` that give a shaped interface other properties; what waits in its queue stays there.

    One thing netem cannot do: go back from a table of delays to none, that is to a uniform distribution. `feasible`
    refuses it.
    """
    return _put("change", device, wire, backend)


def _put(verb: str, device: str, wire: LinkProperties, backend: str) -> list[str]:
    shape = asked_shape(wire, backend)
    burst = burst_bytes(shape.rate_bps)
    rate = (
        f"class {verb} dev {device} parent 5: classid 5:1 htb rate {round(shape.rate_bps)}bit "
        f"burst {burst} cburst {burst} quantum {FRAME_BYTES}"
    )
    queue = f"qdisc {verb} dev {device} parent 5:1 handle 10:"
    if backend != "netem":
        return [rate, f"{queue} bfifo limit {shape.limit}"]
    netem = f"{queue} netem limit {shape.limit} delay {shape.delay_s * 1e6:.3f}us"
    if shape.jitter_s:
        netem += f" {shape.jitter_s * 1e6:.3f}us"
        # Without a table netem draws from the uniform distribution.
        netem += "" if wire.distribution == "uniform" else f" distribution {wire.distribution}"
    if shape.loss:
        netem += f" loss {shape.loss * 100:.6f}%"
    if shape.reorder:
        netem += f" reorder {shape.reorder * 100:.6f}%"
    return [rate, netem]


def show_script(devices: list[str]) -> str:
    """Shell text whose output `parse_shapes` reads.

    Classes as text: tc prints them as JSON only in recent versions.
    """
    return (
        f"tc -s -j qdisc show; echo; for d in {' '.join(devices)}; do echo @$d; tc class show dev $d; done\n"
    )


def json_documents(text: str) -> Iterator[Any]:
    """The JSON documents that `tc -j -batch` prints one behind the other."""
    decoder = json.JSONDecoder()
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return
        document, position = decoder.raw_decode(text, position)
        yield document


@dataclass(frozen=True, kw_only=True)
class Readback:
    """What the kernel says of one interface."""

    shape: Shape | None
    """None where the interface is not shaped."""
    bytes_sent: int
    drops: int
    backlog_bytes: int


_RATE = re.compile(r"^class htb 5:1 .*?\brate (\d+)([KMGT]?)bit")
_RATE_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def parse_shapes(text: str, devices: list[str]) -> dict[str, Readback]:
    """Interface -> what the kernel says, from the output of `show_script(devices)`."""
    head, *lines = text.splitlines()
    qdiscs = json.loads(head)
    rates: dict[str, float] = {}
    device = ""
    for line in lines:
        if line.startswith("@"):
            device = line[1:]
        elif match := _RATE.match(line):
            rates[device] = float(match[1]) * _RATE_SCALE[match[2]]
    readbacks = {}
    for device in devices:
        mine = {row["kind"]: row for row in qdiscs if row.get("dev") == device}
        leaf = mine.get("netem") or mine.get("bfifo")
        root = mine.get("htb", {})
        shape = None
        if leaf is not None and device in rates:
            options = leaf["options"]
            delay = options.get("delay", {})
            shape = Shape(
                rate_bps=rates[device],
                delay_s=float(delay.get("delay", 0.0)),
                jitter_s=float(delay.get("jitter", 0.0)),
                loss=float(options.get("loss-random", {}).get("loss", 0.0)),
                reorder=float(options.get("reorder", {}).get("reorder", 0.0)),
                limit=int(options["limit"]),
            )
        readbacks[device] = Readback(
            shape=shape,
            bytes_sent=int(root.get("bytes", 0)),
            drops=int(root.get("drops", 0)),
            backlog_bytes=int(root.get("backlog", 0)),
        )
    return readbacks


def differences(asked: Shape, found: Shape | None) -> list[str]:
    """Every property that the kernel does not have as it was asked for, in words."""
    if found is None:
        return ["no shaping is there"]
    wrong = []
    if abs(found.rate_bps - asked.rate_bps) > _RATE_TOLERANCE * asked.rate_bps + 8:
        wrong.append(f"rate {found.rate_bps:.0f} bit/s instead of {asked.rate_bps:.0f}")
    for name in ("delay_s", "jitter_s"):
        if abs(getattr(found, name) - getattr(asked, name)) > _TIME_TOLERANCE_S:
            wrong.append(f"{name[:-2]} {getattr(found, name):g} s instead of {getattr(asked, name):g} s")
    for name in ("loss", "reorder"):
        if abs(getattr(found, name) - getattr(asked, name)) > 1e-6:
            wrong.append(f"{name} {getattr(found, name):g} instead of {getattr(asked, name):g}")
    if found.limit != asked.limit:
        wrong.append(f"queue limit {found.limit} instead of {asked.limit}")
    return wrong


class ShapedIntf(TCIntf):  # type: ignore[misc]
    """An interface shaped by a LinkProperties.

    Mininet's own TCIntf runs half a dozen shell commands per interface, prints tc's errors and goes on, and leaves
    links above 1 Gbit/s unshaped. This one only notes what is asked; `build` configures all interfaces of a node in
    one batch and reads them back.
    """

    def config(self, wire: LinkProperties | None = None, backend: str = "none", **_: Any) -> dict[str, Any]:
        """Note the properties; nothing is run yet."""
        self.wire = wire
        self.backend = backend
        return {}

    def tc_commands(self) -> list[str]:
        """Lines for `tc -batch` that put the noted properties in force."""
        return [] if self.wire is None else tc_commands(self.name, self.wire, self.backend)


class ShapedLink(TCLink):  # type: ignore[misc]
    """A TCLink whose two ends are ShapedIntf."""

    def __init__(self, node1: Any, node2: Any, **parameters: Any) -> None:
        super().__init__(node1, node2, cls1=ShapedIntf, cls2=ShapedIntf, **parameters)
