"""The transport over real TCP on loopback: exchange, stale data, foreign bytes, lost and slow peers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node_agent import wire
from node_agent.algorithms import Outbox, Send
from node_agent.clock import EmulatedClock
from node_agent.control import ControlChannel
from node_agent.counters import Counters
from node_agent.journal import Journal, read_journal
from node_agent.settings import AgentSettings, PeerSettings
from node_agent.transport import CannotListen, Transport

TOKEN = "5a" * 16
PATIENCE_S = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        threading.Event().wait(0.005)


class Node:
    """One transport with everything around it that an agent would have."""

    def __init__(self, folder: Path, index: int, ports: list[int]) -> None:
        self.name = f"h{index + 1}"
        self.counters = Counters()
        self.arrived: list[wire.Fragment] = []
        self.peers: list[tuple[int, bool]] = []
        self.control_messages: list[Any] = []
        self.path = folder / f"{self.name}.jsonl"
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
        )
        self.controlled, self.controller = socket.socketpair()
        self.clock = EmulatedClock(time.monotonic(), 1.0)
        self.journal = Journal(self.path, self.name, self.clock.now)
        try:
            self.transport = self._transport(settings, len(ports))
        except CannotListen:
            self._close_sockets()
            raise
        self.transport.start()
        self.transport.begin(self.clock)

    def _transport(self, settings: AgentSettings, num_nodes: int) -> Transport:
        return Transport(
            settings,
            counters=self.counters,
            journal=self.journal,
            new_receiver=lambda: wire.Receiver(token=bytes.fromhex(TOKEN), num_nodes=num_nodes),
            on_fragment=self.arrived.append,
            on_peer=lambda peer, joined: self.peers.append((peer, joined)),
            control=ControlChannel(self.controlled),
            on_control=self.control_messages.append,
            status=lambda: {"t": 0},
        )

    def send(
        self, round: int, pairs: list[tuple[int, int]], *, size: int = 1000, replace: bool = True
    ) -> None:
        fragments = 1 + max(fragment for _, fragment in pairs)
        payloads = [
            memoryview(np.full(size, round * 100 + index, dtype=np.float32).tobytes())
            for index in range(fragments)
        ]
        self.transport.submit(
            Outbox(
                round=round,
                permutation_seed=7,
                num_fragments=fragments,
                payloads=payloads,
                sends=[Send(peer, fragment) for peer, fragment in pairs],
                replace_unsent=replace,
            )
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_journal(self.path) if record["event"] == kind]

    def close(self) -> None:
        self.transport.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        if self.controlled.fileno() >= 0:
            self.journal.close()
        self.controlled.close()
        self.controller.close()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@pytest.fixture
def make_nodes(tmp_path: Path) -> Iterator[Callable[[int], list[Node]]]:
    made: list[Node] = []

    def make(count: int) -> list[Node]:
        ports = free_ports(count)
        made.extend(Node(tmp_path, index, ports) for index in range(count))
        return made

    yield make
    for node in made:
        node.close()


def test_every_fragment_arrives_once_and_whole(make_nodes: Callable[[int], list[Node]]) -> None:
    nodes = make_nodes(3)
    for node in nodes:
        index = nodes.index(node)
        node.send(
            4, [(peer, fragment) for peer in range(3) if peer != index for fragment in range(5)], size=9000
        )
    wait_until(lambda: all(len(node.arrived) == 10 for node in nodes))
    for index, node in enumerate(nodes):
        expected = sorted((peer, fragment) for peer in range(3) if peer != index for fragment in range(5))
        assert sorted((one.sender, one.index) for one in node.arrived) == expected
        assert all((one.values == 400 + one.index).all() and one.values.size == 9000 for one in node.arrived)
        assert node.counters.fragments_received == 10
        assert node.counters.fragments_created == node.counters.fragments_sent == 10
        hellos = 2 * len(wire.encode_hello(index, bytes.fromhex(TOKEN)))
        assert node.counters.bytes_received == 10 * wire.frame_bytes(36000) + hellos


def test_one_connection_per_peer_is_kept(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, receiver = make_nodes(2)
    for round in range(3):
        sender.send(round, [(1, 0)])
        wait_until(lambda round=round: len(receiver.arrived) == round + 1)
    assert receiver.peers == [(0, True)]


def test_a_new_round_replaces_what_is_unsent(make_nodes: Callable[[int], list[Node]]) -> None:
    """More than loopback's buffers hold, to a receiver that does not read until the second round is there."""
    sender, receiver = make_nodes(2)
    blocked = threading.Event()
    receiver.transport._on_fragment = lambda fragment: (blocked.wait(), receiver.arrived.append(fragment))[1]
    sender.send(0, [(1, fragment) for fragment in range(40)], size=500_000)
    wait_until(lambda: sender.counters.bytes_sent > 2_000_000)
    sender.send(1, [(1, fragment) for fragment in range(3)], size=10)
    wait_until(lambda: sender.counters.fragments_dropped_stale > 0)
    blocked.set()
    wait_until(lambda: sum(one.round == 1 for one in receiver.arrived) == 3)
    dropped = sender.counters.fragments_dropped_stale
    assert dropped > 20
    assert sum(one.round == 0 for one in receiver.arrived) == 40 - dropped
    assert len(sender.events("dropped")) == dropped
    assert sender.counters.fragments_created == 43 == dropped + sender.counters.fragments_sent


