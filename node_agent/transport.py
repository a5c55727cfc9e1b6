"""All of an agent's sockets: one thread, one selector, non-blocking TCP, one outgoing connection per peer.

A connection carries frames one way, from the node that opened it; it is opened when first needed and kept. Each peer
has an out-queue of its own, so a slow receiver never holds up the others. The kernel is given little unsent data, so
when a new round replaces the queues only the frames in transit remain of the old one.

This module knows frames and peers, but neither algorithms nor training: what arrives goes to a callback.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from node_agent import wire
from node_agent.algorithms import Outbox
from node_agent.clock import EmulatedClock
from node_agent.control import ControlChannel
from node_agent.counters import Counters
from node_agent.journal import Journal
from node_agent.settings import AgentSettings, PeerSettings

log = logging.getLogger(__name__)

# Unsent bytes the kernel may hold per connection. Half a GN-LeNet fragment: enough to keep 200 Mbit/s busy between two
# wake-ups of this thread, and little that is stale when a round replaces another.
NOTSENT_LOWAT_BYTES = 16384
_TCP_NOTSENT_LOWAT = 25
# Emulated seconds before a broken connection is tried again.
RECONNECT_S = 1.0
# Wall seconds between two status messages.
STATUS_WALL_S = 0.5
# Reads from one connection before the others get their turn.
_READS_PER_TURN = 16
# struct tcp_info (linux/tcp.h): offset of tcpi_min_rtt, microseconds.
_TCP_INFO_MIN_RTT_OFFSET = 148


class CannotListen(Exception):
    """The agent's port is not to be had in its host."""

    exit_status = 3
    remedy = "end the program that uses the port in this host, or choose another with agents.port"


@dataclass
class _Frame:
    """One frame on its way to one peer."""

    frames: wire.RoundFrames
    round: int
    fragment: int
    begun_s: float = 0.0
    unsent: list[memoryview] = field(default_factory=list)


@dataclass
class _Outgoing:
    """The connection to one peer, and what waits for it."""

    peer: PeerSettings
    queue: deque[_Frame] = field(default_factory=deque)
    current: _Frame | None = None
    socket: socket.socket | None = None
    connected: bool = False
    hello: memoryview | None = None
    retry_at_s: float = 0.0
    events: int = 0


@dataclass
class _Incoming:
    """A connection somebody opened to us."""

    socket: socket.socket
    receiver: wire.Receiver
    address: str


