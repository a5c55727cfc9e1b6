"""Saturating TCP flows between emulated hosts, all driven by one sending and one receiving process."""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from _network import result_of

from mnbed.network.build import Network
from node_agent.namespaces import enter_network_namespace

PORT = 7000
# Share of TCP payload in a full frame of 1514 bytes, with time stamps on.
PAYLOAD_SHARE = 1448 / 1514
# The same unsent data that agents leave to the kernel.
_NOTSENT_LOWAT, _NOTSENT_BYTES = 25, 16384


def _in_namespaces(network: Network, hosts: Sequence[str], make: Any) -> list[Any]:
    """One object for each of those hosts, made in the host's namespace."""

    def make_all() -> list[Any]:
        objects = []
        for position, host in enumerate(hosts):
            enter_network_namespace(network.pid(host))
            objects.append(make(position))
        return objects

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(make_all).result()


def _fork(work: Any) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.write(write, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    os.close(write)
    return pid, read


def _receive(listeners: list[socket.socket], until: float, window: tuple[float, float]) -> list[int]:
    """Bytes that arrived at each listener's connections inside the window."""
    selector = selectors.DefaultSelector()
    for number, listener in enumerate(listeners):
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, (number, True))
    received = [0] * len(listeners)
    buffer = bytearray(1 << 18)
    while (now := time.monotonic()) < until:
        for key, _ in selector.select(min(0.05, until - now)):
            number, listens = key.data
            if listens:
                connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, (number, False))
                continue
            size = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
            if size == 0:
                selector.unregister(key.fileobj)
            elif window[0] <= time.monotonic() < window[1]:
                received[number] += size
    return received


def _send(sockets: list[socket.socket], until: float) -> int:
    selector = selectors.DefaultSelector()
    for sock in sockets:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_WRITE)
    block = bytes(1 << 16)
    while time.monotonic() < until:
        for key, _ in selector.select(0.05):
            try:
                key.fileobj.send(block)  # type: ignore[union-attr]
            except BlockingIOError:
                pass
    return 0


def tcp_flows(
    network: Network, pairs: Sequence[tuple[str, str]], seconds: float, skip: float = 1.0
) -> list[float]:
    """Payload bit/s of each (sender, receiver) flow, all at once, counted for `seconds` after the first `skip`."""

    def listen(position: int) -> socket.socket:
        return socket.create_server(("0.0.0.0", PORT + position))

    def connect(position: int) -> socket.socket:
        address = (network.plan.host(pairs[position][1]).address, PORT + position)
        sock = socket.create_connection(address, timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _NOTSENT_BYTES)
        return sock

    listeners = _in_namespaces(network, [target for _, target in pairs], listen)
    senders = _in_namespaces(network, [source for source, _ in pairs], connect)
    began = time.monotonic() + 0.2
    window = (began + skip, began + skip + seconds)
    receiver = _fork(lambda: _receive(listeners, window[1] + 0.1, window))
    sender = _fork(lambda: _send(senders, window[1] + 0.05))
    for sock in (*listeners, *senders):
        sock.close()
    received = result_of(receiver)
    result_of(sender)
    return [8 * size / seconds for size in received]
