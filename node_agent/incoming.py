"""Incoming data: the listener, the connections that peers opened, and strangers that never identify themselves.

A connection is a stranger until its HELLO has been accepted. Strangers have a deadline and are limited in number, the
oldest going first, so that they cannot use up the descriptors or the time that peers need. A peer speaks on one
connection at a time: its newer HELLO ends the older connection, once everything that arrived there has been read.
"""

from __future__ import annotations

import logging
import select
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from node_agent import wire
from node_agent.counters import Counters
from node_agent.journal import Journal
from node_agent.limits import Limits
from node_agent.presence import Presence
from node_agent.settings import AgentSettings
from node_agent.tcp import OUT_OF_DESCRIPTORS

log = logging.getLogger(__name__)

# Reads from one connection, and connections accepted, before others get their turn.
_READS_PER_TURN = 16
_ACCEPTS_PER_TURN = 64
# Reads that drain a connection which a newer one replaces: more than its buffers can hold.
_LAST_READS = 10_000


class CannotListen(Exception):
    """The agent's port is not available in its host."""

    exit_status = 3
    remedy = "end the program that uses the port in this host, or choose another with agents.port"


def receivers(
    settings: AgentSettings, *, num_parameters: int, num_fragments: int, permutation_seed: int | None
) -> Callable[[], wire.Receiver]:
    """Returns a function that makes the reader of a new connection, with all that an agent demands of frames."""
    token, neighbours = bytes.fromhex(settings.token), frozenset(peer.index for peer in settings.peers)
    return lambda: wire.Receiver(
        token=token,
        num_nodes=settings.num_nodes,
        num_parameters=num_parameters,
        num_fragments=num_fragments,
        permutation_seed=permutation_seed,
        neighbours=neighbours,
        max_round=settings.max_round,
    )


@dataclass(eq=False)
class _Incoming:
    """A connection that was opened to us."""

    socket: socket.socket
    receiver: wire.Receiver
    address: str
    accepted_s: float
    closed: bool = False
    said_bye: bool = False


