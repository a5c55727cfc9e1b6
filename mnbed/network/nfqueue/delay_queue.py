"""Link delay for kernels without netem: packets wait in an NFQUEUE at the destination host.

A path's whole delay is applied once, where the packet arrives: never on the sender's egress, where TCP small queues
would throttle the sender. Jitter and loss of the path are applied there, too. One process serves every host. It gets a
notice of each packet with nothing but the IP header, which tells the source and so the path; the packets stay in the
kernel, GSO packets in one piece. At a host that may lose a source's packets the kernel cuts them up first, so that
frames are lost one by one.

When packets come fast, notices are read and verdicts given once per tick; otherwise at once.

Run as `python -m mnbed.network.nfqueue.delay_queue`: JSON lines on standard input, answers on standard output:

    {"tick_s", "hosts": [{"pid", "gso", "seed", "sources": {address: EFFECT}}],
     "interfaces": [[pid, [name, ...]], ...]}              all of the network's                           -> ready
    {"update": [{"host": number, "sources": {...}}]}       new delays from now on                         -> done
    {"statistics": true}                                   what happened since the last time -> one line of statistics
    (standard input closes)                                                                  -> one line of statistics

EFFECT is [delay_s, jitter_s, distribution, loss, [[seed, p, r, loss_bad, loss_good], ...]]. The last are the links that
lose packets in bursts: a link is identified by its seed, and all paths over it share its state.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from mnbed.network.nfqueue import steering
from mnbed.network.nfqueue.delay_line import DelayLine, Released
from mnbed.network.nfqueue.delay_spread import spread
from mnbed.network.nfqueue.loss_chain import LossChains
from mnbed.network.nfqueue.path_effect import PathEffect
from node_agent.descriptors import PreciseWait

# linux/netlink.h, linux/netfilter/nfnetlink_queue.h
_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_SO_RCVBUFFORCE = 33
_QUEUE_SUBSYSTEM = 3 << 8
_MSG_PACKET, _MSG_VERDICT = _QUEUE_SUBSYSTEM, _QUEUE_SUBSYSTEM | 1
_MSG_CONFIG, _MSG_VERDICT_BATCH = _QUEUE_SUBSYSTEM | 2, _QUEUE_SUBSYSTEM | 3
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_CMD_BIND, _COPY_PACKET, _FLAG_GSO = 1, 2, 4
_ATTRIBUTE_VERDICT_HEADER = 2
_DROP, _ACCEPT = 0, 1
_CLONE_NEWNET = 0x40000000
_MSG_DONTWAIT = 0x40

# The IPv4 header without options. The notice ends with it, and the source is its last word but one.
_COPY_BYTES = 20
# Packets that may wait at one host: 500 Mbit/s of full-size packets for 300 ms are 12,400; more room costs nothing.
QUEUE_LENGTH = 200_000
# Receive buffer of each netlink socket: about 200 bytes of notice per packet that this process has not read yet.
_RECEIVE_BUFFER_BYTES = 16 << 20
# From a packet's arrival to its notice here, and from a timer's expiry until the packet goes up the stack: subtracted
# from every delay. Round trips are then 0.2 ms too long on idle links and 0.2 ms too short on busy ones, where this
# process is awake already (bench/fidelity.py; the report's measured round trips). Deadlines this close share a wake-up.
_LEAD_S = 150e-6
# With this many packets in a round of reading and releasing, packets come fast: the next round waits for its tick.
_BUSY_PACKETS = 4
# Notices read from the kernel in one call; their room; notices of one host before the others get their turn.
_NOTICES = 64
_NOTICE_BYTES = 256
_BURST = 512


@dataclass
class Statistics:
    """What the queues did, for the verdict."""

    packets: int = 0
    late_max_s: float = 0.0
    """The largest lateness of a packet."""
    late_over_1ms: int = 0
    """Packets released more than 1 ms late."""
    lost: int = 0
    """Packets that the kernel dropped because a queue or a socket was full."""
    dropped_on_request: int = 0
    """Packets dropped because the path loses packets."""
    processor_of_its_own: bool = False
    """Whether the network's packets were kept off the processor that this process ran on."""
    cpu_s: float = 0.0
    cpu_system_s: float = 0.0
    """The part of cpu_s spent in the kernel, where a released packet's way up the receiver's stack counts."""


