"""What algorithms on fixed graphs share: mixing weights, each neighbour's latest model, and models by round.

Nothing here knows which algorithm asks. The stores are thread-safe: the I/O thread puts, the training thread takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from node_agent.wire import Fragment


def metropolis_hastings(degree: int, peer_degrees: Mapping[int, int]) -> dict[int, float]:
    """Each neighbour's weight, 1 / (1 + max(own degree, its degree)); what is left to 1 is the node's own.

    With these weights the mixing matrix is symmetric and doubly stochastic on any graph, so that averaging keeps the
    mean over all nodes (Xiao and Boyd, "Fast linear iterations for distributed averaging", 2004, section 1).
    """
    return {peer: 1.0 / (1 + max(degree, other)) for peer, other in peer_degrees.items()}


def mix_into(
    values: NDArray[np.float32], models: Mapping[int, NDArray[np.float32]], weights: Mapping[int, float]
) -> None:
    """values <- (1 - sum of weights) * values + sum over models of weight * model, in place.

    The models' weights count, and no others: the weight of a neighbour without a model stays with the node itself.
    """
    if not models:
        return
    values *= np.float32(1.0 - sum(weights[peer] for peer in models))
    for peer in sorted(models):
        values += np.float32(weights[peer]) * models[peer]


class LatestModels:
    """The newest whole model of each sender, kept until a newer one comes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._models: dict[int, Fragment] = {}
        self._fresh: set[int] = set()

    def put(self, fragment: Fragment) -> bool:
        """Keep it unless a newer one is there; returns whether it was kept."""
        with self._lock:
            known = self._models.get(fragment.sender)
            if known is not None and fragment.round <= known.round:
                return False
            self._models[fragment.sender] = fragment
            self._fresh.add(fragment.sender)
            return True

    def look(self) -> tuple[dict[int, NDArray[np.float32]], list[Fragment]]:
        """(sender -> its newest model, those among them that nobody has looked at before)"""
        with self._lock:
            fresh = [self._models[sender] for sender in sorted(self._fresh)]
            self._fresh.clear()
            return {sender: fragment.values for sender, fragment in self._models.items()}, fresh

    def forget_rounds(self, sender: int) -> None:
        """The sender may count its rounds anew: whatever comes next from it is newer than what is here."""
        with self._lock:
            known = self._models.get(sender)
            if known is not None:
                self._models[sender] = replace(known, round=-1)


class RoundModels:
    """Whole models by sender and round, for algorithms whose rounds wait for others.

    A peer whose connection broke is not waited for. One that comes back is waited for again from the first model that
    is no older than the round others are in; until then its newest model is taken as it comes.
    """

    def __init__(self, peers: Sequence[int]) -> None:
        self._lock = Lock()
        self._models: dict[int, dict[int, Fragment]] = {peer: {} for peer in peers}
        self._awaited = set(peers)
        self._wanted_round = -1
        self._taken: dict[int, int] = dict.fromkeys(peers, -1)

    def put(self, fragment: Fragment) -> None:
        """Keep it; what was taken before, or came before, is passed over."""
        with self._lock:
            if fragment.round <= self._taken[fragment.sender]:
                return
            self._models[fragment.sender].setdefault(fragment.round, fragment)
            if fragment.round >= self._wanted_round:
                self._awaited.add(fragment.sender)

    def lost(self, peer: int) -> None:
        """Do not wait for it."""
        with self._lock:
            self._awaited.discard(peer)

    def joined(self, peer: int) -> None:
        """Its rounds may begin anew."""
        with self._lock:
            self._taken[peer] = -1

    def complete(self, round: int, senders: Collection[int]) -> bool:
        """Whether that round's model, or a newer one, is there of every one of these senders that is waited for."""
        with self._lock:
            self._wanted_round = round
            return all(
                any(known >= round for known in self._models[sender])
                for sender in senders
                if sender in self._awaited
            )

    def take(self, round: int) -> list[Fragment]:
        """Of every sender that round's model, else its newest; what is older goes. Newer ones stay for later."""
        with self._lock:
            found = []
            for sender, models in sorted(self._models.items()):
                due = [known for known in models if known <= round]
                chosen = max(due) if due else min(models, default=None)
                if chosen is None:
                    continue
                found.append(models[chosen])
                self._taken[sender] = chosen
                for known in [known for known in models if known <= chosen]:
                    del models[known]
            return found
