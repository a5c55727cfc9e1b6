"""What every way of exchanging guarantees: frames whole and once, losses reported once, nothing stale, no node blocked.

Real sockets over loopback; peers that misbehave are played by the test. Each case runs for `parallel` and `sequential`.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from node_agent import wire
from node_agent.algorithms import Outbox
from node_agent.limits import Limits
from node_agent.tcp import LOWAT_EMPTY_BYTES, NOTSENT_LOWAT_BYTES, set_lowat, unsent_bytes
from tests.loopback import (
    MAX_ROUND,
    PATIENCE_S,
    QUICK,
    TOKEN,
    Node,
    Peer,
    free_ports,
    is_closed,
    read_events,
    reset,
    wait_until,
)

BIG = 500_000  # parameters: 2 MB, far more unread data than loopback's buffers hold
NO_RECONNECTS = Limits(reconnect_s=1000.0, status_wall_s=0.02)


class House:
    """Makes nodes, and peers that the test plays, and closes them."""

    def __init__(self, folder: Path, exchange: str, stack: contextlib.ExitStack) -> None:
        self.folder, self.exchange = folder, exchange
        self.ports: list[int] = []
        self._stack = stack

    def nodes(self, count: int, **options: object) -> list[Node]:
        self.ports = free_ports(count)
        return [self.node(index, **options) for index in range(count)]

    def node(self, index: int, **options: object) -> Node:
        node = Node(self.folder, index, self.ports, exchange=self.exchange, **options)  # type: ignore[arg-type]
        self._stack.callback(node.close)
        return node

    def peer(self, index: int, node: Node) -> Peer:
        peer = Peer(index, self.ports[index], node)
        self._stack.callback(peer.close)
        return peer

    def node_with_peers(self, count: int, **options: object) -> tuple[Node, list[Peer]]:
        """Node 0, and peers 1 to `count`, which the test plays."""
        self.ports = free_ports(count + 1)
        node = self.node(0, **options)
        return node, [self.peer(index, node) for index in range(1, count + 1)]


@pytest.fixture(params=["parallel", "sequential"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    with contextlib.ExitStack() as stack:
        yield House(tmp_path, request.param, stack)


def has_sent(node: Node, num_fragments: int) -> bool:
    return node.counters.fragments_sent == num_fragments


def has_from(node: Node, peer: Peer, num_fragments: int) -> bool:
    return sum(one.sender == peer.index for one in node.arrived) == num_fragments


def has_heard(node: Node, of_peers: list[tuple[int, bool]]) -> bool:
    return node.peers == of_peers


def ledger(node: Node, kind: str) -> list[tuple[int, int, str]]:
    return [(record["round"], record["fragment"], record["peer"]) for record in node.events(kind)]


# --- frames ---


def test_every_fragment_arrives_once_and_whole(house: House) -> None:
    nodes = house.nodes(3, num_fragments=5, num_parameters=45_001)
    for node in nodes:
        node.send(4, [(peer, index) for peer in range(3) if peer != node.index for index in range(5)])
    wait_until(lambda: all(len(node.arrived) == 10 for node in nodes))
    for node in nodes:
        expected = sorted((peer, index) for peer in range(3) if peer != node.index for index in range(5))
        assert sorted((fragment.sender, fragment.index) for fragment in node.arrived) == expected
        assert all((fragment.values == 400 + fragment.index).all() for fragment in node.arrived)
        assert node.counters.fragments_received == 10
        wait_until(partial(has_sent, node, 10))
        assert node.counters.fragments_created == 10
        assert len(set(ledger(node, "sent"))) == len(ledger(node, "sent")) == 10
        hellos = 2 * len(wire.encode_hello(0, bytes.fromhex(TOKEN)))
        assert node.counters.bytes_received == 2 * (45_001 * 4 + 5 * 48) + hellos
        assert node.counters.frames_rejected == node.counters.connections_lost == 0


def test_one_connection_per_peer_is_kept(house: House) -> None:
    sender, receiver = house.nodes(2)
    for round_ in range(3):
        sender.send(round_, [(1, 0)])
        wait_until(partial(receiver.has, round_ + 1))
    assert receiver.peers == [(0, True)]


def test_keep_sends_everything_in_order(house: House) -> None:
    sender, receiver = house.nodes(2, num_fragments=2, num_parameters=200_000)
    for round_ in range(5):
        sender.send(round_, [(1, 0), (1, 1)], replace=False)
    wait_until(lambda: len(receiver.arrived) == 10)
    assert [(fragment.round, fragment.index) for fragment in receiver.arrived] == [
        (round_, index) for round_ in range(5) for index in range(2)
    ]
    assert sender.counters.fragments_dropped_stale == 0


def test_a_new_round_leaves_only_the_frames_in_transit(house: House) -> None:
    """For peers that read nothing the kernel accepts some frames; all others are dropped, once each, and counted."""
    node, peers = house.node_with_peers(3, num_fragments=20, num_parameters=20 * 25_000)
    node.send(0, [(peer, index) for index in range(20) for peer in (1, 2, 3)])
    connections = [peer.accept() for peer in peers]
    wait_until(lambda: bool(node.counters.bytes_sent))
    settled(node)
    node.send(1, [(1, 0)])
    wait_until(lambda: node.counters.fragments_created == 61)
    sent, dropped = node.counters.fragments_sent, node.counters.fragments_dropped_stale
    assert 60 - 3 <= sent + dropped <= 60
    assert len(set(ledger(node, "dropped"))) == len(ledger(node, "dropped")) == dropped
    assert not set(ledger(node, "dropped")) & set(ledger(node, "sent"))
    # What was in transit arrives whole, and then the new round.
    in_transit = 60 - sent - dropped
    counts = dict.fromkeys((1, 2, 3), 0)
    for _, _, name in ledger(node, "sent"):
        counts[int(name[1:]) - 1] += 1
    receiver = peers[0].receiver()
    events = read_events(connections[0], receiver, 1 + counts[1])
    while not (isinstance(events[-1], wire.Fragment) and events[-1].round == 1):
        events += read_events(connections[0], receiver, 1)
    assert len(events) <= 1 + counts[1] + min(1, in_transit) + 1


def settled(node: Node) -> None:
    """Wait until the node's thread has made a few turns without sending anything."""
    last, same = -1, 0
    while same < 20:
        threading.Event().wait(0.005)
        same = same + 1 if node.counters.bytes_sent == last else 0
        last = node.counters.bytes_sent