class _Host:
    """One host's queue."""

    __slots__ = ("chains", "due", "gso", "line", "number", "paths", "rng", "socket")

    def __init__(
        self, number: int, sock: socket.socket, settings: Mapping[str, Any], chains: LossChains
    ) -> None:
        """`settings`: the host's entry in the first line; `chains`: of all links of the network."""
        self.number = number
        self.chains = chains
        self.socket = sock
        self.gso = bool(settings["gso"])
        self.line = DelayLine()
        self.rng = random.Random(settings["seed"])
        self.paths: dict[int, PathEffect] = {}
        self.due: float | None = None
        """The deadline under which the loop has this host."""
        self.change(settings["sources"])

    def change(self, sources: Mapping[str, Any]) -> None:
        """Give those sources new delays, from the next packet on. Raises OSError if a table is missing."""
        for address, (delay_s, jitter_s, distribution, loss, bursts) in sources.items():
            source = int(IPv4Address(address))
            if delay_s or jitter_s or loss or bursts:
                draw = spread(self.rng, delay_s, jitter_s, distribution) if jitter_s else None
                chains = tuple(self.chains.following(*burst) for burst in bursts)
                self.paths[source] = PathEffect(self.rng.random, delay_s, draw, loss, chains)
            else:
                self.paths.pop(source, None)
        if self.gso and any(path.lossy for path in self.paths.values()):
            # From now on frames are lost one by one.
            self.gso = False
            self.socket.send(_configuration(_NLM_F_REQUEST, *_gso_flag(False)))

    def take(self, number: int, source: int, arrived_s: float) -> int:
        """A packet has arrived. Returns its verdict, _DROP or _ACCEPT; -1: it waits."""
        path = self.paths.get(source)
        if path is None:
            return _ACCEPT
        if path.lossy and path.loses():
            return _DROP
        if path.draw is not None:
            self.line.add_spread(number, arrived_s + path.draw())
        elif path.delay_s:
            self.line.add(number, arrived_s, path.delay_s)
        else:
            return _ACCEPT
        return -1


_VERDICT_BODY = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0) + struct.pack(
    "=HH", 12, _ATTRIBUTE_VERDICT_HEADER
)


def _verdict(kind: int, verdict: int) -> bytes:
    """A verdict's message without its last four bytes, the id."""
    body = _VERDICT_BODY + struct.pack("!I", verdict)
    return struct.pack("=IHHII", 16 + len(body) + 4, kind, _NLM_F_REQUEST, 0, 0) + body


_ACCEPT_ALL_UP_TO = _verdict(_MSG_VERDICT_BATCH, _ACCEPT)
_ONE = {verdict: _verdict(_MSG_VERDICT, verdict) for verdict in (_DROP, _ACCEPT)}
_ID = struct.Struct("!I")
# In a notice: length and type of the message; id of the packet (the packet header is always the first attribute).
_HEAD = struct.Struct("=IH")
_ID_OFFSET = 24


def _attribute(kind: int, payload: bytes) -> bytes:
    padding = b"\0" * (-len(payload) % 4)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + padding


def _gso_flag(on: bool) -> tuple[bytes, bytes]:
    """Attributes that say whether GSO packets come in one piece."""
    return (
        _attribute(_CFG_FLAGS, struct.pack("!I", _FLAG_GSO if on else 0)),
        _attribute(_CFG_MASK, struct.pack("!I", _FLAG_GSO)),
    )


def _configuration(flags: int, *attributes: bytes) -> bytes:
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), _MSG_CONFIG, flags, 0, 0) + body


def _configure(sock: socket.socket, *attributes: bytes) -> None:
    """Send one configuration message and wait for the kernel's answer. Raises OSError with its errno."""
    sock.send(_configuration(_NLM_F_REQUEST | _NLM_F_ACK, *attributes))
    answer = sock.recv(4096)
    error = struct.unpack_from("=i", answer, 16)[0]
    if error:
        raise OSError(-error, f"NFQUEUE: {os.strerror(-error)}")


