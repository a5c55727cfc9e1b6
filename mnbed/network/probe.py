"""Measures every link of a new network before anything else runs on it, to check that it is as asked for.

Frames with their own EtherType leave by one end's interface, through its qdiscs like any packet, and are time-stamped
by the kernel where they arrive; the switch behind drops them, since nobody has their address. So each direction of each
link is measured by itself, without TCP and without the rest of the path. Whole paths get datagrams from host to host,
which show delays that are applied at the destination, and that forwarding works.

    delay      some small frames into an empty queue: the shortest time that one of them took
    lateness   the longest of these times, less the delay that was asked for
    bandwidth  full frames, so many that the queue never runs empty: bits over the time between arrivals

One process sends and receives everything, a few directions at a time: no more than this machine can send without
keeping links waiting. If a link still had to wait, or is not as asked for, its direction is measured again alone; if it
still has to wait, it is marked `limited_by_machine`.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import selectors
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mnbed.errors import RunError
from mnbed.network import shaping
from mnbed.network.build import Network
from mnbed.network.path_probe import ProbedPath, pairs_of, probe_paths
from mnbed.plan.model import Direction, Plan
from mnbed.plan.properties import FRAME_BYTES
from node_agent.namespaces import enter_network_namespace
from node_agent.streams import stream

# IEEE 802: for local experiments.
_ETHERTYPE = 0x88B5
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_SO_TIMESTAMPNS, _SO_ATTACH_FILTER = 35, 26
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER_BYTES = 4 << 20
# Destination that no interface has; then the source, locally administered too.
_ADDRESSES = bytes.fromhex("020000000001020000000002")
_HEADER = struct.Struct("!12sHHI")  # addresses, type, number of the direction, number of the frame
_SMALL_BYTES = 64
_SMALL_FRAMES = 7
_SMALL_GAP_S = 2e-3
# If a small frame is later than this, its direction is measured again: in a machine whose timers are late, that is so
# every time; a hiccup is not.
_LATE_WALL_S = 10e-3
# Full frames over which a rate is measured, beyond what an idle HTB lets pass at once: 50 ms of them, within limits.
_TRAIN_S = 0.05
_MIN_TRAIN, _MAX_TRAIN = 12, 400
# Jitter shifts the first and the last arrival: over this many jitters that is an error of 1 to 2 %. Over less than half
# of that the rate cannot be measured.
_TRAIN_JITTERS = 100
# A train on a slow link takes at most this long: its frames are smaller.
_MAX_TRAIN_S = 1.5
# Full frames that one Python process can send and receive each second, with room for other work.
_FRAMES_PER_S = 15_000.0
# How late a train may be, beyond the time that it should take.
_PATIENCE_S = 1.0
# How often a direction is measured at most, and by how much its rate may be off to stop earlier.
_TRIALS, _GOOD_ENOUGH = 3, 0.02
_MAX_DIRECTIONS = 400
_MAX_PATHS = 240


@dataclass(frozen=True, kw_only=True)
class ProbedDirection:
    """One direction of one link, emulated units. None: nothing arrived, or it was not measured."""

    source: str
    target: str
    asked_bps: float
    measured_bps: float | None
    asked_delay_s: float
    measured_delay_s: float | None
    late_s: float | None
    """How much longer than asked the slowest small frame took; None if delays are meant to vary."""
    limited_by_machine: bool
    """Whether the link had to wait for this machine: its bandwidth is at least what was measured."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The measurements."""

    directions: list[ProbedDirection]
    paths: list[ProbedPath]
    skipped: int
    """Directions of a very large network that were left out."""
    took_wall_s: float