def test_a_frame_is_unsent_until_its_first_byte_is_accepted(house: House) -> None:
    node, (peer,) = house.node_with_peers(1, num_fragments=20, num_parameters=20 * 3500)
    node.send(0, [(1, 0)])
    connection = peer.accept()
    wait_until(lambda: node.counters.fragments_sent == 1)
    settled(node)
    sock = node.transport._sender._outgoing[1].socket
    assert sock is not None
    assert unsent_bytes(sock) > 0  # the peer's window is small
    set_lowat(sock, LOWAT_EMPTY_BYTES)  # the kernel accepts no more now
    node.send(1, [(1, index) for index in range(20)])
    wait_until(lambda: node.counters.fragments_created == 21)
    settled(node)
    node.send(2, [(1, 0)])
    wait_until(lambda: node.counters.fragments_created == 22)
    assert node.counters.fragments_dropped_stale == 20
    flushed_s = node.clock.now()
    set_lowat(sock, NOTSENT_LOWAT_BYTES)
    _, *fragments = read_events(connection, peer.receiver(), 3)
    assert [fragment.round for fragment in fragments if isinstance(fragment, wire.Fragment)] == [0, 2]
    # Its send time is that of its first byte, not that of an attempt.
    assert isinstance(fragments[-1], wire.Fragment)
    assert fragments[-1].sent_s >= flushed_s
    wait_until(lambda: node.counters.fragments_sent == 2)


def test_a_peer_that_reads_nothing_does_not_block_the_others(house: House) -> None:
    node, (absent, slow, quick) = house.node_with_peers(3, num_fragments=2, num_parameters=2 * BIG)
    absent.close()
    receiver = quick.receiver()
    for round_ in range(3):
        node.send(round_, [(1, 0), (2, 0), (3, 0), (2, 1), (1, 1), (3, 1)], replace=False)
        if not round_:
            slow.accept()
            connection = quick.accept()
            assert isinstance(read_events(connection, receiver, 1)[0], wire.Hello)
        received = read_events(connection, receiver, 2)
        assert [fragment.index for fragment in received if isinstance(fragment, wire.Fragment)] == [0, 1]
    wait_until(lambda: node.counters.fragments_sent == 6)