def _open_queue(gso: bool) -> socket.socket:
    """Bind queue 0 in the calling thread's network namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    sock.bind((0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    sock.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
    _configure(sock, _attribute(_CFG_CMD, struct.pack("!BBH", _CMD_BIND, 0, socket.AF_INET)))
    _configure(
        sock,
        _attribute(_CFG_PARAMS, struct.pack("!IB", _COPY_BYTES, _COPY_PACKET)),
        _attribute(_CFG_QUEUE_MAXLEN, struct.pack("!I", QUEUE_LENGTH)),
        *_gso_flag(gso),
    )
    sock.setblocking(False)
    return sock


class _IoVector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _MessageHeader(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("num_vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    _fields_ = [("header", _MessageHeader), ("length", ctypes.c_uint)]


class _Inbox:
    """Room for many notices, filled in one system call."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self.data = ctypes.create_string_buffer(_NOTICES * _NOTICE_BYTES)
        self._vectors = (_IoVector * _NOTICES)()
        self._messages = (_Message * _NOTICES)()
        for number in range(_NOTICES):
            self._vectors[number].base = ctypes.addressof(self.data) + number * _NOTICE_BYTES
            self._vectors[number].length = _NOTICE_BYTES
            self._messages[number].header.vectors = ctypes.addressof(self._vectors[number])
            self._messages[number].header.num_vectors = 1
        self._address = ctypes.addressof(self._messages)
        self._receive = libc.recvmmsg
        self._receive.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]

    def fill(self, descriptor: int) -> int:
        """Returns how many notices came; they are _NOTICE_BYTES apart in `data`."""
        return max(0, int(self._receive(descriptor, self._address, _NOTICES, _MSG_DONTWAIT, None)))


