"""Link delay for kernels without netem: packets wait in an NFQUEUE at the destination host.

A path's whole delay is applied once, where the packet arrives: never on the sender's egress, where TCP small queues
would throttle the sender. One process serves every host. It holds ids and deadlines only (copy mode META), and lets
packets go with batch verdicts; the packets themselves stay in the kernel, GSO packets in one piece.

All packets of one queue wait equally long, so ids leave in the order they came, and one verdict frees a whole run of
them.

Run as `python -m mnbed.network.delay_queue`: orders come as one JSON line on standard input, "ready" and, at the
end, one JSON line of statistics go to standard output. It ends when standard input closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# linux/netlink.h, linux/netfilter/nfnetlink_queue.h
_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_SO_RCVBUFFORCE = 33
_QUEUE_SUBSYSTEM = 3 << 8
_MSG_PACKET, _MSG_VERDICT_BATCH, _MSG_CONFIG = _QUEUE_SUBSYSTEM, _QUEUE_SUBSYSTEM | 3, _QUEUE_SUBSYSTEM | 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_CMD_BIND, _COPY_META, _FLAG_GSO = 1, 1, 4
_ATTRIBUTE_PACKET_HEADER, _ATTRIBUTE_VERDICT_HEADER = 1, 2
_ACCEPT = 1
_CLONE_NEWNET = 0x40000000

# Packets that may wait in one queue: 500 Mbit/s of full-size packets for 300 ms are 12,400; far above is free.
QUEUE_LENGTH = 200_000
# Receive buffer of each netlink socket: about 200 bytes of notice per packet that this process has not read yet.
_RECEIVE_BUFFER_BYTES = 16 << 20
# From a packet's arrival to its notice here, and from a timer's expiry to the packet's way up the stack: taken off
# every delay. Round trips are then 0.1 ms long on idle links and 0.1 ms short on busy ones, where this process is awake
# already (bench/link_fidelity.py; the report's measured round trips). Deadlines that close share a wake-up.
_LEAD_S = 80e-6
# Notices read from one socket before the others and the deadlines get their turn.
_BURST = 256


@dataclass
class Statistics:
    """What the queues did, for the verdict."""

    packets: int = 0
    late_max_s: float = 0.0
    """The longest a packet waited beyond its time."""
    late_over_1ms: int = 0
    """Packets released more than 1 ms late."""
    lost: int = 0
    """Packets the kernel dropped for want of room in a queue or a socket."""
    cpu_s: float = 0.0


class _Queue:
    """One NFQUEUE: the packets of one host that wait equally long."""

    __slots__ = ("deadlines", "delay_s", "socket", "verdict", "waiting")

    def __init__(self, sock: socket.socket, number: int, delay_s: float) -> None:
        self.socket = sock
        self.delay_s = delay_s
        self.deadlines: deque[float] = deque()
        self.waiting: deque[int] = deque()
        # The verdict message but for its last four bytes, the highest id it frees.
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, number) + struct.pack(
            "=HH", 12, _ATTRIBUTE_VERDICT_HEADER
        )
        body += struct.pack("!I", _ACCEPT)
        self.verdict = (
            struct.pack("=IHHII", 16 + len(body) + 4, _MSG_VERDICT_BATCH, _NLM_F_REQUEST, 0, 0) + body
        )

    def release(self, now: float, statistics: Statistics) -> None:
        """Let go every packet that is due."""
        horizon = now + _LEAD_S
        deadlines, waiting = self.deadlines, self.waiting
        late, count, last = now - deadlines[0], 0, -1
        while deadlines and deadlines[0] <= horizon:
            deadlines.popleft()
            last = waiting.popleft()
            count += 1
        if last >= 0:
            self.socket.send(self.verdict + struct.pack("!I", last))
            statistics.packets += count
            if late > 1e-3:
                statistics.late_over_1ms += count
            if late > statistics.late_max_s:
                statistics.late_max_s = late


def _attribute(kind: int, payload: bytes) -> bytes:
    padding = b"\0" * (-len(payload) % 4)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + padding


def _configure(sock: socket.socket, number: int, *attributes: bytes) -> None:
    """Send one configuration message and wait for the kernel's answer. Raises OSError with its errno."""
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, number) + b"".join(attributes)
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    sock.send(struct.pack("=IHHII", 16 + len(body), _MSG_CONFIG, flags, 0, 0) + body)
    answer = sock.recv(4096)
    error = struct.unpack_from("=i", answer, 16)[0]
    if error:
        raise OSError(-error, f"NFQUEUE {number}: {os.strerror(-error)}")


