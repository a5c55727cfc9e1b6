"""The transport itself: listening, descriptors, strangers, the controller, times, one frame after another.

What holds for every way of exchanging is in contracts/test_transport_contract.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from node_agent import wire
from node_agent.limits import Limits
from node_agent.transport import CannotListen
from tests.loopback import (
    PATIENCE_S,
    QUICK,
    TOKEN,
    Node,
    Peer,
    free_ports,
    is_closed,
    read_events,
    wait_until,
)

MakeNodes = Callable[..., list[Node]]


@pytest.fixture
def make_nodes(tmp_path: Path) -> Iterator[MakeNodes]:
    with contextlib.ExitStack() as stack:

        def make(count: int, **options: object) -> list[Node]:
            ports = free_ports(count)
            nodes = [Node(tmp_path, index, ports, **options) for index in range(count)]  # type: ignore[arg-type]
            for node in nodes:
                stack.callback(node.close)
            return nodes

        yield make


@pytest.fixture
def make_peers(tmp_path: Path) -> Iterator[Callable[..., tuple[Node, list[Peer]]]]:
    with contextlib.ExitStack() as stack:

        def make(count: int, **options: object) -> tuple[Node, list[Peer]]:
            ports = free_ports(count + 1)
            node = Node(tmp_path, 0, ports, **options)  # type: ignore[arg-type]
            stack.callback(node.close)
            peers = [Peer(index, ports[index], node) for index in range(1, count + 1)]
            for peer in peers:
                stack.callback(peer.close)
            return node, peers

        yield make


def test_a_busy_port_is_reported_clearly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            CannotListen, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
        ):
            Node(tmp_path, 0, [port, port + 1])


def test_transit_times_are_counted_by_sender(make_nodes: MakeNodes) -> None:
    sender, receiver = make_nodes(2)
    for round_ in range(3):
        sender.send(round_, [(1, 0)])
        wait_until(partial(receiver.has, round_ + 1))
    receiver.transport.finish()
    sender.transport.finish()
    ((name, (least, mean, largest)),) = receiver.transport.one_way_times().items()
    assert name == "h1"
    # The two clocks in this test started milliseconds apart.
    assert -PATIENCE_S < least <= mean <= largest < PATIENCE_S
    assert sender.transport.one_way_times() == {}


def test_round_trip_times_come_from_the_kernel(make_nodes: MakeNodes) -> None:
    sender, receiver = make_nodes(2, num_parameters=100_000)
    sender.send(0, [(1, 0)])
    wait_until(lambda: len(receiver.arrived) == 1)
    sender.transport.finish()
    times = sender.transport.round_trip_times()
    assert set(times) == {"h2"}
    assert 0 < times["h2"] < PATIENCE_S


def test_peers_that_are_early_wait_for_the_common_start(
    make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peers may talk to a restarted agent before it knows when the experiment began."""
    with monkeypatch.context() as patched:
        patched.setattr("node_agent.transport.Transport.begin", lambda *_: None)
        sender, late = make_nodes(2)
    sender.transport.begin(sender.clock)
    sender.send(0, [(1, 0)])
    wait_until(lambda: sender.counters.fragments_sent == 1)
    assert late.arrived == []
    late.transport.begin(late.clock)
    wait_until(lambda: len(late.arrived) == 1)


# --- the controller ---


def test_the_end_of_the_controller_is_reported_once(make_nodes: MakeNodes) -> None:
    (node, _) = make_nodes(2)
    node.controller.close()
    wait_until(lambda: node.control_messages == [None])


def test_a_controller_that_reads_nothing_blocks_no_agent(make_nodes: MakeNodes) -> None:
    """Status messages are dropped and counted; what the agent says in the end still gets through, and whole."""
    status = {"t": 1.5, "long": "x" * 5000}
    eager = Limits(reconnect_s=0.02, status_wall_s=0.0005)
    sender, receiver = make_nodes(2, limits=eager, status=lambda: status)
    wait_until(lambda: sender.counters.statuses_dropped > 50 and receiver.counters.statuses_dropped > 50)
    for round_ in range(20):
        sender.send(round_, [(1, 0)])
        wait_until(partial(receiver.has, round_ + 1))
    ended = threading.Thread(target=lambda: sender.control.send("ended", reason="finished"))
    ended.start()
    # The controller wakes up.
    sender.controller.settimeout(PATIENCE_S)
    data = b""
    while b'"ended"' not in data or not data.endswith(b"\n"):
        data += sender.controller.recv(1 << 16)
    ended.join()
    messages = [json.loads(line) for line in data.splitlines()]
    kinds = [message.pop("kind") for message in messages]
    assert kinds.count("ended") == 1
    assert all(message == status for kind, message in zip(kinds, messages, strict=True) if kind == "status")


# --- strangers and descriptors ---