class _Delayer:
    """All queues of all hosts, and the loop that serves them."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """`settings`: the first line of standard input. Raises OSError."""
        self.statistics = Statistics()
        self._reported: tuple[float, float, float] = (0, 0.0, 0.0)
        """Lost packets and processor time that earlier statistics have reported."""
        self._tick_s = float(settings["tick_s"])
        self._poll = select.epoll()
        self._hosts: list[_Host | None] = []
        self._by_descriptor: dict[int, _Host] = {}
        # (deadline, number of the host); an entry is valid only while it is the host's `due`.
        self._due: list[tuple[float, int]] = []
        self._namespaces: list[int] = []
        chains = LossChains(lambda seed: random.Random(seed).random)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wait = PreciseWait(self._poll.fileno())
        self._inbox = _Inbox(self._libc)
        self._orders = b""
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for number, entry in enumerate(settings["hosts"]):
            namespace = os.open(f"/proc/{entry['pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            _enter(self._libc, namespace)
            host = _Host(number, _open_queue(entry["gso"]), entry, chains)
            self._namespaces.append(namespace)
            self._hosts.append(host)
            self._by_descriptor[host.socket.fileno()] = host
            self._poll.register(host.socket.fileno(), select.EPOLLIN)
        _enter(self._libc, self._home)
        self.statistics.processor_of_its_own = self._keep_a_processor(settings.get("interfaces") or ())

    def _keep_a_processor(self, interfaces: Iterable[tuple[int, list[str]]]) -> bool:
        """Stay on one processor, and have every interface's packets processed on the others."""
        processor = steering.processor_to_keep()
        if processor is None:
            return False

        def enter(pid: int) -> None:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(self._libc, namespace)
            finally:
                os.close(namespace)

        try:
            steering.steer(interfaces, steering.mask_without(processor), enter)
        except OSError:
            # No such feature in this kernel, or no right to mount: lateness is counted in any case.
            return False
        finally:
            _enter(self._libc, self._home)
        os.sched_setaffinity(0, {processor})
        return True

    def run(self, orders_descriptor: int) -> None:
        """Serve the queues and carry out orders, until `orders_descriptor` reaches its end."""
        self._poll.register(orders_descriptor, select.EPOLLIN | select.EPOLLHUP)
        due, monotonic = self._due, time.monotonic
        busy, last = False, monotonic()
        while True:
            now = monotonic()
            wait = None if not due else due[0][0] - _LEAD_S - now
            if wait is None or wait > 0:
                self._wait(wait)
                now = monotonic()
            if busy and now - last < self._tick_s:
                time.sleep(self._tick_s - (now - last))
                now = monotonic()
            # On average, packets of a tick arrived in the middle of it.
            arrived = now - min(now - last, self._tick_s) / 2 if busy else now
            last = now
            before = self.statistics.packets
            taken = 0
            for descriptor, _ in self._poll.poll(0):
                if descriptor == orders_descriptor:
                    if not self._obey(os.read(orders_descriptor, 1 << 16)):
                        return
                else:
                    taken += self._read(self._by_descriptor[descriptor], arrived)
            horizon = now + (self._tick_s / 2 if busy else _LEAD_S)
            while due and due[0][0] <= horizon:
                deadline, number = heapq.heappop(due)
                host = self._hosts[number]
                if host is not None and host.due == deadline:
                    self._release(host, horizon, now)
            busy = taken + self.statistics.packets - before >= _BUSY_PACKETS

    def _obey(self, data: bytes) -> bool:
        """Carry out the orders in this data; False at their end."""
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            try:
                order = json.loads(line)
                if "statistics" in order:
                    print(json.dumps(asdict(self.take_statistics())), flush=True)
                    continue
                for change in order["update"]:
                    host = self._hosts[change["host"]]
                    assert host is not None
                    host.change(change["sources"])
            except (OSError, ValueError, KeyError) as error:
                print(f"failed: {error}", flush=True)
            else:
                print("done", flush=True)
        return bool(data)

    def _read(self, host: _Host, arrived_s: float) -> int:
        """Read the notices of packets that have arrived at one host; returns how many."""
        data, inbox = self._inbox.data, self._inbox
        head, identity = _HEAD.unpack_from, _ID.unpack_from
        descriptor, take = host.socket.fileno(), host.take
        verdicts: list[bytes] = []
        total = 0
        while total < _BURST:
            count = inbox.fill(descriptor)
            total += count
            for offset in range(0, count * _NOTICE_BYTES, _NOTICE_BYTES):
                length, kind = head(data, offset)
                if kind != _MSG_PACKET:
                    continue
                (number,) = identity(data, offset + _ID_OFFSET)
                (source,) = identity(data, offset + length - 8)
                verdict = take(number, source, arrived_s)
                if verdict >= 0:
                    verdicts.append(_ONE[verdict] + _ID.pack(number))
                    self.statistics.packets += 1
                    self.statistics.dropped_on_request += verdict == _DROP
            if count < _NOTICES:
                break
        if verdicts:
            host.socket.send(b"".join(verdicts))
        self._schedule(host)
        return total

    def _schedule(self, host: _Host) -> None:
        deadline = host.line.next_deadline()
        if deadline is not None and (host.due is None or deadline < host.due):
            host.due = deadline
            heapq.heappush(self._due, (deadline, host.number))

    def _release(self, host: _Host, horizon_s: float, now_s: float) -> None:
        host.due = None
        released = host.line.release(horizon_s, now_s)
        if released is not None:
            _send_verdicts(host.socket, released)
            statistics = self.statistics
            statistics.packets += released.count
            statistics.late_over_1ms += released.late
            statistics.late_max_s = max(statistics.late_max_s, released.longest_late_s)
        self._schedule(host)

    def take_statistics(self) -> Statistics:
        """What happened since the last call."""
        taken = self.statistics
        self.statistics = Statistics(processor_of_its_own=taken.processor_of_its_own)
        lost, used = self._count_lost(), os.times()
        now = (lost, used.user + used.system, used.system)
        taken.lost, taken.cpu_s, taken.cpu_system_s = (
            int(now[0] - self._reported[0]),
            now[1] - self._reported[1],
            now[2] - self._reported[2],
        )
        self._reported = now
        return taken

    def _count_lost(self) -> int:
        """What the kernel has dropped so far, from each namespace's own table."""
        lost = 0
        for namespace in self._namespaces:
            with contextlib.suppress(OSError):
                _enter(self._libc, namespace)
                for line in Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text().splitlines():
                    fields = line.split()
                    lost += int(fields[5]) + int(fields[6])
        _enter(self._libc, self._home)
        return lost


def _send_verdicts(sock: socket.socket, released: Released) -> None:
    if released.up_to is not None:
        sock.send(_ACCEPT_ALL_UP_TO + _ID.pack(released.up_to))
    accept = _ONE[_ACCEPT]
    # Several messages in one: up to 32 kB.
    for start in range(0, len(released.single), 1000):
        sock.send(b"".join(accept + _ID.pack(number) for number in released.single[start : start + 1000]))


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot enter a network namespace: {os.strerror(error)}")


def _raise_priority() -> None:
    """Real-time priority if allowed, else the best nice value: lateness here is an error in every delay."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)


def _first_line() -> bytes:
    """The first line of standard input; the controller writes no more before it has read `ready`."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1 << 16)
        if not data:
            break
        line += data
    return line


def main() -> int:
    """Read orders, serve, report."""
    try:
        delayer = _Delayer(json.loads(_first_line()))
    except (OSError, ValueError, KeyError) as error:
        print(f"failed: {error}", flush=True)
        return 1
    _raise_priority()
    gc.collect()
    gc.freeze()
    gc.disable()
    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        delayer.run(0)
    with contextlib.suppress(BrokenPipeError):  # nobody is left to read them
        os.write(1, json.dumps(asdict(delayer.take_statistics())).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