def test_the_kernel_holds_little_unsent_data(house: House) -> None:
    node, (peer,) = house.node_with_peers(1, num_parameters=BIG)
    node.send(0, [(1, 0)])
    peer.accept()
    wait_until(lambda: node.counters.bytes_sent > 64)
    settled(node)
    sock = node.transport._sender._outgoing[1].socket
    assert sock is not None
    assert 0 < unsent_bytes(sock) <= NOTSENT_LOWAT_BYTES + 65536 + 4096


# --- peers that come and go ---


def test_a_peer_that_only_sent_to_us_is_missed(house: House) -> None:
    dying, node, _ = house.nodes(3)
    dying.send(0, [(1, 0)])
    wait_until(lambda: len(node.arrived) == 1)
    dying.transport.close()
    wait_until(lambda: (0, False) in node.peers)
    assert node.peers == [(0, True), (0, False)]
    assert [record["peer"] for record in node.events("peer_lost")] == ["h1"]


def test_a_peer_that_we_only_sent_to_is_missed(house: House) -> None:
    node, dying, living = house.nodes(3)
    node.send(0, [(1, 0), (2, 0)])
    wait_until(lambda: len(dying.arrived) == 1 and len(living.arrived) == 1)
    dying.transport.close()
    wait_until(lambda: bool(node.peers))
    node.send(1, [(2, 0)])
    wait_until(lambda: len(living.arrived) == 2)
    assert node.peers == [(1, False)]
    assert node.counters.connections_lost == 1


@pytest.mark.parametrize("first", ["incoming", "outgoing"])
def test_a_death_that_ends_two_connections_is_reported_once(house: House, first: str) -> None:
    node, (peer, other) = house.node_with_peers(2)
    node.send(0, [(1, 0)])
    ends = {"outgoing": peer.accept(), "incoming": peer.connect()}
    wait_until(lambda: node.peers == [(1, True)])
    read_events(ends["outgoing"], peer.receiver(), 2)
    reset(ends.pop(first))
    wait_until(lambda: node.peers == [(1, True), (1, False)])
    (second,) = ends.values()
    reset(second)
    wait_until(lambda: node.counters.connections_lost == 2)
    other.connect()
    wait_until(lambda: (2, True) in node.peers)
    assert node.peers == [(1, True), (1, False), (2, True)]


def test_a_peer_lost_twice_is_reported_twice(house: House) -> None:
    node, (peer,) = house.node_with_peers(1)
    for times in range(1, 4):
        reset(peer.connect())
        wait_until(partial(has_heard, node, [(1, True), (1, False)] * times))
    node.send(0, [(1, 0)])
    peer.listener.close()
    wait_until(
        lambda: node.peers[-2:] == [(1, False), (1, False)]
    )  # something was to be sent to it, and it was not there


def test_a_restarted_peer_that_speaks_before_its_old_connection_ends(house: House) -> None:
    node, (peer, other) = house.node_with_peers(2)
    new = stranger(node, peer)
    old = peer.connect()
    wait_until(lambda: node.peers == [(1, True)])
    blocked = block(node, other.connect(), other)
    node.peers.clear()
    # All of this is one batch of events: the new life's HELLO and frame before the last frames of the old life.
    new.sendall(HELLO_OF_LIFE_1 + peer.frame(9))
    for round_ in range(2, 5):
        old.sendall(peer.frame(round_))
    blocked.set()
    wait_until(lambda: len(node.arrived) == 5)
    assert [fragment.round for fragment in node.arrived] == [1, 2, 3, 4, 9]
    assert node.peers == [(1, False), (1, True)]
    assert is_closed(old)
    new.sendall(peer.frame(10))
    wait_until(lambda: len(node.arrived) == 6)
    assert node.peers == [(1, False), (1, True)]
    new.close()
    wait_until(lambda: node.peers == [(1, False), (1, True), (1, False)])


HELLO_OF_LIFE_1 = wire.encode_hello(1, bytes.fromhex(TOKEN), 1)


def stranger(node: Node, peer: Peer) -> socket.socket:
    """A connection that the node has accepted, and that has not said HELLO."""
    sock = peer.connect(life=None)
    wait_until(lambda: len(node.transport._arrivals._strangers) == 1)
    return sock