def test_keep_sends_everything_in_order(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, receiver = make_nodes(2)
    for round in range(5):
        sender.send(round, [(1, 0), (1, 1)], size=100_000, replace=False)
    wait_until(lambda: len(receiver.arrived) == 10)
    assert [(one.round, one.index) for one in receiver.arrived] == [
        (r, f) for r in range(5) for f in range(2)
    ]
    assert sender.counters.fragments_dropped_stale == 0


def test_a_slow_receiver_does_not_block_the_others(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, slow, quick = make_nodes(3)
    blocked = threading.Event()
    slow.transport._on_fragment = lambda _: blocked.wait()
    sender.send(0, [(1, fragment) for fragment in range(20)] + [(2, 0), (2, 1)], size=500_000)
    wait_until(lambda: len(quick.arrived) == 2)
    assert sender.counters.fragments_sent < 22
    blocked.set()


def random_frame(token: str, sender: int) -> bytes:
    return wire.encode_hello(sender, bytes.fromhex(token))


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(5000),
        b"GET / HTTP/1.1\r\nHost: h1\r\n\r\n" + bytes(100),
        random_frame("ff" * 16, 1),
        bytes(64),
    ],
    ids=["random", "http", "other-run", "zeros"],
)
def test_foreign_bytes_close_that_connection_and_are_counted(
    make_nodes: Callable[[int], list[Node]], data: bytes
) -> None:
    sender, receiver = make_nodes(2)
    port = receiver.transport._listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as foreign:
        foreign.sendall(data)
        foreign.settimeout(PATIENCE_S)
        try:
            assert foreign.recv(1) == b""
        except ConnectionResetError:
            pass  # the other end closed with our bytes unread
    wait_until(lambda: receiver.counters.frames_rejected == 1)
    assert receiver.arrived == []
    assert len(receiver.events("rejected")) == 1
    # The transport is none the worse for it.
    sender.send(0, [(1, 0)])
    wait_until(lambda: len(receiver.arrived) == 1)


def test_a_torn_frame_is_rejected(make_nodes: Callable[[int], list[Node]]) -> None:
    _, receiver = make_nodes(2)
    port = receiver.transport._listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as torn:
        torn.sendall(random_frame(TOKEN, 0) + b"MNBD")
    wait_until(lambda: receiver.counters.frames_rejected == 1)
    assert "torn" in receiver.events("rejected")[0]["reason"]


def test_a_dead_peer_is_reported_and_the_others_go_on(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, dying, living = make_nodes(3)
    sender.send(0, [(1, 0), (2, 0)])
    wait_until(lambda: len(dying.arrived) == 1 and len(living.arrived) == 1)
    dying.transport.close()
    wait_until(lambda: (1, False) in sender.peers)
    sender.send(1, [(1, 0), (2, 0)])
    wait_until(lambda: len(living.arrived) == 2)
    assert sender.counters.connections_lost >= 1
    assert sender.events("peer_lost")[0]["peer"] == "h2"


def test_a_returning_peer_gets_the_next_round(tmp_path: Path) -> None:
    ports = free_ports(2)
    sender, receiver = Node(tmp_path, 0, ports), Node(tmp_path, 1, ports)
    try:
        sender.send(0, [(1, 0)])
        wait_until(lambda: len(receiver.arrived) == 1)
        receiver.close()
        wait_until(lambda: (1, False) in sender.peers)
        receiver = Node(tmp_path, 1, ports)
        sender.send(1, [(1, 0)])
        wait_until(lambda: len(receiver.arrived) == 1)
        assert receiver.arrived[0].round == 1
    finally:
        sender.close()
        receiver.close()


def test_a_busy_port_is_said_clearly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            CannotListen, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
        ):
            Node(tmp_path, 0, [port, port + 1])


def test_the_end_of_the_controller_is_reported(make_nodes: Callable[[int], list[Node]]) -> None:
    (node, _) = make_nodes(2)
    node.controller.close()
    wait_until(lambda: node.control_messages == [None])


def test_frames_times_are_counted_by_sender(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, receiver = make_nodes(2)
    for round_ in range(3):
        sender.send(round_, [(1, 0)])
        wait_until(lambda count=round_ + 1: len(receiver.arrived) == count)
    ((name, (least, mean, largest)),) = receiver.transport.one_way_times().items()
    assert name == "h1"
    # The two clocks of this test began milliseconds apart.
    assert -1 < least <= mean <= largest < 5
    assert sender.transport.one_way_times() == {}


def test_round_trip_times_come_from_the_kernel(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, receiver = make_nodes(2)
    sender.send(0, [(1, 0)], size=100_000)
    wait_until(lambda: len(receiver.arrived) == 1)
    sender.transport.finish()
    times = sender.transport.round_trip_times()
    assert set(times) == {"h2"}
    assert 0 < times["h2"] < 0.1


def test_after_the_end_nothing_counts(make_nodes: Callable[[int], list[Node]]) -> None:
    sender, receiver = make_nodes(2)
    sender.send(0, [(1, 0)])
    wait_until(lambda: len(receiver.arrived) == 1)
    receiver.transport.finish()
    sender.transport.close()
    receiver.transport.close()
    assert receiver.counters.connections_lost == 0
    assert receiver.counters.frames_rejected == 0