def connect_idly(node: Node, count: int) -> subprocess.Popen[bytes]:
    """A process with that many silent connections to the node; it ends when its standard input closes."""
    program = f"""
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = [socket.create_connection(("127.0.0.1", {node.port})) for _ in range({count})]
print("connected", flush=True)
sys.stdin.read()
"""
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip(f"needs 3000 file descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_two_thousand_idle_strangers_cost_little_and_are_closed(make_nodes: MakeNodes) -> None:
    limits = Limits(hello_s=3.0, spare_strangers=3000)
    sender, receiver = make_nodes(2, limits=limits)
    flood = connect_idly(receiver, 2000)
    try:
        assert flood.stdout is not None
        assert flood.stdout.readline() == b"connected\n"
        wait_until(lambda: len(receiver.transport._arrivals._strangers) == 2000)
        io_thread = receiver.transport._thread
        before_s, began_s = cpu_s(io_thread), time.monotonic()
        sent = 0
        while time.monotonic() < began_s + 1.0:
            sender.send(sent, [(1, 0)])
            sent += 1
            wait_until(partial(receiver.has, sent))
            threading.Event().wait(0.1)
        share = (cpu_s(io_thread) - before_s) / (time.monotonic() - began_s)
        assert share < 0.05
        wait_until(lambda: receiver.counters.strangers_closed == 2000)
        wait_until(lambda: sum(record["connections"] for record in receiver.events("strangers")) == 2000)
        assert receiver.events("strangers")[0]["reason"] == "no HELLO within 3 s"
        assert receiver.counters.frames_rejected == 0
        assert receiver.peers == [(0, True)]
    finally:
        flood.communicate()


def cpu_s(thread: threading.Thread) -> float:
    """Processor time of that thread so far."""
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def test_strangers_are_limited_in_number_and_the_oldest_go(
    make_peers: Callable[..., tuple[Node, list[Peer]]],
) -> None:
    node, (peer,) = make_peers(1, limits=Limits(spare_strangers=3, status_wall_s=0.02))
    strangers = [peer.connect(life=None) for _ in range(9)]
    for stranger in strangers[:4]:
        assert is_closed(stranger)
    wait_until(lambda: node.counters.strangers_closed == 4)
    # The others still have time to say who they are.
    strangers[-1].sendall(wire.encode_hello(1, bytes.fromhex(TOKEN)) + peer.frame(1))
    wait_until(lambda: len(node.arrived) == 1)
    wait_until(lambda: "too many" in str(node.events("strangers")))


@contextlib.contextmanager
def no_descriptors(spare: int) -> Iterator[None]:
    """This process may open only that many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open("/dev/null", os.O_RDONLY)
    os.close(probe)
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + spare + 50, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(spare):
            os.close(fillers.pop())
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_accepting_waits_and_does_not_spin(
    make_peers: Callable[..., tuple[Node, list[Peer]]],
) -> None:
    node, (peer,) = make_peers(1, limits=Limits(status_wall_s=0.05))
    io_thread = node.transport._thread
    with no_descriptors(1):
        early = peer.connect()
        early.sendall(peer.frame(1))
        wait_until(lambda: node.counters.descriptor_shortages > 2)
        before_s, began_s = cpu_s(io_thread), time.monotonic()
        count = node.counters.descriptor_shortages
        wait_until(lambda: node.counters.descriptor_shortages > count + 10)
        assert cpu_s(io_thread) - before_s < 0.1 * (time.monotonic() - began_s)
        assert node.arrived == []
    wait_until(lambda: len(node.arrived) == 1)
    assert node.transport.error is None


def test_without_descriptors_a_stranger_makes_room_for_a_peer(
    make_peers: Callable[..., tuple[Node, list[Peer]]],
) -> None:
    node, (peer,) = make_peers(1)
    strangers = [peer.connect(life=None) for _ in range(3)]
    wait_until(lambda: len(node.transport._arrivals._strangers) == 3)
    with no_descriptors(1):
        peer.connect().sendall(peer.frame(1))
        wait_until(lambda: len(node.arrived) == 1)
    assert is_closed(strangers[0])
    assert node.counters.descriptor_shortages == 1


def test_without_descriptors_connecting_waits_and_the_queue_with_it(
    make_peers: Callable[..., tuple[Node, list[Peer]]],
) -> None:
    node, (peer,) = make_peers(1, limits=QUICK)
    with no_descriptors(0):
        node.send(0, [(1, 0)])
        wait_until(lambda: node.counters.descriptor_shortages > 2)
        assert node.peers == []
    _, fragment = read_events(peer.accept(), peer.receiver(), 2)
    assert isinstance(fragment, wire.Fragment)
    assert fragment.round == 0
    assert node.counters.connections_lost == 0


# --- one frame after another ---


def test_in_sequence_frames_leave_in_the_order_of_their_creation(make_nodes: MakeNodes) -> None:
    """Across all peers; tests/network/test_exchange.py has links on which that takes long."""
    order = [(peer, index) for index in range(4) for peer in (2, 1, 3)]
    sender, *others = make_nodes(4, exchange="sequential", num_fragments=4)
    sender.send(0, [(1, 0), (2, 0), (3, 0)])  # so that all are connected
    wait_until(lambda: all(len(node.arrived) == 1 for node in others))
    sender.send(1, order, replace=False)
    wait_until(lambda: all(len(node.arrived) == 5 for node in others))
    wait_until(lambda: sender.counters.fragments_sent == 15)
    sent = [record for record in sender.events("sent") if record["round"] == 1]
    assert [(int(record["peer"][1:]) - 1, record["fragment"]) for record in sent] == order
    assert all(frame["t"] <= next_["begun"] for frame, next_ in pairwise(sent))


def test_in_sequence_a_stalled_frame_gives_up_the_line_and_ends_later(
    make_peers: Callable[..., tuple[Node, list[Peer]]],
) -> None:
    limits = Limits(reconnect_s=0.02, status_wall_s=0.02, hold_s=0.02)
    node, (stalling, quick) = make_peers(2, exchange="sequential", num_parameters=500_000, limits=limits)
    node.send(0, [(1, 0), (2, 0)])
    stalled = stalling.accept()
    connection, receiver = quick.accept(), quick.receiver()
    read_events(connection, receiver, 2)
    for round_ in range(1, 4):
        node.send(round_, [(1, 0), (2, 0)])
        (fragment,) = read_events(connection, receiver, 1)
        assert isinstance(fragment, wire.Fragment)
        assert fragment.round == round_
    late = read_events(stalled, stalling.receiver(), 3)[1:]
    assert [one.round for one in late if isinstance(one, wire.Fragment)] == [0, 3]