def block(
    node: Node,
    connection: socket.socket,
    peer: Peer,
    *,
    then: Callable[[wire.Fragment], Outbox | None] = lambda _: None,
) -> threading.Event:
    """Hold the node's I/O thread, in the arrival of a frame of round 1, until the event is set."""
    free, held = threading.Event(), threading.Event()

    def hold(_: wire.Fragment) -> None:
        held.set()
        assert free.wait(PATIENCE_S)

    node.on_fragment = hold
    connection.sendall(peer.frame(1))
    assert held.wait(PATIENCE_S)
    node.on_fragment = then
    return free


def test_the_end_of_an_older_life_that_comes_late_does_not_hide_the_new_one(house: House) -> None:
    """All that is left of the old life is our connection to it, whose end is at first lost on the way."""
    node, (peer,) = house.node_with_peers(1, limits=NO_RECONNECTS)
    node.send(0, [(1, 0)])
    to_old = peer.accept()
    read_events(to_old, peer.receiver(), 2)
    from_new = peer.connect(life=1)
    # What the earlier life owed will never come, whether or not its end has been seen.
    wait_until(lambda: node.peers == [(1, False), (1, True)])
    reset(to_old)
    wait_until(lambda: len(node.peers) > 3)
    assert node.peers == [(1, False), (1, True)] * 2
    reset(from_new)
    wait_until(lambda: len(node.peers) > 4)
    assert node.peers == [(1, False), (1, True)] * 2 + [(1, False)]


def test_the_end_of_the_old_life_and_the_new_ones_hello_in_one_batch(house: House) -> None:
    node, (peer, other) = house.node_with_peers(2, limits=NO_RECONNECTS)
    node.send(0, [(1, 0)])
    to_old = peer.accept()
    read_events(to_old, peer.receiver(), 2)
    from_new = stranger(node, peer)
    talking = other.connect()
    blocked = block(node, talking, other)
    from_new.sendall(HELLO_OF_LIFE_1 + peer.frame(3))
    reset(to_old)
    blocked.set()
    wait_until(lambda: len(node.arrived) == 2)
    assert [news for news in node.peers if news[0] == 1] == [(1, False), (1, True)]


def test_a_late_connection_of_an_earlier_life_is_ignored(house: House) -> None:
    node, (peer,) = house.node_with_peers(1)
    peer.connect(life=2)
    wait_until(lambda: node.peers == [(1, False), (1, True)])
    late = peer.connect(life=1)
    late.sendall(peer.frame(5))
    assert is_closed(late)
    assert node.peers == [(1, False), (1, True)]
    assert node.arrived == []
    assert node.counters.frames_rejected == 0


def test_a_returning_peer_gets_the_next_round(house: House) -> None:
    node, receiver = house.nodes(2)
    node.send(0, [(1, 0)])
    wait_until(lambda: len(receiver.arrived) == 1)
    receiver.close()
    wait_until(lambda: (1, False) in node.peers)
    node.send(1, [(1, 0)])
    back = house.node(1, life=1)
    back.send(0, [(0, 0)])
    wait_until(lambda: len(back.arrived) == 1 and len(node.arrived) == 1)
    assert back.arrived[0].round == 1
    assert node.peers[-1] == (1, True)


def test_what_waits_for_a_lost_peer_is_bounded(house: House) -> None:
    """Even with `stale: keep`: the newest of the requests and of the rest stay, all others are counted as dropped."""
    node, (peer,) = house.node_with_peers(1, num_fragments=2, limits=QUICK)
    peer.listener.close()
    node.send(0, [(1, 0)], replace=False)
    wait_until(lambda: (1, False) in node.peers)
    for round_ in range(1, 200):
        node.send(round_, [(1, 0), (1, 1)], replace=False)
        node.send(round_, [(1, 0)], replace=False, asks=True)
    wait_until(lambda: node.counters.fragments_created == 1 + 199 * 3)
    assert node.counters.fragments_dropped_stale == 1 + 198 * 3
    back = house.peer(1, node)
    received = read_events(back.accept(), back.receiver(), 4)[1:]
    assert [
        (fragment.round, fragment.index, fragment.reply_wanted)
        for fragment in received
        if isinstance(fragment, wire.Fragment)
    ] == [
        (199, 0, False),
        (199, 1, False),
        (199, 0, True),
    ]
    assert len(set(ledger(node, "dropped"))) < len(ledger(node, "dropped")) == 1 + 198 * 3


