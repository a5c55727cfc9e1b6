"""Puts a link's properties on its two interfaces, and reads them back from the kernel.

The arrangement is TCLink's: HTB for the rate and, below it, netem for delay, jitter and loss. If `delay_queue` makes
the delay, a bfifo with the same waiting room takes netem's place. All rates and times here are wall-clock.

If a host's packets are also limited by destination, HTB's class for the link has a child with its own queue for each
branch, and one for all other destinations. A child is guaranteed its share and borrows what others leave of the link,
up to its own rate: the link's rate and every branch's hold at the same time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mininet.link import TCIntf, TCLink

from mnbed.plan.model import Direction
from mnbed.plan.properties import FRAME_BYTES, PROPERTIES, LinkProperties

# HTB serves a class whenever its tokens allow. A burst of one millisecond bridges the wake-ups of a busy machine; three
# frames are the least that keeps a slow link free of gaps.
_BURST_S = 1e-3
_MIN_BURST_FRAMES = 3
# tc prints rates with four digits; a larger difference is a wrong setting.
_RATE_TOLERANCE = 0.001
# What netem does, as far as tc shows it.
_SHOWN = tuple(row for row in PROPERTIES if row.read_back is not None)

# Children of the link's class: 2 gets what no branch takes, the branches follow.
_REST, _FIRST_BRANCH = 2, 3
_FIRST_HANDLE = 0x10


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One branch of an interface, ready to be applied."""

    addresses: tuple[str, ...]
    """IPv4 addresses of its destinations."""
    wire: LinkProperties
    """Link and branch together: the lower rate, both delays."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the qdiscs of an interface do, as far as tc shows it; it does not show netem's table of delays."""

    rate_bps: float
    effects: Mapping[str, Any]
    """Field of LinkProperties -> its value, for those that tc shows; without netem, the values of an empty setting."""
    limit: int
    """Bytes for bfifo, packets for netem."""

    def record(self) -> dict[str, Any]:
        """The form in environment.json."""
        plain = asdict(self)
        return {"rate_bps": self.rate_bps, **plain["effects"], "limit": self.limit}


def leaves_of(
    direction: Direction, wire: LinkProperties, address_of: Callable[[str], str]
) -> tuple[Leaf, ...]:
    """The branches of that direction when its link has those properties."""
    return tuple(
        Leaf(addresses=tuple(map(address_of, branch.targets)), wire=wire.towards(branch.wire))
        for branch in direction.branches
    )


