"""What this node sends: one connection and one queue per peer, and the rules by which frames leave.

A frame is unsent until the kernel has accepted its first byte; only then does it get its send time, and until then it
can be dropped. Only `advance` connects and writes: once per turn of the I/O thread, after all input has been handled.

`exchange: parallel`: every peer's queue advances independently. `exchange: sequential`: one frame at a time holds the
line, in the order of creation, until the kernel has accepted all of it and sent nearly all. Peers that accept nothing
are skipped. A frame that waits for its peer or for the path there, rather than for this node's own link, gives up the
line and goes on independently; so does one that takes much longer than others of its size.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable
from itertools import count

from node_agent import wire
from node_agent.algorithms import Outbox
from node_agent.connection import LOOK_S, Frame, Outgoing
from node_agent.counters import Counters
from node_agent.journal import Journal
from node_agent.limits import Limits
from node_agent.presence import Presence
from node_agent.settings import AgentSettings
from node_agent.tcp import (
    LOWAT_EMPTY_BYTES,
    NOTSENT_LOWAT_BYTES,
    OUT_OF_DESCRIPTORS,
    min_round_trip_s,
    set_lowat,
    unsent_bytes,
)

log = logging.getLogger(__name__)

# Sequential exchange: the next frame begins once less than this of the earlier ones is unsent, so that the link is not
# idle until this thread wakes up.
_AHEAD_BYTES = 16384
# Frames to one peer, or in sequence, before incoming connections get their turn.
_FRAMES_PER_TURN = 16
# A frame is slow when it holds the line this many times as long as a frame of its size should.
_SLOW_FACTOR = 4
# Each frame multiplies the remembered best rate by this, so that it follows links that become slower.
_FADING = 0.9


class Sender:
    """Everything that this node sends to its peers. Used only by the I/O thread."""

    def __init__(
        self,
        settings: AgentSettings,
        selector: selectors.BaseSelector,
        *,
        exchange: str,
        counters: Counters,
        journal: Journal,
        presence: Presence,
        limits: Limits,
        now: Callable[[], float],
    ) -> None:
        """`exchange`: parallel or sequential. `now`: emulated seconds."""
        self._settings = settings
        self._selector = selector
        self._sequential = exchange == "sequential"
        self._counters = counters
        self._journal = journal
        self._presence = presence
        self._limits = limits
        self._now = now
        life = 0 if settings.resume is None else settings.resume.life
        self._hello = wire.encode_hello(settings.index, bytes.fromhex(settings.token), life)
        self._outgoing = {peer.index: Outgoing(peer) for peer in settings.peers}
        self._orders = count()
        self._finished = False
        # Connections for which `advance` may have something to do: with many peers, only few change at a time.
        self._stirred: set[Outgoing] = set()
        # Sequential exchange: who holds the line and until when; the rate of the fastest recent frame.
        self._line: Outgoing | None = None
        self._line_until_s = self._look_at_s = 0.0
        self._fastest_Bps = 0.0

    # What is to be sent

    def enqueue(self, outbox: Outbox) -> None:
        """Add it to the queues; the next `advance` sends what the kernel accepts."""
        if outbox.replace_unsent:
            for outgoing in self._outgoing.values():
                self._drop(outgoing, list(outgoing.queue))
        frames = outbox.frames(self._settings.index)
        self._counters.fragments_created += len(outbox.sends)
        if self._settings.ledger and outbox.sends:
            sends = [(send.fragment, self._outgoing[send.peer].peer.name) for send in outbox.sends]
            self._journal.write("created", round=outbox.round, sends=sends)
        for peer in dict.fromkeys(send.peer for send in outbox.sends):
            self._presence.heard(peer)
            self._bound(self._outgoing[peer], outbox)
        for send in outbox.sends:
            self._outgoing[send.peer].queue.append(
                Frame(frames, outbox.round, send.fragment, next(self._orders), outbox.reply_wanted)
            )
            self._stirred.add(self._outgoing[send.peer])

    def _bound(self, outgoing: Outgoing, outbox: Outbox) -> None:
        """Let only the newest frames wait for a peer that is not there: otherwise `stale: keep` would exhaust memory.

        Requests and other frames are told apart: a request that an answer replaced would never be answered.
        """
        connecting = outgoing.socket is not None and not outgoing.connected
        unreachable = (
            outgoing.lost
            or (connecting and self._now() - outgoing.began_s > self._limits.reconnect_s)
            or self._presence.has_ended(outgoing.peer.index)
        )
        if unreachable:
            older = [frame for frame in outgoing.queue if frame.reply_wanted == outbox.reply_wanted]
            self._drop(outgoing, older)

    def _drop(self, outgoing: Outgoing, frames: list[Frame]) -> None:
        """Drop these unsent frames: newer data takes their place."""
        if not frames:
            return
        gone = set(map(id, frames))
        outgoing.queue = deque(frame for frame in outgoing.queue if id(frame) not in gone)
        self._stirred.add(outgoing)
        self._counters.fragments_dropped_stale += len(frames)
        if self._settings.ledger:
            for frame in frames:
                self._journal.write(
                    "dropped", round=frame.round, fragment=frame.fragment, peer=outgoing.peer.name
                )

    def watch(self, peer: int) -> None:
        """Connect to that peer even though nothing is sent to it, so that its end is noticed."""
        outgoing = self._outgoing[peer]
        if outgoing.socket is None:
            self._presence.heard(peer)
            outgoing.wanted = True
            self._stirred.add(outgoing)

    # Sending

    def advance(self) -> None:
        """Hand the kernel what it accepts, and open the connections that are needed."""
        if not self._stirred and (self._line is None or self._now() < self._look_at_s):
            return
        in_sequence = self._sequential and not self._finished
        # In sequence one frame's progress decides about all the others.
        chosen = [
            outgoing for outgoing in self._outgoing.values() if in_sequence or outgoing in self._stirred
        ]
        self._stirred = set()
        for outgoing in self._outgoing.values():
            if outgoing.socket is None and (outgoing.queue or outgoing.wanted):
                self._connect(outgoing)
        if in_sequence:
            self._advance_in_sequence()
        else:
            for outgoing in chosen:
                if outgoing.takes_bytes:
                    self._advance_connection(outgoing)
        for outgoing in chosen:
            self._watch(outgoing)

    def patience_s(self) -> float | None:
        """Emulated seconds until `advance` must be called even if nothing happens; None: no limit."""
        if self._stirred:
            return 0.0
        return None if self._line is None else max(0.0, self._look_at_s - self._now())

    def retry(self) -> None:
        """Time has passed: lost connections may be retried."""
        if not self._finished:
            self._stirred.update(self._outgoing.values())

    def _advance_connection(self, outgoing: Outgoing) -> None:
        """Send frames of that peer's queue, in order, until the kernel accepts no more."""
        try:
            for _ in range(_FRAMES_PER_TURN):
                if not self._send_rest(outgoing) or not outgoing.queue or not self._begin(outgoing):
                    return
        except OSError as error:
            self._lose(outgoing, error.strerror or str(error))
        else:
            self._stirred.add(outgoing)

    def _advance_in_sequence(self) -> None:
        for outgoing in self._outgoing.values():
            # HELLOs, and frames that have given up the line and go on independently.
            if outgoing is not self._line and outgoing.rest and outgoing.takes_bytes:
                self._continue(outgoing)
        for _ in range(_FRAMES_PER_TURN):
            if self._line is not None and not self._line_is_free(self._line):
                return
            if not self._begin_next():
                return
        self._stirred.update(self._outgoing.values())

    def _line_is_free(self, holder: Outgoing) -> bool:
        if holder.current is not None and holder.takes_bytes:
            self._continue(holder)
        now = self._now()
        if now < self._line_until_s and self._link_is_busy(holder):
            self._look_at_s = min(self._line_until_s, now + LOOK_S)
            return False
        self._line = None
        return True

    def _link_is_busy(self, holder: Outgoing) -> bool:
        """Whether this node's own link has enough to send; frames that wait for the network do not count."""
        if holder.current is not None and holder.socket is not None:
            return not holder.is_stuck(self._now())
        ahead_bytes = 0
        for outgoing in self._outgoing.values():
            if outgoing.draining is None or outgoing.socket is None or outgoing.is_stuck(self._now()):
                continue
            ahead_bytes += unsent_bytes(outgoing.socket)
        return ahead_bytes >= _AHEAD_BYTES

    def _begin_next(self) -> bool:
        """Begin the oldest unsent frame whose peer accepts at least its first byte; False if there is none."""
        ready = [
            outgoing
            for outgoing in self._outgoing.values()
            if outgoing.queue and outgoing.takes_bytes and not outgoing.rest
        ]
        for outgoing in sorted(ready, key=lambda outgoing: outgoing.queue[0].order):
            # Another frame may begin on a draining connection, but not behind one that waits for the network.
            if outgoing.draining is not None and outgoing.is_stuck(self._now()):
                continue
            try:
                begun = self._begin(outgoing)
            except OSError as error:
                self._lose(outgoing, error.strerror or str(error))
                continue
            if begun and outgoing.current is not None:
                usual_s = outgoing.current.num_bytes / self._fastest_Bps if self._fastest_Bps else 0.0
                self._line_until_s = self._now() + max(self._limits.hold_s, _SLOW_FACTOR * usual_s)
                self._line = outgoing
                return True
        return False

    def _continue(self, outgoing: Outgoing) -> None:
        try:
            self._send_rest(outgoing)
        except OSError as error:
            self._lose(outgoing, error.strerror or str(error))

    def _begin(self, outgoing: Outgoing) -> bool:
        """Put the first frame of the queue in transit; False if the kernel accepts none of it.

        Raises OSError.
        """
        assert outgoing.socket is not None
        if outgoing.draining is not None:
            set_lowat(outgoing.socket, NOTSENT_LOWAT_BYTES)
        frame = outgoing.queue[0]
        begun_s = self._now()
        header, payload = frame.frames.frame(frame.fragment, begun_s)
        parts = [memoryview(header), payload.cast("B")]
        try:
            num_bytes = outgoing.socket.sendmsg(parts)
        except BlockingIOError:
            outgoing.takes_bytes = False
            return False
        outgoing.queue.popleft()
        frame.begun_s = begun_s
        outgoing.current, outgoing.rest = frame, parts
        self._accepted(outgoing, num_bytes)
        return True

    def _send_rest(self, outgoing: Outgoing) -> bool:
        """Send the rest of what has been begun; True once the kernel has accepted all of it. Raises OSError."""
        assert outgoing.socket is not None
        while outgoing.rest:
            try:
                num_bytes = outgoing.socket.sendmsg(outgoing.rest)
            except BlockingIOError:
                outgoing.takes_bytes = False
                return False
            self._accepted(outgoing, num_bytes)
        if outgoing.current is not None:
            frame, outgoing.current = outgoing.current, None
            self._sent(outgoing, frame)
            if self._sequential:
                self._drain(outgoing, outgoing.socket, frame)
        return True

    def _accepted(self, outgoing: Outgoing, num_bytes: int) -> None:
        """The kernel has accepted that many bytes of the rest."""
        if not self._finished:
            self._counters.bytes_sent += num_bytes
        rest = outgoing.rest
        while rest and num_bytes >= len(rest[0]):
            num_bytes -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][num_bytes:]

    def _sent(self, outgoing: Outgoing, frame: Frame) -> None:
        if self._finished:
            return
        self._counters.fragments_sent += 1
        if self._settings.ledger:
            self._journal.write(
                "sent",
                round=frame.round,
                fragment=frame.fragment,
                peer=outgoing.peer.name,
                begun=round(frame.begun_s, 6),
                bytes=frame.num_bytes,
            )

    def _drain(self, outgoing: Outgoing, sock: socket.socket, frame: Frame) -> None:
        """The kernel has accepted the whole frame: wait, and be woken, until it has left the socket."""
        left_bytes = unsent_bytes(sock)
        if not left_bytes:
            if outgoing.draining is not None:
                self._drained(outgoing, sock, frame)
            return
        outgoing.draining, outgoing.stuck = frame, (left_bytes, self._now())
        # A socket is reported as writable once less than half its mark is unsent.
        if 2 * left_bytes < NOTSENT_LOWAT_BYTES:
            set_lowat(sock, LOWAT_EMPTY_BYTES)

    def _drained(self, outgoing: Outgoing, sock: socket.socket, frame: Frame) -> None:
        # Only frames that had to wait show how fast the network takes them.
        took_s = max(1e-6, self._now() - frame.begun_s)
        self._fastest_Bps = max(self._fastest_Bps * _FADING, frame.num_bytes / took_s)
        outgoing.draining = None
        set_lowat(sock, NOTSENT_LOWAT_BYTES)

    # Connections

    def _connect(self, outgoing: Outgoing) -> None:
        now = self._now()
        if now < outgoing.retry_at_s:
            return
        try:
            sock = socket.socket(
                socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
            # This says nothing about the peer, so the peer is not lost: its queue waits.
            outgoing.retry_at_s = now + self._limits.reconnect_s
            self._counters.descriptor_shortages += 1
            log.warning("cannot connect to %s for now: %s", outgoing.peer.name, error.strerror)
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        set_lowat(sock, NOTSENT_LOWAT_BYTES)
        outgoing.socket, outgoing.began_s, outgoing.wanted = sock, now, False
        outgoing.watched = selectors.EVENT_WRITE
        self._selector.register(sock, outgoing.watched, lambda events: self._on_ready(outgoing, sock, events))
        failed = sock.connect_ex((outgoing.peer.address, outgoing.peer.port))
        if failed not in (0, errno.EINPROGRESS):
            self._lose(outgoing, os.strerror(failed))

    def _on_ready(self, outgoing: Outgoing, sock: socket.socket, events: int) -> None:
        """Handle the selector's events; `sock` may have been given up earlier in the same batch."""
        if outgoing.socket is not sock:
            return
        if not outgoing.connected:
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                self._lose(outgoing, os.strerror(failed))
                return
            outgoing.connected, outgoing.lost, outgoing.takes_bytes = True, False, True
            outgoing.rest = [memoryview(self._hello)]
            outgoing.life = self._presence.life_of(outgoing.peer.index)
            self._presence.heard(outgoing.peer.index)
        elif events & selectors.EVENT_READ and self._end_if_over(outgoing, sock):
            return
        elif events & selectors.EVENT_WRITE:
            outgoing.takes_bytes = True
            if outgoing.draining is not None and outgoing.current is None:
                self._drain(outgoing, sock, outgoing.draining)
        self._stirred.add(outgoing)

    def notice_end(self, peer: int) -> None:
        """Check whether the connection to that peer has ended, before newer news of the peer is handled."""
        outgoing = self._outgoing[peer]
        if outgoing.socket is not None and outgoing.connected:
            self._end_if_over(outgoing, outgoing.socket)

    def _end_if_over(self, outgoing: Outgoing, sock: socket.socket) -> bool:
        """Nothing is ever sent back on this connection: if it is readable, it has ended."""
        try:
            gone = not sock.recv(1)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(outgoing, error.strerror or str(error))
        else:
            self._lose(outgoing, "closed by the peer" if gone else "the peer sent bytes on our connection")
        return True

    def _watch(self, outgoing: Outgoing) -> None:
        """Tell the selector which events to wait for."""
        sock = outgoing.socket
        if sock is None or not outgoing.connected:
            return
        blocked = not outgoing.takes_bytes and bool(outgoing.rest or outgoing.queue)
        events = selectors.EVENT_WRITE if blocked or outgoing.draining is not None else 0
        if not self._finished:
            events |= selectors.EVENT_READ
        if events == outgoing.watched:
            return
        if not events:
            self._selector.unregister(sock)
        else:
            self._selector.modify(sock, events, lambda ready: self._on_ready(outgoing, sock, ready))
        outgoing.watched = events

    def _lose(self, outgoing: Outgoing, reason: str) -> None:
        """The connection is gone, and the frame in transit with it; the queue waits for the next attempt."""
        assert outgoing.socket is not None
        if outgoing.watched:
            self._selector.unregister(outgoing.socket)
        outgoing.socket.close()
        news = outgoing.connected or not outgoing.lost
        torn = outgoing.current is not None
        outgoing.socket, outgoing.connected, outgoing.takes_bytes = None, False, False
        outgoing.current, outgoing.rest, outgoing.draining, outgoing.stuck = None, [], None, None
        outgoing.lost, outgoing.watched = True, 0
        self._stirred.add(outgoing)
        if self._finished:
            return
        outgoing.retry_at_s = self._now() + self._limits.reconnect_s
        self._counters.fragments_lost += torn
        if news and not self._presence.has_ended(outgoing.peer.index):
            self._counters.connections_lost += 1
            self._journal.write("peer_lost", peer=outgoing.peer.name, reason=reason)
        self._presence.outgoing_ended(outgoing.peer.index, outgoing.life)

    # The end

    def finish(self) -> None:
        """Stop counting and reporting; finish frames in transit if peers accept them, and say BYE."""
        self._finished = True
        self._line = None
        bye = memoryview(wire.encode_bye(self._settings.index))
        for outgoing in self._outgoing.values():
            outgoing.queue.clear()
            if outgoing.connected:
                outgoing.rest.append(bye)
            elif outgoing.socket is not None:
                self._lose(outgoing, "the experiment is over")
        self._stirred.update(self._outgoing.values())

    def round_trip_times(self) -> dict[str, float]:
        """Smallest round-trip time the kernel has measured to each connected peer, emulated seconds."""
        times = {}
        for outgoing in self._outgoing.values():
            if outgoing.socket is not None and outgoing.connected:
                round_trip_s = min_round_trip_s(outgoing.socket)
                if round_trip_s is not None:
                    times[outgoing.peer.name] = round_trip_s / self._settings.dilation
        return times

    def close(self) -> None:
        """Close every connection."""
        for outgoing in self._outgoing.values():
            if outgoing.socket is not None:
                outgoing.socket.close()
                outgoing.socket = None