@pytest.mark.parametrize("phase", ["before hello", "inside hello", "inside a header", "inside a payload"])
@pytest.mark.parametrize("end", [reset, socket.socket.close], ids=["reset", "close"])
def test_a_peer_may_die_at_any_byte(house: House, phase: str, end: Callable[[socket.socket], None]) -> None:
    node, (peer, other) = house.node_with_peers(2)
    dying = peer.connect(life=None)
    hello = wire.encode_hello(1, bytes.fromhex(TOKEN))
    whole = {"before hello": 0, "inside hello": 30, "inside a header": 90, "inside a payload": 300}[phase]
    dying.sendall((hello + peer.frame(1))[:whole])
    if whole > len(hello):
        wait_until(lambda: node.counters.bytes_received == whole)
    end(dying)
    if whole > len(hello):
        wait_until(lambda: node.peers == [(1, True), (1, False)])
    other.connect().sendall(other.frame(2))
    wait_until(lambda: len(node.arrived) == 1)
    assert (1, True) not in node.peers[2:]


def test_a_frame_torn_on_its_way_out_is_counted_and_the_next_one_goes(house: House) -> None:
    node, (peer,) = house.node_with_peers(1, num_parameters=BIG)
    node.send(0, [(1, 0)])
    reset_mid_frame = peer.accept()
    wait_until(lambda: node.counters.bytes_sent > 64)
    settled(node)
    reset(reset_mid_frame)
    wait_until(lambda: node.peers == [(1, False)])
    assert node.counters.fragments_lost == 1
    node.send(1, [(1, 0)])
    _, fragment = read_events(peer.accept(), peer.receiver(), 2)
    assert isinstance(fragment, wire.Fragment)
    assert fragment.round == 1
    assert node.counters.fragments_created == 2


def test_hundreds_of_resets_under_requests_and_replies(house: House) -> None:
    """A request of one peer and the reset of another in one batch of events, in every order."""
    node, (steady, *peers) = house.node_with_peers(5, num_parameters=30_000)
    rng = random.Random(5)
    keeping = steady.connect()
    asking = {peer: peer.connect() for peer in peers}
    answered: dict[Peer, socket.socket | None] = dict.fromkeys(peers)

    def reply(fragment: wire.Fragment) -> Outbox | None:
        return (
            node.outbox(fragment.round, [(fragment.sender, 0)], replace=False)
            if fragment.reply_wanted
            else None
        )

    for number in range(300):
        blocked = block(node, keeping, steady, then=reply)
        for peer in rng.sample(peers, len(peers)):
            with contextlib.suppress(OSError):  # the node has closed it: an earlier frame was torn
                asking[peer].sendall(peer.frame(number, asks=True)[: rng.choice([10, 20_000, 10**9, 10**9])])
            answered[peer] = newest(peer, answered[peer])
            to_reset = answered[peer]
            if to_reset is not None and rng.random() < 0.6:
                reset(to_reset)
                answered[peer] = None
            if rng.random() < 0.6:
                rng.choice([reset, socket.socket.close])(asking[peer])
                asking[peer] = peer.connect()
        blocked.set()
        keeping.sendall(steady.frame(number))
        wait_until(partial(has_from, node, steady, 2 * number + 2))
    assert sum(one.sender != 1 for one in node.arrived) > 100
    assert node.counters.connections_lost > 300
    assert node.transport.error is None


def newest(peer: Peer, known: socket.socket | None) -> socket.socket | None:
    """The connection that the node last opened to that peer, without waiting for one."""
    peer.listener.settimeout(0)
    try:
        while True:
            known, _ = peer.listener.accept()
            peer._sockets.append(known)
    except BlockingIOError:
        return known