def gso_bytes(wire: LinkProperties, leaves: Sequence[Leaf] = ()) -> int:
    """Largest segment a host may hand to its interface in one piece.

    An eighth of the waiting room: TCP mistakes drops in its own host's queue for congestion, and with half the room
    links of 200 to 500 Mbit/s lost 2 to 3 % of their rate; with an eighth, less than 0.2 %. In small queues it is a
    quarter, up to 5 frames, which spares the processor packets.
    """
    room = min(queue.waiting_room_packets for queue in (wire, *(leaf.wire for leaf in leaves)))
    return max(2 * FRAME_BYTES, min(65536, max(room // 8, min(room // 4, 5)) * FRAME_BYTES))


def asked_shape(wire: LinkProperties, backend: str) -> Shape:
    """What one interface's qdiscs must do for these properties under that delay backend."""
    if backend != "netem":
        return Shape(
            rate_bps=wire.bandwidth_bps, effects=_effects({}), limit=wire.waiting_room_packets * FRAME_BYTES
        )
    in_flight = math.ceil(wire.bandwidth_bps * (wire.delay_s + 4 * wire.jitter_s) / 8 / FRAME_BYTES)
    return Shape(
        rate_bps=wire.bandwidth_bps,
        effects={row.field: getattr(wire, row.field) for row in _SHOWN},
        limit=wire.waiting_room_packets + in_flight,
    )


def _effects(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a qdisc does, by the options that tc shows."""
    return {row.field: row.read_back(options) for row in _SHOWN if row.read_back is not None}


def burst_bytes(rate_bps: float) -> int:
    """What an idle link lets pass at once."""
    return max(_MIN_BURST_FRAMES * FRAME_BYTES, round(rate_bps * _BURST_S / 8))


def tc_commands(device: str, wire: LinkProperties, backend: str, leaves: Sequence[Leaf] = ()) -> list[str]:
    """Lines for `tc -batch` that shape a fresh interface."""
    rest = _REST if leaves else 1
    root = f"qdisc add dev {device} root handle 5: htb default {rest:x}"
    return [root, *_put("add", device, wire, backend, leaves), *_filters(device, leaves)]


def change_commands(
    device: str, wire: LinkProperties, backend: str, leaves: Sequence[Leaf] = ()
) -> list[str]:
    """Lines for `tc -batch` that change a shaped interface's properties; what waits in its queue stays there.

    netem cannot go back from a table of delays to none, that is, to a uniform distribution; `plan.feasible` refuses
    that.
    """
    return _put("change", device, wire, backend, leaves)


def _put(verb: str, device: str, wire: LinkProperties, backend: str, leaves: Sequence[Leaf]) -> list[str]:
    if not leaves:
        return [_class(verb, device, 0, 1, wire, 1), _queue(verb, device, 1, 0, wire, backend)]
    lines = [_class(verb, device, 0, 1, wire, 1)]
    for minor, queue in enumerate((wire, *(leaf.wire for leaf in leaves)), start=_REST):
        lines.append(_class(verb, device, 1, minor, queue, len(leaves) + 1, wire.bandwidth_bps))
        lines.append(_queue(verb, device, minor, minor, queue, backend))
    return lines


def _class(
    verb: str,
    device: str,
    parent: int,
    minor: int,
    wire: LinkProperties,
    sharers: int,
    shared_bps: float | None = None,
) -> str:
    """One HTB class; one of `sharers` under a link's class is guaranteed its share of the link's rate only."""
    rate = wire.bandwidth_bps
    guaranteed = rate if shared_bps is None else min(rate, shared_bps / sharers)
    burst = burst_bytes(rate)
    ceiling = "" if shared_bps is None else f"ceil {round(rate)}bit "
    return (
        f"class {verb} dev {device} parent 5:{parent or ''} classid 5:{minor:x} htb "
        f"rate {max(8, round(guaranteed))}bit "
        f"{ceiling}burst {burst} cburst {burst} quantum {FRAME_BYTES}"
    )


def _queue(verb: str, device: str, parent: int, number: int, wire: LinkProperties, backend: str) -> str:
    shape = asked_shape(wire, backend)
    queue = f"qdisc {verb} dev {device} parent 5:{parent:x} handle {_FIRST_HANDLE + number:x}:"
    if backend != "netem":
        return f"{queue} bfifo limit {shape.limit}"
    return f"{queue} netem limit {shape.limit}" + "".join(row.netem(wire) for row in PROPERTIES)


def _filters(device: str, leaves: Sequence[Leaf]) -> list[str]:
    """Which branch a destination belongs to, by a hash of its address's last byte: as fast for 200 as for two."""
    if not leaves:
        return []
    begin = f"filter add dev {device} parent 5: protocol ip prio 1"
    lines = [
        f"{begin} handle 2: u32 divisor 256",
        f"{begin} u32 ht 800:: match ip dst 0.0.0.0/0 hashkey mask 0x000000ff at 16 link 2:",
    ]
    for minor, leaf in enumerate(leaves, start=_FIRST_BRANCH):
        for address in leaf.addresses:
            bucket = f"{int(address.rpartition('.')[2]):x}"
            lines.append(f"{begin} u32 ht 2:{bucket}: match ip dst {address}/32 flowid 5:{minor:x}")
    return lines


def show_script(devices: list[str]) -> str:
    """Shell text whose output `parse_shapes` reads.

    Classes as text: tc prints them as JSON only in recent versions.
    """
    return (
        f"tc -s -j qdisc show; echo; for d in {' '.join(devices)}; do echo @$d; tc class show dev $d; done\n"
    )


def json_documents(text: str) -> Iterator[Any]:
    """The JSON documents that `tc -j -batch` prints one after another."""
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
    """What the kernel reports about one interface."""

    shape: Shape | None
    """None if the interface is not shaped."""
    bytes_sent: int
    drops: int
    backlog_bytes: int
    branches: tuple[Shape, ...] = ()
    """The queues by destination, if there are any, in the order of the plan's branches."""


_CLASS = re.compile(r"^class htb 5:([0-9a-f]+) .*?\brate (\d+)([KMGT]?)bit ceil (\d+)([KMGT]?)bit")
_RATE_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def parse_shapes(text: str, devices: list[str]) -> dict[str, Readback]:
    """Interface -> what the kernel reports, from the output of `show_script(devices)`."""
    head, *lines = text.splitlines()
    # interface -> minor number of a class -> the most it may send
    rates: dict[str, dict[int, float]] = {device: {} for device in devices}
    device = ""
    for line in lines:
        if line.startswith("@"):
            device = line[1:]
        elif (match := _CLASS.match(line)) and device in rates:
            rates[device][int(match[1], 16)] = float(match[4]) * _RATE_SCALE[match[5]]
    queues: dict[str, dict[int, Mapping[str, Any]]] = {device: {} for device in devices}
    roots: dict[str, Mapping[str, Any]] = {}
    for row in json.loads(head):
        name = row.get("dev")
        if name not in queues:
            continue
        if row["kind"] == "htb":
            roots[name] = row
        elif row["kind"] in ("netem", "bfifo") and str(row.get("parent", "")).startswith("5:"):
            queues[name][int(row["parent"].partition(":")[2], 16)] = row["options"]
    return {device: _readback(rates[device], queues[device], roots.get(device, {})) for device in devices}


def _readback(
    rates: Mapping[int, float], queues: Mapping[int, Mapping[str, Any]], root: Mapping[str, Any]
) -> Readback:
    first = queues.get(1, queues.get(_REST))
    return Readback(
        shape=None if first is None or 1 not in rates else _shape(rates[1], first),
        bytes_sent=int(root.get("bytes", 0)),
        drops=int(root.get("drops", 0)),
        backlog_bytes=int(root.get("backlog", 0)),
        branches=tuple(
            _shape(rates.get(minor, 0.0), queues[minor]) for minor in sorted(queues) if minor >= _FIRST_BRANCH
        ),
    )


def _shape(rate_bps: float, options: Mapping[str, Any]) -> Shape:
    return Shape(rate_bps=rate_bps, effects=_effects(options), limit=int(options["limit"]))


def differences(asked: Shape, actual: Shape | None) -> list[str]:
    """Every property that differs in the kernel from what was asked, in words."""
    if actual is None:
        return ["not shaped at all"]
    wrong = []
    if abs(actual.rate_bps - asked.rate_bps) > _RATE_TOLERANCE * asked.rate_bps + 8:
        wrong.append(f"rate {actual.rate_bps:.0f} bit/s instead of {asked.rate_bps:.0f}")
    for row in _SHOWN:
        has, should = actual.effects[row.field], asked.effects[row.field]
        if not row.close(has, should):
            wrong.append(f"{row.key} {row.kernel_text(has)} instead of {row.kernel_text(should)}")
    if actual.limit != asked.limit:
        wrong.append(f"queue limit {actual.limit} instead of {asked.limit}")
    return wrong


def branch_differences(leaves: Sequence[Leaf], actual: Sequence[Shape], backend: str) -> list[str]:
    """The same for queues by destination: the first that differs, and how many more do."""
    if len(leaves) != len(actual):
        return [f"{len(actual)} queues by destination instead of {len(leaves)}"]
    wrong = [
        f"towards {leaf.addresses[0]}: {', '.join(texts)}"
        for leaf, shape in zip(leaves, actual, strict=True)
        if (texts := differences(asked_shape(leaf.wire, backend), shape))
    ]
    return [f"{wrong[0]} (and {len(wrong) - 1} more)" if len(wrong) > 1 else wrong[0]] if wrong else []


class ShapedIntf(TCIntf):  # type: ignore[misc]
    """An interface shaped by a LinkProperties.

    Mininet's own TCIntf runs half a dozen shell commands per interface, prints tc's errors and continues, and leaves
    links above 1 Gbit/s unshaped. This one only notes what is asked; `build` configures all interfaces of a node in
    one batch and reads them back.
    """

    def config(
        self,
        wire: LinkProperties | None = None,
        backend: str = "none",
        leaves: Sequence[Leaf] = (),
        **_: Any,
    ) -> dict[str, Any]:
        """Note the properties; nothing is run yet."""
        self.wire = wire
        self.backend = backend
        self.leaves = leaves
        return {}

    def tc_commands(self) -> list[str]:
        """Lines for `tc -batch` that apply the noted properties."""
        return [] if self.wire is None else tc_commands(self.name, self.wire, self.backend, self.leaves)


class ShapedLink(TCLink):  # type: ignore[misc]
    """A TCLink whose two ends are ShapedIntf."""

    def __init__(self, node1: Any, node2: Any, **parameters: Any) -> None:
        super().__init__(node1, node2, cls1=ShapedIntf, cls2=ShapedIntf, **parameters)
