"""What this node sends: one connection and one queue for each peer, and the rule by which frames leave.

A frame is unsent until the kernel has taken its first byte, and only then has it a send time; whatever is unsent can
still be dropped. Sockets are touched in `advance` alone, once a turn of the I/O thread, after everything that came in.

`exchange: parallel`: every peer's queue moves by itself. `exchange: sequential`: one frame at a time holds the line, in
the order in which frames were made, until the kernel has all of it and has sent nearly all. Peers that take nothing are
passed over; a frame that waits for the peer or for the way there, and not for this node's own link, is left to go on by
itself, and so is one that takes much longer than others of its size.
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

# Sequential exchange: the next frame begins when less than this of the earlier ones is unsent, so that the link does
# not stand still until this thread wakes up.
_AHEAD_BYTES = 16384
# Frames to one peer, or in sequence, before incoming connections get their turn.
_FRAMES_PER_TURN = 16
# A frame that holds the line for so many times as long as its size should take is slow.
_SLOW_FACTOR = 4
# How fast the memory of the fastest frame fades with each frame, for links that become slower.
_FADING = 0.9


class Sender:
    """Everything that this node sends to its peers. Used by the I/O thread alone."""

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
        # Whether `advance` may have something to do.
        self._stirred = False
        # Sequential exchange: who holds the line and until when; the rate of the fastest frame of late.
        self._line: Outgoing | None = None
        self._line_until_s = self._look_at_s = 0.0
        self._fastest_Bps = 0.0

    # What is to be sent

    def enqueue(self, outbox: Outbox) -> None:
        """Put it in the queues; the next `advance` sends what the kernel takes."""
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
        self._stirred = True

    def _bound(self, outgoing: Outgoing, outbox: Outbox) -> None:
        """For a peer that is not there only the newest waits: otherwise `stale: keep` would fill the memory.

        The newest of requests and of all other frames, as a request that an answer replaced would never be answered.
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
        """Newer data takes the place of these unsent frames."""
        if not frames:
            return
        gone = set(map(id, frames))
        outgoing.queue = deque(frame for frame in outgoing.queue if id(frame) not in gone)
        self._counters.fragments_dropped_stale += len(frames)
        if self._settings.ledger:
            for frame in frames:
                self._journal.write(
                    "dropped", round=frame.round, fragment=frame.fragment, peer=outgoing.peer.name
                )

    def watch(self, peer: int) -> None:
        """Have a connection to that peer, though nothing is sent on it, so that its end is noticed."""
        outgoing = self._outgoing[peer]
        if outgoing.socket is None:
            self._presence.heard(peer)
            outgoing.wanted = self._stirred = True

    # Sending

    def advance(self) -> None:
        """Give the kernel what it takes, and open the connections that are needed."""
        if not self._stirred and (self._line is None or self._now() < self._look_at_s):
            return
        self._stirred = False
        for outgoing in self._outgoing.values():
            if (outgoing.queue or outgoing.wanted) and outgoing.socket is None:
                self._connect(outgoing)
        if self._sequential and not self._finished:
            self._advance_in_sequence()
        else:
            for outgoing in self._outgoing.values():
                if outgoing.takes_bytes:
                    self._advance_one(outgoing)
        for outgoing in self._outgoing.values():
            self._watch(outgoing)

    def patience_s(self) -> float | None:
        """Emulated seconds after which `advance` wants to be called, whatever happens; None: never."""
        if self._stirred:
            return 0.0
        return None if self._line is None else max(0.0, self._look_at_s - self._now())

    def retry(self) -> None:
        """Time has passed: connections may be tried again."""
        if not self._finished:
            self._stirred = True

    def _advance_one(self, outgoing: Outgoing) -> None:
        """Frames of that peer's queue, in their order, until the kernel takes no more."""
        try:
            for _ in range(_FRAMES_PER_TURN):
                if not self._give_rest(outgoing) or not outgoing.queue or not self._begin(outgoing):
                    return
        except OSError as error:
            self._lose(outgoing, error.strerror or str(error))
        else:
            self._stirred = True

    def _advance_in_sequence(self) -> None:
        for outgoing in self._outgoing.values():
            # HELLOs, and frames that were passed over and go on by themselves.
            if outgoing is not self._line and outgoing.rest and outgoing.takes_bytes:
                self._go_on(outgoing)
        for _ in range(_FRAMES_PER_TURN):
            if self._line is not None and not self._line_is_free(self._line):
                return
            if not self._begin_next():
                return
        self._stirred = True

    def _line_is_free(self, holder: Outgoing) -> bool:
        if holder.current is not None and holder.takes_bytes:
            self._go_on(holder)
        now = self._now()
        if now < self._line_until_s and self._link_is_busy(holder):
            self._look_at_s = min(self._line_until_s, now + LOOK_S)
            return False
        self._line = None
        return True

    def _link_is_busy(self, holder: Outgoing) -> bool:
        """Whether this node's own link has enough to do; what waits for the network does not count."""
        if holder.current is not None and holder.socket is not None:
            return not holder.is_stuck(self._now())
        ahead_bytes = 0
        for one in self._outgoing.values():
            if one.draining is not None and one.socket is not None and not one.is_stuck(self._now()):
                ahead_bytes += unsent_bytes(one.socket)
        return ahead_bytes >= _AHEAD_BYTES

    def _begin_next(self) -> bool:
        """Begin with the oldest unsent frame whose peer takes at least its first byte; False where there is none."""
        # On a connection that drains another frame may begin, but not behind one that waits for the network.
        ready = [one for one in self._outgoing.values() if one.queue and one.takes_bytes and not one.rest]
        for outgoing in sorted(ready, key=lambda one: one.queue[0].order):
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

    def _go_on(self, outgoing: Outgoing) -> None:
        try:
            self._give_rest(outgoing)
        except OSError as error:
            self._lose(outgoing, error.strerror or str(error))

    def _begin(self, outgoing: Outgoing) -> bool:
        """Make the first frame of the queue the one in transit; False where the kernel takes not a byte of it.

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
        self._taken(outgoing, num_bytes)
        return True

    def _give_rest(self, outgoing: Outgoing) -> bool:
        """Go on with what has been begun; True once the kernel has all of it. Raises OSError."""
        assert outgoing.socket is not None
        while outgoing.rest:
            try:
                num_bytes = outgoing.socket.sendmsg(outgoing.rest)
            except BlockingIOError:
                outgoing.takes_bytes = False
                return False
            self._taken(outgoing, num_bytes)
        if outgoing.current is not None:
            frame, outgoing.current = outgoing.current, None
            self._sent(outgoing, frame)
            if self._sequential:
                self._drain(outgoing, outgoing.socket, frame)
        return True

    def _taken(self, outgoing: Outgoing, num_bytes: int) -> None:
        """The kernel has taken that many bytes of the rest."""
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
        """The kernel has all of the frame: wait for it to leave the socket, and be told when it has."""
        left_bytes = unsent_bytes(sock)
        if not left_bytes:
            if outgoing.draining is not None:
                self._drained(outgoing, sock, frame)
            return
        outgoing.draining, outgoing.stuck = frame, (left_bytes, self._now())
        # A socket is writable when less than half of its mark is unsent.
        if 2 * left_bytes < NOTSENT_LOWAT_BYTES:
            set_lowat(sock, LOWAT_EMPTY_BYTES)

    def _drained(self, outgoing: Outgoing, sock: socket.socket, frame: Frame) -> None:
        # Only of frames that had to wait is it known how fast the network takes them.
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
            # Nothing is known of the peer, so nothing is lost: its queue waits.
            outgoing.retry_at_s = now + self._limits.reconnect_s
            self._counters.descriptor_shortages += 1
            log.warning("no connection to %s for now: %s", outgoing.peer.name, error.strerror)
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
        """The selector's word; `sock` may have been given up since, in the same batch of events."""
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
        self._stirred = True

    def notice_end(self, peer: int) -> None:
        """Look whether the connection to that peer is over, before something newer is heard of the peer."""
        outgoing = self._outgoing[peer]
        if outgoing.socket is not None and outgoing.connected:
            self._end_if_over(outgoing, outgoing.socket)

    def _end_if_over(self, outgoing: Outgoing, sock: socket.socket) -> bool:
        """Nothing is ever sent back on this connection: what is readable is its end."""
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
        """Tell the selector what is waited for."""
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
        """The connection is gone, and the frame in transit with it; the queue waits for the next try."""
        assert outgoing.socket is not None
        if outgoing.watched:
            self._selector.unregister(outgoing.socket)
        outgoing.socket.close()
        news = outgoing.connected or not outgoing.lost
        torn = outgoing.current is not None
        outgoing.socket, outgoing.connected, outgoing.takes_bytes = None, False, False
        outgoing.current, outgoing.rest, outgoing.draining, outgoing.stuck = None, [], None, None
        outgoing.lost, outgoing.watched = True, 0
        self._stirred = True
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
        """Count and report nothing from here on; finish frames in transit where peers take them, and say BYE."""
        self._finished = True
        self._line = None
        bye = memoryview(wire.encode_bye(self._settings.index))
        for outgoing in self._outgoing.values():
            outgoing.queue.clear()
            if outgoing.connected:
                outgoing.rest.append(bye)
            elif outgoing.socket is not None:
                self._lose(outgoing, "the experiment is over")
        self._stirred = True

    def round_trip_times(self) -> dict[str, float]:
        """Least round-trip time the kernel saw to each connected peer, emulated seconds."""
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