class Arrivals:
    """Everything that comes from peers. Used only by the I/O thread, except for its construction."""

    def __init__(
        self,
        settings: AgentSettings,
        selector: selectors.BaseSelector,
        *,
        new_receiver: Callable[[], wire.Receiver],
        on_fragment: Callable[[wire.Fragment], None],
        before_hello: Callable[[int], None],
        counters: Counters,
        journal: Journal,
        presence: Presence,
        limits: Limits,
        now: Callable[[], float],
    ) -> None:
        """Listens at once, and accepts connections from `open` on. Raises CannotListen.

        `before_hello(peer)` is called before a peer's HELLO takes effect, so that older news of the peer comes first.
        """
        self._selector = selector
        self._new_receiver = new_receiver
        self._on_fragment = on_fragment
        self._before_hello = before_hello
        self._counters = counters
        self._journal = journal
        self._presence = presence
        self._limits = limits
        self._now = now
        self._names = {peer.index: peer.name for peer in settings.peers}
        self._max_strangers = settings.num_nodes + limits.spare_strangers
        # Strangers in the order in which they came.
        self._strangers: dict[_Incoming, None] = {}
        self._speaking: dict[int, _Incoming] = {}
        self._turned_away: Counter[tuple[str, str]] = Counter()
        self._accepting = self._opened = False
        self._accept_at_wall_s = 0.0
        try:
            self._listener = socket.create_server(
                (settings.address, settings.port), backlog=self._max_strangers
            )
        except OSError as error:
            where = f"{settings.address}:{settings.port}"
            raise CannotListen(f"cannot listen on {where}: {error.strerror or error}") from None
        self._listener.setblocking(False)

    def open(self) -> None:
        """Begin to accept connections; later calls do nothing."""
        if not self._opened:
            self._opened = True
            self._start_accepting()

    def sweep(self) -> None:
        """Time has passed: close and report late strangers, and accept again if descriptors may be free."""
        if not self._opened:
            return
        if not self._accepting and time.monotonic() >= self._accept_at_wall_s:
            self._start_accepting()
        latest = self._now() - self._limits.hello_s
        while self._strangers and (oldest := next(iter(self._strangers))).accepted_s < latest:
            self._turn_away(oldest, f"no HELLO within {self._limits.hello_s:g} s")
        for (address, reason), number in self._turned_away.items():
            self._journal.write("strangers", address=address, connections=number, reason=reason)
            log.warning("closed %d connections from %s: %s", number, address, reason)
        self._turned_away.clear()

    # Accepting

    def _start_accepting(self) -> None:
        self._accepting = True
        self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._accept())

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            if not self._accepting:
                return
            try:
                sock, (address, _port) = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    # The kernel reports this even if nobody is waiting.
                    if not self._somebody_is_waiting():
                        return
                    self._make_room(error)
                continue  # otherwise the connection was gone before it was accepted
            sock.setblocking(False)
            incoming = _Incoming(sock, self._new_receiver(), address, self._now())
            self._strangers[incoming] = None
            self._selector.register(
                sock, selectors.EVENT_READ, lambda _, incoming=incoming: self._read(incoming, _READS_PER_TURN)
            )
            if len(self._strangers) > self._max_strangers:
                self._turn_away(next(iter(self._strangers)), "too many connections without a HELLO")

    def _somebody_is_waiting(self) -> bool:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        return bool(poll.poll(0))

    def _make_room(self, error: OSError) -> None:
        """No descriptor is left for a waiting connection: free the oldest stranger's, or accept none for a while."""
        self._counters.descriptor_shortages += 1
        if self._strangers:
            self._turn_away(next(iter(self._strangers)), "its file descriptor was needed")
            return
        # The listener stays readable, so watching it would only spin.
        self._selector.unregister(self._listener)
        self._accepting = False
        self._accept_at_wall_s = time.monotonic() + self._limits.status_wall_s
        log.warning("not accepting connections for now: %s", error.strerror)

    def _turn_away(self, stranger: _Incoming, reason: str) -> None:
        self._counters.strangers_closed += 1
        self._turned_away[stranger.address, reason] += 1
        self._close_connection(stranger)

    # Reading

    def _read(self, incoming: _Incoming, num_reads: int) -> None:
        """Handle the selector's event; the connection may have been closed earlier in the same batch."""
        receiver = incoming.receiver
        try:
            for _ in range(num_reads):
                if incoming.closed:
                    return
                num_bytes = incoming.socket.recv_into(receiver.get_buffer())
                if num_bytes == 0:
                    receiver.receive_eof()
                    self._end(incoming, "closed by the peer")
                    return
                self._counters.bytes_received += num_bytes
                receiver.buffer_updated(num_bytes)
                while not incoming.closed and (event := receiver.next_event()) is not wire.NEED_DATA:
                    self._handle(incoming, event)
        except BlockingIOError:
            return
        except wire.RemoteProtocolError as error:
            self._reject(incoming, error)
        except OSError as error:
            self._end(incoming, error.strerror or str(error))

    def _handle(self, incoming: _Incoming, event: object) -> None:
        if isinstance(event, wire.Hello):
            self._greet(incoming, event)
        elif isinstance(event, wire.Fragment):
            self._presence.heard(event.sender)
            self._on_fragment(event)
        elif isinstance(event, wire.Bye):
            incoming.said_bye = True
            self._journal.write("peer_ended", peer=self._name(incoming))
            self._presence.said_bye(event.sender)

    def _greet(self, incoming: _Incoming, hello: wire.Hello) -> None:
        """A peer has a new connection: first read what is left on its older one, and end that."""
        peer = hello.sender
        del self._strangers[incoming]
        if hello.life < self._presence.life_of(peer):
            log.info("closed a connection from an earlier life of %s", self._name(incoming))
            self._close_connection(incoming)
            return
        older = self._speaking.get(peer)
        if older is not None:
            self._read(older, _LAST_READS)
            if not older.closed:
                self._end(older, "replaced by a newer connection")
        self._before_hello(peer)
        self._speaking[peer] = incoming
        self._presence.joined(peer, hello.life)

    def _reject(self, incoming: _Incoming, error: wire.RemoteProtocolError) -> None:
        peer = self._name(incoming)
        if isinstance(error, wire.NotFinite):
            self._journal.write("not_finite", peer=peer)
            self._counters.frames_not_finite += 1
        else:
            self._journal.write("rejected", peer=peer, reason=error.reason)
            self._counters.frames_rejected += 1
        log.warning("closed the connection from %s: %s", peer, error.reason)
        self._close_connection(incoming)

    def _end(self, incoming: _Incoming, reason: str) -> None:
        if incoming in self._strangers or incoming.said_bye:
            self._close_connection(incoming)
            return
        self._counters.connections_lost += 1
        self._journal.write("peer_lost", peer=self._name(incoming), reason=reason)
        self._close_connection(incoming)

    def _close_connection(self, incoming: _Incoming) -> None:
        incoming.closed = True
        self._selector.unregister(incoming.socket)
        incoming.socket.close()
        self._strangers.pop(incoming, None)
        peer = incoming.receiver.sender
        if peer is not None and self._speaking.get(peer) is incoming:
            del self._speaking[peer]
            self._presence.incoming_ended(peer)

    def _name(self, incoming: _Incoming) -> str:
        sender = incoming.receiver.sender
        return incoming.address if sender is None else self._names.get(sender, str(sender))

    # The end

    def finish(self) -> None:
        """Stop reading; connections stay open."""
        self.sweep()
        if self._accepting:
            self._selector.unregister(self._listener)
            self._accepting = False
        self._opened = False
        for incoming in (*self._strangers, *self._speaking.values()):
            self._selector.unregister(incoming.socket)

    def close(self) -> None:
        """Close every connection and the listener."""
        for incoming in (*self._strangers, *self._speaking.values()):
            incoming.closed = True
            incoming.socket.close()
        self._listener.close()
