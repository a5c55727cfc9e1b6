"""Transports over real TCP on loopback, and peers that the test itself plays byte by byte.

`Node` is one transport with everything that an agent has around it; it checks frames as agents do.
`Peer` is a peer of a node, played by the test: its listener, and connections that send what the test wants.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from node_agent import wire
from node_agent.algorithms import Outbox, Send
from node_agent.clock import EmulatedClock
from node_agent.control import ControlChannel
from node_agent.control_messages import Status
from node_agent.counters import Counters
from node_agent.incoming import receivers
from node_agent.journal import Journal, read_journal
from node_agent.limits import Limits
from node_agent.settings import AgentSettings, PeerSettings, ResumeSettings
from node_agent.transport import CannotListen, Transport

TOKEN = "5a" * 16
SEED = 7
MAX_ROUND = 1000
PATIENCE_S = 20.0
# Quick to connect again, so that tests need not wait.
_STATUS: Status = {
    "t": 0.0,
    "round": 0,
    "steps": 0,
    "train_loss": None,
    "counters": Counters().totals(),
}
QUICK = Limits(reconnect_s=0.02, status_wall_s=0.02)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        threading.Event().wait(0.002)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def payloads(round: int, num_fragments: int, num_parameters: int) -> list[memoryview]:
    """All fragments of a model; those of fragment i hold round * 100 + i."""
    return [
        memoryview(
            np.full(
                wire.fragment_size(num_parameters, num_fragments, index), round * 100 + index, "<f4"
            ).tobytes()
        )
        for index in range(num_fragments)
    ]


class Node:
    """One transport, its clock, journal, counters and controller."""

    def __init__(
        self,
        folder: Path,
        index: int,
        ports: Sequence[int],
        *,
        num_fragments: int = 1,
        num_parameters: int = 1000,
        exchange: str = "parallel",
        limits: Limits = QUICK,
        life: int = 0,
        status: Callable[[], Status] = lambda: _STATUS,
    ) -> None:
        self.index, self.name, self.port = index, f"h{index + 1}", ports[index]
        self.num_fragments, self.num_parameters = num_fragments, num_parameters
        self.counters = Counters()
        self.arrived: list[wire.Fragment] = []
        self.on_fragment: Callable[[wire.Fragment], Outbox | None] = lambda _: None
        self.peers: list[tuple[int, bool]] = []
        self.control_messages: list[Any] = []
        self.path = folder / f"{self.name}-{life}.jsonl"
        settings = AgentSettings(
            name=self.name,
            index=index,
            num_nodes=len(ports),
            address="127.0.0.1",
            port=ports[index],
            peers=tuple(
                PeerSettings(name=f"h{other + 1}", index=other, address="127.0.0.1", port=port)
                for other, port in enumerate(ports)
                if other != index
            ),
            token=TOKEN,
            run_directory=str(folder),
            control_socket="",
            seed=1,
            dilation=1.0,
            duration_s=60.0,
            step_time_s=0.01,
            snapshot_every_s=1.0,
            snapshot_model="current",
            algorithm={},
            task={},
            data_root="",
            ledger=True,
            max_round=MAX_ROUND,
            resume=ResumeSettings(life=life, round=0, steps=0, counters={}, snapshot=None) if life else None,
        )
        controlled, self.controller = socket.socketpair()
        self.control = ControlChannel(controlled)
        self.clock = EmulatedClock(time.monotonic(), 1.0)
        self.journal = Journal(self.path, self.name, self.clock.now)
        self._open = True
        try:
            self.transport = Transport(
                settings,
                counters=self.counters,
                journal=self.journal,
                new_receiver=receivers(
                    settings,
                    num_parameters=num_parameters,
                    num_fragments=num_fragments,
                    permutation_seed=SEED,
                ),
                on_fragment=self._take,
                on_peer=lambda peer, joined: self.peers.append((peer, joined)),
                control=self.control,
                on_control=self.control_messages.append,
                status=status,
                exchange=exchange,
                limits=limits,
            )
        except CannotListen:
            self._close_rest()
            raise
        self.transport.start()
        self.transport.begin(self.clock)

    def _take(self, fragment: wire.Fragment) -> Outbox | None:
        reply = self.on_fragment(fragment)
        self.arrived.append(fragment)
        return reply

    def outbox(
        self, round: int, pairs: Sequence[tuple[int, int]], *, replace: bool = True, asks: bool = False
    ) -> Outbox:
        """`pairs`: (peer, fragment)."""
        return Outbox(
            round=round,
            permutation_seed=SEED,
            num_fragments=self.num_fragments,
            payloads=payloads(round, self.num_fragments, self.num_parameters),
            sends=[Send(peer, fragment) for peer, fragment in pairs],
            replace_unsent=replace,
            reply_wanted=asks,
        )

    def send(self, round: int, pairs: Sequence[tuple[int, int]], **options: bool) -> None:
        self.transport.submit(self.outbox(round, pairs, **options))

    def has(self, num_fragments: int) -> bool:
        return len(self.arrived) == num_fragments

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_journal(self.path) if record["event"] == kind]

    def close(self) -> None:
        try:
            self.transport.close()
        finally:
            self._close_rest()
        assert self.transport.error is None

    def _close_rest(self) -> None:
        if self._open:
            self._open = False
            self.journal.close()
            self.control.close()
            self.controller.close()


class Peer:
    """A peer of `node` that the test plays."""

    def __init__(self, index: int, port: int, node: Node) -> None:
        """Listens; its small receive buffer soon fills up with what the test does not read."""
        self.index, self.node = index, node
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(64)
        self.listener.settimeout(PATIENCE_S)
        self._sockets = [self.listener]

    def accept(self) -> socket.socket:
        """The next connection that the node opens."""
        sock, _ = self.listener.accept()
        sock.settimeout(PATIENCE_S)
        self._sockets.append(sock)
        return sock

    def connect(self, *, life: int | None = 0) -> socket.socket:
        """A connection to the node; with a HELLO unless `life` is None."""
        sock = socket.create_connection(("127.0.0.1", self.node.port), timeout=PATIENCE_S)
        self._sockets.append(sock)
        if life is not None:
            sock.sendall(wire.encode_hello(self.index, bytes.fromhex(TOKEN), life))
        return sock

    def frame(
        self, round: int, fragment: int = 0, *, asks: bool = False, value: float | None = None
    ) -> bytes:
        """A valid frame for the node; with `value`, all its parameters have that value."""
        node = self.node
        payload = payloads(round, node.num_fragments, node.num_parameters)[fragment]
        if value is not None:
            payload = memoryview(np.full(payload.nbytes // 4, value, "<f4").tobytes())
        header = wire.fragment_header(
            sender=self.index,
            round=round,
            index=fragment,
            count=node.num_fragments,
            permutation_seed=SEED,
            sent_s=0.5,
            payload=payload,
            reply_wanted=asks,
        )
        return header + payload

    def receiver(self) -> wire.Receiver:
        """Reads what the node sends."""
        return wire.Receiver(
            token=bytes.fromhex(TOKEN),
            num_nodes=64,
            num_parameters=self.node.num_parameters,
            num_fragments=self.node.num_fragments,
            permutation_seed=SEED,
        )

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


def reset(sock: socket.socket) -> None:
    """End that connection as a killed process with unread data does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_events(sock: socket.socket, receiver: wire.Receiver, count: int) -> list[wire.Event]:
    """The next `count` events on that connection."""
    events: list[wire.Event] = []
    while len(events) < count:
        event = receiver.next_event()
        if isinstance(event, wire.NeedData):
            data = sock.recv(65536)
            assert data, f"the connection ended after {events}"
            receiver.receive_data(data)
        else:
            events.append(event)
    return events


def is_closed(sock: socket.socket) -> bool:
    """Wait for the other end; False if it sends something instead of closing the connection."""
    try:
        return not sock.recv(1)
    except ConnectionError:
        return True
