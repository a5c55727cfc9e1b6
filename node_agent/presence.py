"""Which peers are present. The algorithm hears of each loss once, no matter which connection reveals it.

A peer that dies ends up to two connections, the one to it and the one from it. The first end is the loss; the second
is news only if the peer has been heard from, or something has been queued for it, in between. A restarted peer says so
in its HELLO (its `life`), so that connections of an earlier life cannot speak for the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Presence:
    """Tracks which peers are present. Used only by the I/O thread."""

    def __init__(self, peers: Iterable[int], on_peer: Callable[[int, bool], None]) -> None:
        """`on_peer(index, joined)` tells the algorithm."""
        self._on_peer = on_peer
        # Peers whose loss is news. All of them at first: an algorithm counts on every peer from the start.
        self._counted_on = set(peers)
        self._lives: dict[int, int] = {}
        self._speaking: dict[int, int] = {}
        """Peer -> the life whose connection to us is open."""
        self._ended: set[int] = set()

    def life_of(self, peer: int) -> int:
        """The latest life in which that peer has said HELLO; 0 before the first."""
        return self._lives.get(peer, 0)

    def has_ended(self, peer: int) -> bool:
        """Whether the peer has said BYE and has not come back."""
        return peer in self._ended

    def heard(self, peer: int) -> None:
        """The peer has given a sign of life, or something is to be sent to it: its loss is news again."""
        self._counted_on.add(peer)

    def joined(self, peer: int, life: int) -> None:
        """The peer said HELLO on a connection that it opened. What an earlier life had yet to send will never come."""
        if life > self.life_of(peer):
            self._tell_lost(peer)
        self._lives[peer] = self._speaking[peer] = life
        self._ended.discard(peer)
        self.heard(peer)
        self._on_peer(peer, True)

    def said_bye(self, peer: int) -> None:
        """The peer's part of the experiment is over: nothing more will come, and that is not a failure."""
        self._ended.add(peer)
        self._tell_lost(peer)

    def incoming_ended(self, peer: int) -> None:
        """The connection that the peer opened has ended."""
        self._speaking.pop(peer, None)
        self._tell_lost(peer)

    def outgoing_ended(self, peer: int, life: int) -> None:
        """Our connection to the peer has ended; `life` was the peer's latest when it was made."""
        self._tell_lost(peer)
        speaking = self._speaking.get(peer)
        if speaking is not None and speaking > life:
            # What was on its way to the earlier life is lost, but the later life is present.
            self.heard(peer)
            self._on_peer(peer, True)

    def _tell_lost(self, peer: int) -> None:
        if peer in self._counted_on:
            self._counted_on.discard(peer)
            self._on_peer(peer, False)
