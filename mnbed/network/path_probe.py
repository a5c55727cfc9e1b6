"""Measures the delay of whole paths with datagrams from host to host, through forwarding and delays of any kind.

For probe.py, in a network in which nothing else runs. It knows nothing of single links.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mnbed.network.build import Network
from mnbed.plan.model import Plan
from node_agent.namespaces import enter_network_namespace

# How often each path is measured, and how much of a datagram is read.
_ROUNDS, _BYTES = 7, 64
# How long to wait for the last ones, beyond their delay.
_PATIENCE_S = 0.5
_PATHS_AT_ONCE = 8
_PATH_PORT = 9


@dataclass(frozen=True, kw_only=True)
class ProbedPath:
    """The way from one host to another, emulated units."""

    source: str
    target: str
    asked_s: float
    measured_s: float | None


def pairs_of(plan: Plan) -> list[tuple[str, str]]:
    """Every host with up to four others, near and far in the hosts' order."""
    names = [host.name for host in plan.hosts]
    steps = sorted({step % len(names) for step in (1, 2, len(names) // 2, len(names) - 1)} - {0})
    return [(name, names[(index + step) % len(names)]) for index, name in enumerate(names) for step in steps]


def probe_paths(
    stack: contextlib.ExitStack, network: Network, pairs: Sequence[tuple[str, str]], check: Callable[[], None]
) -> list[ProbedPath]:
    """Send some datagrams from host to host, to all pairs in turn in each round."""
    plan = network.plan
    hosts = {host.name: host for host in plan.hosts}
    sockets = _open_host_sockets(stack, network, sorted({name for pair in pairs for name in pair}))
    selector = stack.enter_context(selectors.DefaultSelector())
    for sock in sockets.values():
        selector.register(sock, selectors.EVENT_READ)
    sent: dict[tuple[int, int], float] = {}
    taken: dict[int, list[float]] = {number: [] for number in range(len(pairs))}
    message = struct.Struct("!HH")

    def receive(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and sent:
            for key, _ in selector.select(left):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data = key.fileobj.recv(_BYTES)  # type: ignore[union-attr]
                        now = time.monotonic()
                        number, repetition = message.unpack_from(data)
                        if (at := sent.pop((number, repetition), None)) is not None:
                            taken[number].append(now - at)

    paths = [plan.path(source, target) for source, target in pairs]
    longest = max((path.delay_s + 4 * path.jitter_s for path in paths), default=0.0)
    for repetition in range(_ROUNDS):
        for number, (source, target) in enumerate(pairs):
            sent[number, repetition] = time.monotonic()
            with contextlib.suppress(OSError):
                sockets[source].sendto(
                    message.pack(number, repetition) + bytes(16), (hosts[target].address, _PATH_PORT)
                )
            if number % _PATHS_AT_ONCE == _PATHS_AT_ONCE - 1:
                check()
                receive(1e-3)
    receive(longest + _PATIENCE_S)
    return [
        ProbedPath(
            source=source,
            target=target,
            asked_s=path.delay_s / plan.dilation,
            measured_s=_typical(taken[number], path.jitter_s > 0, plan.dilation),
        )
        for number, ((source, target), path) in enumerate(zip(pairs, paths, strict=True))
    ]


def _typical(taken: Sequence[float], jittered: bool, dilation: float) -> float | None:
    if not taken:
        return None
    return (statistics.median(taken) if jittered else min(taken)) / dilation


def _open_host_sockets(
    stack: contextlib.ExitStack, network: Network, names: Sequence[str]
) -> dict[str, socket.socket]:
    addresses = {host.name: host.address for host in network.plan.hosts}

    def open_all() -> dict[str, socket.socket]:
        sockets = {}
        for name in names:
            enter_network_namespace(network.pid(name))
            sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            stack.callback(sockets[name].close)
            sockets[name].bind((addresses[name], _PATH_PORT))
        return sockets

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(open_all).result()