def probe_network(network: Network, check: Callable[[], None] = lambda: None) -> Probe:
    """Measure all directions, or a sample of a very large network's, and the paths of some pairs of hosts.

    `check` is called often and may raise to abort. The network must be silent. Raises OSError if sockets are refused,
    RunError if the network has stopped carrying packets.
    """
    began = time.monotonic()
    plan = network.plan
    chosen = _sample(plan, list(plan.directions.values()), _MAX_DIRECTIONS, "directions")
    pairs = _sample(plan, pairs_of(plan), _MAX_PATHS, "paths")
    with contextlib.ExitStack() as stack:
        tracks = _open_tracks(stack, network, chosen)
        loop = _Loop(stack, tracks, check)
        _measure_delays(loop, tracks)
        # Before the trains, which leave a link without credit for a while.
        paths = probe_paths(stack, network, pairs, check)
        for batch in _batches(tracks):
            loop.run(batch, small=False)
        for track in tracks:
            _measure_again(loop, track)
    if (ailment := network.ailment()) is not None:
        raise RunError(ailment)
    return Probe(
        # If destinations delay whole paths, links have no delay of their own.
        directions=[_result(track, plan.dilation, plan.delay_backend != "nfqueue") for track in tracks],
        paths=paths,
        skipped=len(plan.directions) - len(chosen),
        took_wall_s=round(time.monotonic() - began, 3),
    )


def _measure_delays(loop: _Loop, tracks: Sequence[_Track]) -> None:
    """Directions with a late frame are measured again; what is late in every trial, the machine or the link is."""
    loop.run(tracks, small=True)
    for _ in range(_TRIALS - 1):
        late = [track for track in tracks if track.late_s is not None and track.late_s > _LATE_WALL_S]
        if not late:
            return
        before = [(track.delay_s, track.late_s) for track in late]
        loop.run(late, small=True)
        for track, (delay_s, late_s) in zip(late, before, strict=True):
            track.delay_s = _lesser(track.delay_s, delay_s)
            track.late_s = _lesser(track.late_s, late_s)


def _lesser(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)


def _measure_again(loop: _Loop, track: _Track) -> None:
    """If the rate is not as asked, take the fastest of some trials of this direction alone.

    A hiccup of the machine can make a link look slow, or starved; nothing makes a slow link look fast.
    """
    asked = track.direction.wire.bandwidth_bps
    for _ in range(_TRIALS - 1):
        first, starved = track.rate_bps, track.starved
        if not starved and (first is None or abs(first / asked - 1) < _GOOD_ENOUGH):
            return
        loop.run([track], small=False)
        if first is not None and not starved and (track.starved or (track.rate_bps or 0.0) < first):
            track.rate_bps, track.starved = first, False


def _sample(plan: Plan, items: list[Any], most: int, name: str) -> list[Any]:
    if len(items) <= most:
        return items
    rng = stream(plan.experiment.seed, "probe", name)
    return [items[index] for index in sorted(rng.choice(len(items), most, replace=False))]


@dataclass
class _Track:
    """One direction while it is measured; times are wall-clock."""

    number: int
    direction: Direction
    limit: int
    """Full frames that its queue and its delay line can hold."""
    sender: socket.socket
    receiver: socket.socket
    frame_bytes: int
    train: int
    """Frames of a train; the first `burst` of them may pass at once."""
    burst: int
    delayed_s: float
    """The longest that a frame is held back before it may be sent, by this direction's own netem."""
    jitter_s: float
    """How much that varies."""
    sent: int = 0
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    """(number of the frame, the kernel's time stamp)."""
    sent_at: list[float] = field(default_factory=list)
    highest: int = -1
    delay_s: float | None = None
    late_s: float | None = None
    rate_bps: float | None = None
    starved: bool = False
    """Whether its queue ran empty in the middle of the train."""

    @property
    def seconds(self) -> float:
        """What a train should take."""
        return self.train * self.frame_bytes * 8 / self.direction.wire.bandwidth_bps

    def begin(self) -> None:
        self.sent, self.highest, self.starved = 0, -1, False
        self.arrivals, self.sent_at = [], []


def _open_tracks(stack: contextlib.ExitStack, network: Network, chosen: Sequence[Direction]) -> list[_Track]:
    """Two sockets for each direction, made in its ends' namespaces by a separate thread, which enters them."""

    sockets: list[socket.socket] = []
    stack.callback(_close_all, sockets)

    def open_all() -> list[_Track]:
        pairs: dict[int, list[socket.socket]] = {}
        places = sorted(
            [(direction.source, 0, number) for number, direction in enumerate(chosen)]
            + [(direction.target, 1, number) for number, direction in enumerate(chosen)]
        )
        here = None
        for node, end, number in places:
            if node != here:
                enter_network_namespace(network.pid(node))
                here = node
            direction = chosen[number]
            sock = _receiver(direction.arrival) if end else _sender(direction.interface)
            sockets.append(sock)
            pairs.setdefault(number, [sock, sock])[end] = sock
        return [_track(number, chosen[number], network.plan, *pairs[number]) for number in range(len(chosen))]

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(open_all).result()