# --- bytes that are no good ---


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            lambda peer: peer.frame(2**32 - 1),
            f"round {2**32 - 1}, beyond the last possible round {MAX_ROUND}",
        ),
        (lambda peer: peer.frame(MAX_ROUND + 1), "beyond the last possible round"),
        (lambda _: b"GET / HTTP/1.1\r\n\r\n", "foreign magic"),
        (lambda peer: peer.frame(1)[:-1] + b"\1", "bad checksum"),
    ],
    ids=["last round", "one round too far", "http", "checksum"],
)
def test_invalid_bytes_end_their_connection(house: House, data: Callable[[Peer], bytes], reason: str) -> None:
    node, (peer, other) = house.node_with_peers(2)
    bad = peer.connect()
    bad.sendall(peer.frame(MAX_ROUND) + data(peer))
    assert is_closed(bad)
    wait_until(lambda: node.counters.frames_rejected == 1)
    assert reason in node.events("rejected")[0]["reason"]
    assert [fragment.round for fragment in node.arrived] == [MAX_ROUND]
    # What the peer was waited for will not come.
    wait_until(lambda: node.peers == [(1, True), (1, False)])
    other.connect().sendall(other.frame(2))
    wait_until(lambda: len(node.arrived) == 2)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_model_that_diverged_is_refused_and_counted_apart(house: House, value: float) -> None:
    node, (peer,) = house.node_with_peers(1)
    bad = peer.connect()
    bad.sendall(peer.frame(1) + peer.frame(2, value=value))
    assert is_closed(bad)
    wait_until(lambda: node.counters.frames_not_finite == 1)
    assert [record["peer"] for record in node.events("not_finite")] == [f"h{peer.index + 1}"]
    assert (node.counters.frames_rejected, node.events("rejected")) == (0, [])
    assert [fragment.round for fragment in node.arrived] == [1]
    # Its next model may be good again.
    peer.connect().sendall(peer.frame(3))
    wait_until(lambda: len(node.arrived) == 2)


def test_only_neighbours_may_speak(house: House) -> None:
    node, (peer,) = house.node_with_peers(1)
    for sender in (0, 2, 63):
        stranger = peer.connect(life=None)
        stranger.sendall(wire.encode_hello(sender, bytes.fromhex(TOKEN)))
        assert is_closed(stranger)
    wait_until(lambda: node.counters.frames_rejected == 3)
    assert node.peers == []


# --- the end ---


def test_a_peer_that_says_bye_has_ended_and_has_not_failed(house: House) -> None:
    ending, node = house.nodes(2)
    ending.send(0, [(1, 0)])
    node.send(0, [(0, 0)])
    wait_until(lambda: len(node.arrived) == 1 and len(ending.arrived) == 1)
    ending.transport.finish()
    # The journal hears of it first, then the algorithm.
    wait_until(lambda: node.peers == [(0, True), (0, False)])
    assert node.events("peer_ended")
    ending.close()
    node.send(1, [(0, 0)])
    wait_until(
        lambda: node.peers[2:] == [(0, False)]
    )  # something was asked of it after all, and it is not there
    assert node.events("peer_ended")[0]["peer"] == "h1"
    assert node.events("peer_lost") == []
    assert node.counters.connections_lost == 0
    assert node.counters.frames_rejected == 0


def test_finishing_with_full_queues_ends_the_frame_in_transit_and_nothing_else(house: House) -> None:
    node, (peer, blocked) = house.node_with_peers(2, num_fragments=4, num_parameters=4 * BIG)
    node.send(0, [(peer_, index) for index in range(4) for peer_ in (1, 2)])
    connection = peer.accept()
    blocked.accept()
    talking = peer.connect()
    talking.sendall(peer.frame(1))
    wait_until(lambda: len(node.arrived) == 1 and node.counters.bytes_sent > 64)
    settled(node)
    node.transport.finish()
    counters = dict(vars(node.counters))
    records = node.path.read_bytes()
    assert set(node.transport.one_way_times()) == {"h2"}
    talking.sendall(peer.frame(2))
    reset(talking)
    receiver = peer.receiver()
    events = read_events(connection, receiver, 2)
    assert isinstance(events[0], wire.Hello)
    while not isinstance(events[-1], wire.Bye):
        events += read_events(connection, receiver, 1)
    assert len([fragment for fragment in events if isinstance(fragment, wire.Fragment)]) <= 1
    assert vars(node.counters) == counters
    assert node.path.read_bytes() == records
    node.close()


def test_finish_returns_if_the_thread_has_failed(house: House) -> None:
    node, (peer,) = house.node_with_peers(1)

    def fail(_: wire.Fragment) -> None:
        raise RuntimeError("a bug in an algorithm")

    node.on_fragment = fail
    peer.connect().sendall(peer.frame(1))
    wait_until(lambda: node.control_messages == [None])
    node.transport.finish()
    assert isinstance(node.transport.error, RuntimeError)
    node.transport.error = None  # otherwise closing would complain
