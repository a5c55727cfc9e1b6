"""Which peers are there: each loss reaches the algorithm once, whoever had opened the connection that shows it.

A peer that dies ends up to two connections, the one to it and the one from it. The first end is the loss; the second
says nothing new, unless the peer has been heard of, or something has been made for it, in between. A peer that was
restarted says so in its HELLO (its `life`), so that connections of the earlier life cannot speak for the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Presence:
    """Who is there. Used by the I/O thread alone."""

    def __init__(self, peers: Iterable[int], on_peer: Callable[[int, bool], None]) -> None:
        """`on_peer(index, joined)` tells the algorithm."""
        self._on_peer = on_peer
        # A loss of these is news. All at first: an algorithm counts on every peer from the start.
        self._counted_on = set(peers)
        self._lives: dict[int, int] = {}
        self._speaking: dict[int, int] = {}
        """Peer -> the life whose connection to us is open."""
        self._ended: set[int] = set()

    def life_of(self, peer: int) -> int:
        """The latest life that peer has said HELLO in; 0 before."""
        return self._lives.get(peer, 0)

    def has_ended(self, peer: int) -> bool:
        """Whether it has said BYE and not come back."""
        return peer in self._ended

    def heard(self, peer: int) -> None:
        """There is a sign of life of it, or something was made for it: its loss is news again."""
        self._counted_on.add(peer)

    def joined(self, peer: int, life: int) -> None:
        """It said HELLO on a connection of its own. What an earlier life owed never comes."""
        if life > self.life_of(peer):
            self._tell_lost(peer)
        self._lives[peer] = self._speaking[peer] = life
        self._ended.discard(peer)
        self.heard(peer)
        self._on_peer(peer, True)

    def said_bye(self, peer: int) -> None:
        """Its part of the experiment is over: nothing more comes, and that is no failure."""
        self._ended.add(peer)
        self._tell_lost(peer)

    def incoming_ended(self, peer: int) -> None:
        """The connection it had opened is over."""
        self._speaking.pop(peer, None)
        self._tell_lost(peer)

    def outgoing_ended(self, peer: int, life: int) -> None:
        """The connection to it is over, which had been made while `life` was its latest."""
        self._tell_lost(peer)
        speaking = self._speaking.get(peer)
        if speaking is not None and speaking > life:
            # What was under way to the earlier life is gone; the later one is there.
            self.heard(peer)
            self._on_peer(peer, True)

    def _tell_lost(self, peer: int) -> None:
        if peer in self._counted_on:
            self._counted_on.discard(peer)
            self._on_peer(peer, False)