@dataclass
class _OneWay:
    """How long one sender's frames took; all hosts share one clock."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    largest: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.least, self.largest = min(self.least, seconds), max(self.largest, seconds)


class Transport:
    """The I/O thread of one agent."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        counters: Counters,
        journal: Journal,
        new_receiver: Callable[[], wire.Receiver],
        on_fragment: Callable[[wire.Fragment], Outbox | None],
        on_peer: Callable[[int, bool], None],
        control: ControlChannel,
        on_control: Callable[[dict[str, object] | None], None],
        status: Callable[[], dict[str, object]],
    ) -> None:
        """Listens at once. Raises CannotListen.

        `on_peer(index, joined)` tells of peers that come and go; `on_control(None)` of the controller's end.
        All callbacks run in the I/O thread.
        """
        self._settings = settings
        self._counters = counters
        self._journal = journal
        self._new_receiver = new_receiver
        self._on_fragment = on_fragment
        self._on_peer = on_peer
        self._control = control
        self._on_control = on_control
        self._status = status
        self._names = {peer.index: peer.name for peer in settings.peers}
        life = 0 if settings.resume is None else settings.resume.life
        self._hello = wire.encode_hello(settings.index, bytes.fromhex(settings.token), life)
        self._outgoing = {peer.index: _Outgoing(peer) for peer in settings.peers}
        self._incoming: set[socket.socket] = set()
        self._one_way: dict[int, _OneWay] = {}
        self._clock: EmulatedClock | None = None
        self._submitted: deque[Outbox] = deque()
        self._to_watch: deque[int] = deque()
        self._controlled = True
        self._quiet = False
        self._closing = False
        self._next_status = 0.0
        self.error: BaseException | None = None
        try:
            self._listener = socket.create_server(
                (settings.address, settings.port), backlog=settings.num_nodes + 8
            )
        except OSError as error:
            where = f"{settings.address}:{settings.port}"
            raise CannotListen(f"cannot listen on {where}: {error.strerror or error}") from None
        self._listener.setblocking(False)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain_wake)
        self._selector.register(control, selectors.EVENT_READ, self._read_control)
        self._thread = threading.Thread(target=self._run, name="io", daemon=True)

    # Called from the training thread

    def start(self) -> None:
        """Start the I/O thread."""
        self._thread.start()

    def begin(self, clock: EmulatedClock) -> None:
        """The common start is known: sending may begin."""
        self._clock = clock

    def watch(self, peers: Iterable[int]) -> None:
        """Open connections to those that have none, so that their end is noticed though nothing is sent to them."""
        self._to_watch.extend(peers)
        self._wake()

    def submit(self, outbox: Outbox) -> None:
        """Hand over what to send; returns at once."""
        self._submitted.append(outbox)
        self._wake()

    def finish(self) -> None:
        """Stop sending and reading, and ignore what peers do from here on; connections stay open until `close`."""
        self._quiet = True
        self._wake()

    def close(self) -> None:
        """End the I/O thread and close every socket; a second call does nothing."""
        if self._wake_write < 0:
            return
        self._closing = True
        self._wake()
        self._thread.join()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)
        self._wake_write = -1

    def round_trip_times(self) -> dict[str, float]:
        """Least round-trip time the kernel saw to each connected peer, emulated seconds. After `finish` only."""
        times = {}
        for outgoing in self._outgoing.values():
            if outgoing.socket is not None and outgoing.connected:
                info = outgoing.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                if len(info) >= _TCP_INFO_MIN_RTT_OFFSET + 4:
                    (microseconds,) = struct.unpack_from("=I", info, _TCP_INFO_MIN_RTT_OFFSET)
                    if microseconds != 0xFFFFFFFF:
                        times[outgoing.peer.name] = microseconds / 1e6 / self._settings.dilation
        return times

    def one_way_times(self) -> dict[str, list[float]]:
        """Sender -> least, mean and largest time of its frames, first byte sent to last received, emulated seconds."""
        return {
            self._names.get(sender, str(sender)): [
                round(value, 6) for value in (one.least, one.total / one.count, one.largest)
            ]
            for sender, one in self._one_way.items()
        }

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so the thread is awake already
            os.write(self._wake_write, b"!")

    # The I/O thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except BaseException as error:
            self.error = error
            log.exception("the I/O thread failed")
            self._on_control(None)
        finally:
            self._close_sockets()

    def _turn(self) -> None:
        for key, events in self._selector.select(timeout=STATUS_WALL_S / 2):
            if self._quiet and key.data not in (self._read_control, self._drain_wake):
                # Nothing that peers do after the end counts; a readable socket left alone would spin.
                self._selector.unregister(key.fileobj)
                continue
            key.data(key.fileobj, events)
        while self._submitted and not self._quiet:
            self._enqueue(self._submitted.popleft())
        while self._to_watch and not self._quiet:
            self._pump(self._outgoing[self._to_watch.popleft()])
        if self._clock is not None and time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + STATUS_WALL_S
            self._reconnect()
            if self._controlled and not self._quiet:
                self._send_status()

    def _send_status(self) -> None:
        try:
            self._control.send("status", **self._status())
        except OSError:
            self._lose_control()

    def _drain_wake(self, _: object, __: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _read_control(self, _: object, __: int) -> None:
        messages = self._control.receive()
        if messages is None:
            self._lose_control()
            return
        for message in messages:
            self._on_control(message)

    def _lose_control(self) -> None:
        """The controller is gone: said once."""
        if self._controlled:
            self._controlled = False
            self._selector.unregister(self._control)
            self._on_control(None)

    def _now(self) -> float:
        assert self._clock is not None
        return self._clock.now()

    # Sending

    def _enqueue(self, outbox: Outbox) -> None:
        if outbox.replace_unsent:
            self._drop_unsent()
        frames = outbox.frames(self._settings.index)
        for send in outbox.sends:
            self._outgoing[send.peer].queue.append(_Frame(frames, outbox.round, send.fragment))
        self._counters.fragments_created += len(outbox.sends)
        if self._settings.ledger and outbox.sends:
            sends = [[send.fragment, self._names[send.peer]] for send in outbox.sends]
            self._journal.write("created", round=outbox.round, sends=sends)
        for outgoing in self._outgoing.values():
            if outgoing.queue:
                self._pump(outgoing)

    def _drop_unsent(self) -> None:
        for outgoing in self._outgoing.values():
            self._counters.fragments_dropped_stale += len(outgoing.queue)
            if self._settings.ledger:
                for frame in outgoing.queue:
                    self._journal.write(
                        "dropped", round=frame.round, fragment=frame.fragment, peer=outgoing.peer.name
                    )
            outgoing.queue.clear()

    def _reconnect(self) -> None:
        for outgoing in self._outgoing.values():
            if outgoing.socket is None and outgoing.queue and not self._quiet:
                self._pump(outgoing)

    def _connect(self, outgoing: _Outgoing) -> None:
        if self._now() < outgoing.retry_at_s:
            return
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
        outgoing.socket, outgoing.connected = sock, False
        outgoing.hello = memoryview(self._hello)
        failed = sock.connect_ex((outgoing.peer.address, outgoing.peer.port))
        outgoing.events = selectors.EVENT_WRITE
        self._selector.register(sock, outgoing.events, lambda _, events: self._on_outgoing(outgoing, events))
        if failed not in (0, errno.EINPROGRESS):
            self._lose(outgoing, os.strerror(failed))

    def _on_outgoing(self, outgoing: _Outgoing, events: int) -> None:
        sock = outgoing.socket
        assert sock is not None
        if not outgoing.connected:
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                self._lose(outgoing, os.strerror(failed))
                return
            outgoing.connected = True
        elif events & selectors.EVENT_READ:
            # Nothing is ever sent back on this connection: what is readable is its end.
            try:
                gone = not sock.recv(1)
            except BlockingIOError:
                gone = False
            except OSError as error:
                self._lose(outgoing, error.strerror or str(error))
                return
            self._lose(outgoing, "closed by the peer" if gone else "the peer sent bytes on our connection")
            return
        self._pump(outgoing)

    def _pump(self, outgoing: _Outgoing) -> None:
        """Give the kernel as much of the peer's queue as it takes."""
        if outgoing.socket is None:
            self._connect(outgoing)
            return
        if not outgoing.connected:
            return
        try:
            blocked = self._write(outgoing, outgoing.socket)
        except OSError as error:
            self._lose(outgoing, error.strerror or str(error))
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if blocked else 0)
        if events != outgoing.events:
            outgoing.events = events
            self._selector.modify(
                outgoing.socket, events, lambda _, ready: self._on_outgoing(outgoing, ready)
            )

    def _write(self, outgoing: _Outgoing, sock: socket.socket) -> bool:
        """Returns True where the kernel takes no more for now. Raises OSError."""
        while True:
            frame = outgoing.current
            if frame is None:
                if not outgoing.queue:
                    if outgoing.hello is not None:  # a new connection takes so few bytes whole
                        self._counters.bytes_sent += sock.send(outgoing.hello)
                        outgoing.hello = None
                    return False
                frame = outgoing.current = outgoing.queue.popleft()
                frame.begun_s = self._now()
                header, payload = frame.frames.frame(frame.fragment, frame.begun_s)
                frame.unsent = [memoryview(header), payload.cast("B")]
                if outgoing.hello is not None:
                    frame.unsent.insert(0, outgoing.hello)
                    outgoing.hello = None
            try:
                num_bytes = sock.sendmsg(frame.unsent)
            except BlockingIOError:
                return True
            self._counters.bytes_sent += num_bytes
            while frame.unsent and num_bytes >= len(frame.unsent[0]):
                num_bytes -= len(frame.unsent.pop(0))
            if frame.unsent:
                frame.unsent[0] = frame.unsent[0][num_bytes:]
                continue
            outgoing.current = None
            self._counters.fragments_sent += 1
            if self._settings.ledger:
                self._journal.write(
                    "sent",
                    round=frame.round,
                    fragment=frame.fragment,
                    peer=outgoing.peer.name,
                    begun=round(frame.begun_s, 6),
                    bytes=frame.frames.frame_bytes(frame.fragment),
                )

    def _lose(self, outgoing: _Outgoing, reason: str) -> None:
        """The connection is gone, and the frame in transit with it; the queue waits for the next try."""
        assert outgoing.socket is not None
        self._selector.unregister(outgoing.socket)
        outgoing.socket.close()
        outgoing.socket, outgoing.connected, outgoing.current = None, False, None
        outgoing.retry_at_s = self._now() + RECONNECT_S
        self._counters.connections_lost += 1
        self._journal.write("peer_lost", peer=outgoing.peer.name, reason=reason)
        self._on_peer(outgoing.peer.index, False)

    # Receiving

    def _accept(self, _: object, __: int) -> None:
        try:
            sock, (address, _port) = self._listener.accept()
        except OSError:
            return  # gone before it was accepted
        sock.setblocking(False)
        self._incoming.add(sock)
        incoming = _Incoming(sock, self._new_receiver(), address)
        self._selector.register(sock, selectors.EVENT_READ, lambda _, __: self._read(incoming))

    def _read(self, incoming: _Incoming) -> None:
        receiver = incoming.receiver
        try:
            for _ in range(_READS_PER_TURN):
                num_bytes = incoming.socket.recv_into(receiver.get_buffer())
                if num_bytes == 0:
                    receiver.receive_eof()
                    self._drop_incoming(incoming)
                    return
                self._counters.bytes_received += num_bytes
                receiver.buffer_updated(num_bytes)
                while (event := receiver.next_event()) is not wire.NEED_DATA:
                    self._handle(event)
        except BlockingIOError:
            return
        except wire.RemoteProtocolError as error:
            self._reject(incoming, error.reason)
        except OSError as error:
            self._journal.write(
                "peer_lost", peer=self._peer_name(incoming), reason=error.strerror or str(error)
            )
            self._drop_incoming(incoming)

    def _handle(self, event: object) -> None:
        if isinstance(event, wire.Hello):
            if event.life:  # what its earlier life owed never comes
                self._on_peer(event.sender, False)
            self._on_peer(event.sender, True)
        elif isinstance(event, wire.Fragment):
            self._counters.fragments_received += 1
            self._one_way.setdefault(event.sender, _OneWay()).add(self._now() - event.sent_s)
            if self._settings.ledger:
                self._journal.write(
                    "arrived",
                    round=event.round,
                    fragment=event.index,
                    sender=self._names.get(event.sender, str(event.sender)),
                    sent=round(event.sent_s, 6),
                    bytes=wire.frame_bytes(event.values.nbytes),
                )
            reply = self._on_fragment(event)
            if reply is not None:
                self._enqueue(reply)

    def _reject(self, incoming: _Incoming, reason: str) -> None:
        peer = self._peer_name(incoming)
        self._journal.write("rejected", peer=peer, reason=reason)
        self._counters.frames_rejected += 1
        log.warning("closed the connection from %s: %s", peer, reason)
        self._drop_incoming(incoming)

    def _peer_name(self, incoming: _Incoming) -> str:
        sender = incoming.receiver.sender
        return incoming.address if sender is None else self._names.get(sender, str(sender))

    def _drop_incoming(self, incoming: _Incoming) -> None:
        self._selector.unregister(incoming.socket)
        self._incoming.discard(incoming.socket)
        incoming.socket.close()

    def _close_sockets(self) -> None:
        for outgoing in self._outgoing.values():
            if outgoing.socket is not None:
                outgoing.socket.close()
        for sock in self._incoming:
            sock.close()
        self._listener.close()
        self._selector.close()