def _close_all(sockets: Sequence[socket.socket]) -> None:
    """Close many at a time: the kernel takes ten milliseconds for each packet socket, most of it waiting."""
    with ThreadPoolExecutor(max_workers=32) as pool:
        for _ in pool.map(socket.socket.close, sockets):
            pass


def _sender(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.bind((interface, 0))
    # What waits in the qdiscs counts towards this socket's buffer.
    sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
    return sock


def _receiver(interface: str) -> socket.socket:
    """Sees every frame of our type before a bridge takes it away."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    # Only our type: load the half-word at 12; if it is ours, return the first bytes, else nothing.
    code = b"".join(
        struct.pack("HBBI", *line)
        for line in ((0x28, 0, 0, 12), (0x15, 0, 1, _ETHERTYPE), (0x06, 0, 0, _SMALL_BYTES), (0x06, 0, 0, 0))
    )
    buffer = ctypes.create_string_buffer(code)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 4, ctypes.addressof(buffer)))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    # Since Linux 4.20; without it our own frames come back, and are told apart by their number.
    with contextlib.suppress(OSError):
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.bind((interface, _ETH_P_ALL))
    return sock


def _track(
    number: int, direction: Direction, plan: Plan, sender: socket.socket, receiver: socket.socket
) -> _Track:
    wire = direction.wire
    room = wire.waiting_room_packets
    # If netem makes the delay, what is on its way counts towards its limit, too.
    limit = shaping.asked_shape(wire, "netem").limit if plan.delay_backend == "netem" else room
    frame = min(FRAME_BYTES, max(_SMALL_BYTES, round(wire.bandwidth_bps * _MAX_TRAIN_S / _MIN_TRAIN / 8)))
    # Twice the first burst, which does not count.
    burst = math.ceil(2 * shaping.burst_bytes(wire.bandwidth_bps) / frame)
    train_s = max(_TRAIN_S, _TRAIN_JITTERS * wire.jitter_s)
    train = min(_MAX_TRAIN, max(_MIN_TRAIN, math.ceil(wire.bandwidth_bps * train_s / frame / 8)))
    if frame < FRAME_BYTES:
        burst = math.ceil(shaping.burst_bytes(wire.bandwidth_bps) / frame)
    return _Track(
        number=number,
        direction=direction,
        limit=max(2, limit - 1),
        sender=sender,
        receiver=receiver,
        frame_bytes=frame,
        train=burst + train,
        burst=burst,
        delayed_s=wire.delay_s + 4 * wire.jitter_s if plan.delay_backend == "netem" else 0.0,
        jitter_s=wire.jitter_s if plan.delay_backend == "netem" else 0.0,
    )


def _batches(tracks: Sequence[_Track]) -> Iterator[list[_Track]]:
    """Tracks that may run together, the slow ones first."""
    batch: list[_Track] = []
    load = 0.0
    for track in sorted(tracks, key=lambda track: track.train / track.seconds):
        frames_per_s = track.train / track.seconds
        if batch and load + frames_per_s > _FRAMES_PER_S:
            yield batch
            batch, load = [], 0.0
        batch.append(track)
        load += frames_per_s
    if batch:
        yield batch


class _Loop:
    """Sends and receives the frames of some tracks at a time."""

    def __init__(
        self, stack: contextlib.ExitStack, tracks: Sequence[_Track], check: Callable[[], None]
    ) -> None:
        self._check = check
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._ancillary = socket.CMSG_SPACE(16)
        for track in tracks:
            self._selector.register(track.receiver, selectors.EVENT_READ, track)

    def run(self, tracks: Sequence[_Track], *, small: bool) -> None:
        """Measure the delay (small) or the bandwidth of these tracks, and put it into them."""
        for track in tracks:
            track.begin()
        total = _SMALL_FRAMES if small else None
        began = time.monotonic()
        slowest = max(track.delayed_s for track in tracks)
        took = _SMALL_FRAMES * _SMALL_GAP_S if small else max(track.seconds for track in tracks)
        deadline = began + slowest + took + _PATIENCE_S
        while time.monotonic() < deadline:
            self._check()
            for track in tracks:
                if small:
                    due = int((time.monotonic() - began) / _SMALL_GAP_S) + 1
                    self._send(track, min(due, _SMALL_FRAMES), _SMALL_BYTES)
                else:
                    self._send(track, min(track.train, track.highest + 1 + track.limit), track.frame_bytes)
            if all(track.highest + 1 >= (total or track.train) for track in tracks):
                break
            for key, _ in self._selector.select(_SMALL_GAP_S / 4 if small else 0.05):
                self._receive(key.data)
        for track in tracks:
            if small:
                track.delay_s = _least_delay(track)
                track.late_s = _lateness(track)
            else:
                track.rate_bps = _rate_bps(track)
                track.starved = _starved(track)

    def _send(self, track: _Track, until: int, size: int) -> None:
        padding = bytes(size - _HEADER.size)
        while track.sent < until:
            frame = _HEADER.pack(_ADDRESSES, _ETHERTYPE, track.number & 0xFFFF, track.sent) + padding
            track.sent_at.append(time.time())
            try:
                track.sender.send(frame)
            except (BlockingIOError, OSError):
                # No room now: the queue is far from empty.
                track.sent_at.pop()
                return
            track.sent += 1

    def _receive(self, track: _Track) -> None:
        while True:
            try:
                data, ancillary, _, _ = track.receiver.recvmsg(_SMALL_BYTES, self._ancillary)
            except BlockingIOError:
                return
            _, _, direction, number = _HEADER.unpack_from(data)
            if direction != track.number & 0xFFFF or number >= track.sent:
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            track.arrivals.append((number, seconds + nanoseconds / 1e9))
            track.highest = max(track.highest, number)


def _least_delay(track: _Track) -> float | None:
    """Wall seconds; the median if delays are meant to vary."""
    taken = [at - track.sent_at[number] for number, at in track.arrivals]
    if not taken:
        return None
    return statistics.median(taken) if track.direction.wire.jitter_s else min(taken)


def _lateness(track: _Track) -> float | None:
    """Wall seconds that the slowest frame took beyond the direction's own delay and its frames' time on the link."""
    if track.jitter_s or not track.arrivals:
        return None
    slowest = max(at - track.sent_at[number] for number, at in track.arrivals)
    on_link = _SMALL_FRAMES * _SMALL_BYTES * 8 / track.direction.wire.bandwidth_bps
    return max(0.0, slowest - track.delayed_s - on_link)


def _starved(track: _Track) -> bool:
    """Whether some frame reached the queue only after the one before it had left."""
    return any(
        track.burst <= number < len(track.sent_at) - 1 and track.sent_at[number + 1] + track.delayed_s > at
        for number, at in track.arrivals
    )


def _rate_bps(track: _Track) -> float | None:
    """Over the arrivals after the first burst."""
    times = sorted(at for number, at in track.arrivals if number >= track.burst)
    if len(times) < _MIN_TRAIN // 2 or times[-1] <= times[0]:
        return None
    if times[-1] - times[0] < _TRAIN_JITTERS / 2 * track.jitter_s:
        return None
    return (len(times) - 1) * track.frame_bytes * 8 / (times[-1] - times[0])


def _result(track: _Track, dilation: float, delays: bool) -> ProbedDirection:
    asked = track.direction.asked
    return ProbedDirection(
        source=track.direction.source,
        target=track.direction.target,
        asked_bps=asked.bandwidth_bps,
        measured_bps=None if track.rate_bps is None else track.rate_bps * dilation,
        asked_delay_s=asked.delay_s,
        measured_delay_s=None if track.delay_s is None or not delays else track.delay_s / dilation,
        late_s=None if track.late_s is None else track.late_s / dilation,
        limited_by_machine=track.starved,
    )
