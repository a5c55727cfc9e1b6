"""The counters of every interface's root qdisc, read over rtnetlink: fast enough to sample 60 hosts while they train.

One netlink socket per namespace is opened and kept; a socket stays in the namespace in which it was made.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mnbed.network.namespaces import network_namespace
from node_agent.namespaces import enter_network_namespace

# linux/rtnetlink.h, linux/pkt_sched.h, linux/gen_stats.h
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWQDISC, _RTM_GETQDISC = 16, 18, 36, 38
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TC_ROOT = 0xFFFFFFFF
_IFLA_IFNAME, _IFLA_OPERSTATE, _OPERSTATE_UP = 3, 16, 6
_TCA_STATS2, _STATS_BASIC, _STATS_QUEUE = 7, 1, 3


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """Totals of one interface's root qdisc: Ethernet frames as the link carries them, GSO packets counted in full."""

    bytes_sent: int
    drops: int
    backlog_bytes: int


class CounterReader:
    """Reads all interfaces of a set of nodes."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """`pids`: node -> a process in its namespace. Raises OSError."""
        self._sockets = _open_sockets(pids)
        self._names = {
            node: {index: name for index, name, _ in _interfaces(sock)}
            for node, sock in self._sockets.items()
        }

    def read(self) -> dict[str, InterfaceCounters]:
        """Interface -> its counters, now. Raises OSError."""
        counters = {}
        for node, sock in self._sockets.items():
            for index, totals in _root_qdiscs(sock):
                name = self._names[node].get(index)
                if name is not None:
                    counters[name] = totals
        return counters

    def down(self) -> set[str]:
        """Names of the interfaces that do not carry packets yet, or no longer."""
        return {
            name
            for sock in self._sockets.values()
            for _, name, state in _interfaces(sock)
            if state != _OPERSTATE_UP
        }

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()


def _open_sockets(pids: Mapping[str, int]) -> dict[str, socket.socket]:
    """One rtnetlink socket in each namespace, under the name of one of its nodes.

    They are made in a separate thread, since entering a namespace changes the thread.
    """

    def open_all() -> dict[str, socket.socket]:
        sockets = {}
        for node, pid in {network_namespace(pid): (node, pid) for node, pid in pids.items()}.values():
            enter_network_namespace(pid)
            sockets[node] = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        return sockets

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(open_all).result()


def _dump(sock: socket.socket, request: int, body: bytes, answer: int) -> Iterator[memoryview]:
    """The bodies of all messages of a dump. Raises OSError with the kernel's error number."""
    sock.send(struct.pack("=IHHII", 16 + len(body), request, _NLM_F_REQUEST | _NLM_F_DUMP, 0, 0) + body)
    while True:
        data = memoryview(sock.recv(1 << 17))
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                error = -struct.unpack_from("=i", data, 16)[0]
                raise OSError(error, os.strerror(error))
            if kind == answer:
                yield data[16:length]
            data = data[(length + 3) & ~3 :]


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def _interfaces(sock: socket.socket) -> Iterator[tuple[int, str, int]]:
    """(index, name, operational state) of every interface."""
    for message in _dump(sock, _RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0), _RTM_NEWLINK):
        (index,) = struct.unpack_from("=i", message, 4)
        attributes = dict(_attributes(message[16:]))
        yield index, bytes(attributes[_IFLA_IFNAME]).rstrip(b"\0").decode(), attributes[_IFLA_OPERSTATE][0]


def _root_qdiscs(sock: socket.socket) -> Iterator[tuple[int, InterfaceCounters]]:
    for message in _dump(sock, _RTM_GETQDISC, struct.pack("=BxxxiIII", 0, 0, 0, 0, 0), _RTM_NEWQDISC):
        index, _, parent = struct.unpack_from("=iII", message, 4)
        if parent != _TC_ROOT:
            continue
        for kind, value in _attributes(message[20:]):
            if kind == _TCA_STATS2:
                stats = dict(_attributes(value))
                num_bytes = struct.unpack_from("=Q", stats[_STATS_BASIC])[0]
                _, backlog, drops = struct.unpack_from("=III", stats[_STATS_QUEUE])
                yield index, InterfaceCounters(num_bytes, drops, backlog)