def _open_queues(delays_s: dict[int, float]) -> list[_Queue]:
    """Bind the queues in the calling thread's network namespace, on one netlink socket."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    sock.bind((0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    sock.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
    queues = []
    for number, delay_s in delays_s.items():
        _configure(sock, number, _attribute(_CFG_CMD, struct.pack("!BBH", _CMD_BIND, 0, socket.AF_INET)))
        _configure(
            sock,
            number,
            _attribute(_CFG_PARAMS, struct.pack("!IB", 0, _COPY_META)),
            _attribute(_CFG_QUEUE_MAXLEN, struct.pack("!I", QUEUE_LENGTH)),
            _attribute(_CFG_FLAGS, struct.pack("!I", _FLAG_GSO)),
            _attribute(_CFG_MASK, struct.pack("!I", _FLAG_GSO)),
        )
        queues.append(_Queue(sock, number, delay_s))
    sock.setblocking(False)
    return queues


class _Delayer:
    """All queues of all hosts, and the loop that serves them."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.statistics = Statistics()
        self._poll = select.epoll()
        self._queues: dict[int, dict[int, _Queue]] = {}
        self._due: list[tuple[float, int, _Queue]] = []
        self._pushed = 0
        self._namespaces: list[int] = []
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for host in orders["hosts"]:
            namespace = os.open(f"/proc/{host['pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            _enter(libc, namespace)
            delays_s = {int(number): delay_s for number, delay_s in host["queues"].items()}
            queues = _open_queues(delays_s)
            self._namespaces.append(namespace)
            if queues:
                descriptor = queues[0].socket.fileno()
                self._queues[descriptor] = dict(zip(delays_s, queues, strict=True))
                self._poll.register(descriptor, select.EPOLLIN)
        _enter(libc, home)
        self._libc, self._home = libc, home

    def run(self, stop_descriptor: int) -> None:
        """Serve until `stop_descriptor` reaches its end."""
        self._poll.register(stop_descriptor, select.EPOLLIN | select.EPOLLHUP)
        poll_descriptor = [self._poll.fileno()]
        buffer = bytearray(8192)
        due, monotonic = self._due, time.monotonic
        while True:
            # epoll's own time-out has milliseconds only; select on the epoll descriptor has microseconds.
            wait = None if not due else due[0][0] - _LEAD_S - monotonic()
            if wait is None or wait > 0:
                select.select(poll_descriptor, (), (), wait)
            for descriptor, _ in self._poll.poll(0):
                if descriptor == stop_descriptor:
                    if not os.read(stop_descriptor, 4096):
                        return
                else:
                    self._read(descriptor, buffer)
            now = monotonic()
            while due and due[0][0] <= now + _LEAD_S:
                queue = heapq.heappop(due)[2]
                queue.release(now, self.statistics)
                if queue.deadlines:
                    self._schedule(queue)

    def _schedule(self, queue: _Queue) -> None:
        self._pushed += 1
        heapq.heappush(self._due, (queue.deadlines[0], self._pushed, queue))

    def _read(self, descriptor: int, buffer: bytearray) -> None:
        """Take in the notices of packets that have arrived at one host."""
        queues = self._queues[descriptor]
        receive = next(iter(queues.values())).socket.recv_into
        now = time.monotonic()
        for _ in range(_BURST):
            try:
                receive(buffer)
            except BlockingIOError:
                return
            # The packet header is always the notice's first attribute: type at 22, id at 24; the queue's number at 18.
            if buffer[5] != 3 or buffer[4] != 0 or buffer[22] != _ATTRIBUTE_PACKET_HEADER:
                continue
            queue = queues[buffer[18] << 8 | buffer[19]]
            queue.waiting.append(int.from_bytes(buffer[24:28], "big"))
            queue.deadlines.append(now + queue.delay_s)
            if len(queue.deadlines) == 1:
                self._schedule(queue)

    def count_lost(self) -> None:
        """Add up what the kernel dropped, from each namespace's own table."""
        for namespace in self._namespaces:
            with contextlib.suppress(OSError):
                _enter(self._libc, namespace)
                for line in Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text().splitlines():
                    fields = line.split()
                    self.statistics.lost += int(fields[5]) + int(fields[6])
        _enter(self._libc, self._home)


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot enter a network namespace: {os.strerror(error)}")


def _raise_priority() -> None:
    """Real-time priority where it is allowed, else the best nice value: lateness here is error in every delay."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)


def main() -> int:
    """Read orders, serve, report."""
    line = sys.stdin.buffer.readline()
    try:
        delayer = _Delayer(json.loads(line))
    except (OSError, ValueError, KeyError) as error:
        print(f"failed: {error}", flush=True)
        return 1
    _raise_priority()
    gc.collect()
    gc.freeze()
    gc.disable()
    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        delayer.run(sys.stdin.fileno())
    delayer.count_lost()
    delayer.statistics.cpu_s = time.process_time()
    print(json.dumps(asdict(delayer.statistics)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
