"""What algorithms that exchange whole models share: mixing weights, each neighbour's latest model, models by round.

This module does not know which algorithm uses it. The stores are thread-safe: the I/O thread puts, the training thread
takes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import Algorithm, AlgorithmSettings, Context, Outbox
from node_agent.fragments import FragmentLayout
from node_agent.wire import Fragment

# How many models of one sender may wait for their rounds. A node that is not far behind needs one if everybody sends to
# everybody, and a few if senders draw their receivers: a sender may be some rounds ahead, but drew us in few of them.
MAX_MODELS_AHEAD = 4


def metropolis_hastings(degree: int, peer_degrees: Mapping[int, int]) -> dict[int, float]:
    """Each neighbour's weight, 1 / (1 + max(own degree, its degree)); the rest up to 1 is the node's own.

    With these weights the mixing matrix is symmetric and doubly stochastic on any graph, so that averaging keeps the
    mean over all nodes (Xiao and Boyd, "Fast linear iterations for distributed averaging", 2004, section 1).
    """
    return {peer: 1.0 / (1 + max(degree, other)) for peer, other in peer_degrees.items()}


def mix_into(
    values: NDArray[np.float32], models: Mapping[int, NDArray[np.float32]], weights: Mapping[int, float]
) -> None:
    """values <- (1 - sum of weights) * values + sum over models of weight * model, in place.

    Only the weights of neighbours with a model count: the weight of one without stays with the node itself.
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
        """Keep it unless one at least as new is there; returns whether it was kept."""
        with self._lock:
            known = self._models.get(fragment.sender)
            if known is not None and fragment.round <= known.round:
                return False
            self._models[fragment.sender] = fragment
            self._fresh.add(fragment.sender)
            return True

    def look(self) -> tuple[dict[int, NDArray[np.float32]], list[Fragment]]:
        """(sender -> its newest model, those among them that no earlier call returned)"""
        with self._lock:
            fresh = [self._models[sender] for sender in sorted(self._fresh)]
            self._fresh.clear()
            return {sender: fragment.values for sender, fragment in self._models.items()}, fresh

    def forget_rounds(self, sender: int) -> None:
        """The sender may restart its round count: whatever comes next from it counts as newer than what is kept."""
        with self._lock:
            known = self._models.get(sender)
            if known is not None:
                self._models[sender] = replace(known, round=-1)


class RoundModels:
    """Whole models by sender and round, for algorithms whose rounds wait for others.

    A model is averaged in its own round, or in the next one if it comes too late. Only if this node is so far behind a
    sender that later rounds fill all of the sender's places here is the oldest of them taken early: that bounds memory,
    and keeps a node that came back in touch with the others.

    Rounds of one sender arrive in order, so a round that a newer one has overtaken will never come and is not waited
    for; neither is a lost peer. A lost peer is waited for again from its first model that is no older than this node's
    round; until then its models are taken as they come. A node that came back itself waits only for peers it has heard
    from since. So the node in the lowest round of all never waits for anything that is not on its way.
    """

    def __init__(self, peers: Sequence[int], *, restarted: bool = False) -> None:
        """`restarted`: this node was in the run before, and its peers are in the middle of their rounds."""
        self._lock = Lock()
        self._models: dict[int, dict[int, Fragment]] = {peer: {} for peer in peers}
        self._awaited: set[int] = set() if restarted else set(peers)
        # Until the first round ends there is no telling whether a peer is ahead of this node or behind.
        self._current_round = sys.maxsize if restarted else 0
        self._newest: dict[int, int] = dict.fromkeys(peers, -1)
        self._taken: dict[int, int] = dict.fromkeys(peers, -1)

    def put(self, fragment: Fragment) -> None:
        """Keep it, unless it is no newer than what was taken, or is here already."""
        sender, round = fragment.sender, fragment.round
        with self._lock:
            models = self._models[sender]
            if round <= self._taken[sender] or round in models:
                return
            models[round] = fragment
            self._newest[sender] = max(round, self._newest[sender])
            if len(models) > MAX_MODELS_AHEAD:
                del models[min(models)]
            if round >= self._current_round:
                self._awaited.add(sender)

    def lost(self, peer: int) -> None:
        """Stop waiting for that peer."""
        with self._lock:
            self._awaited.discard(peer)

    def joined(self, peer: int) -> None:
        """Its rounds may begin at 0 again: none of its next models counts as taken."""
        with self._lock:
            self._taken[peer] = -1

    def missing(self, round: int, senders: Collection[int]) -> list[int]:
        """Those of the senders whose model of that round is still waited for."""
        with self._lock:
            self._current_round = round
            return [peer for peer in senders if peer in self._awaited and self._newest[peer] < round]

    def take(self, round: int) -> list[Fragment]:
        """Every sender's model of that round, else its newest older one, else the oldest of a full set of newer ones.

        What is older than the model taken is discarded; what is newer stays.
        """
        with self._lock:
            chosen: list[Fragment] = []
            for sender, models in sorted(self._models.items()):
                due = [known for known in models if known <= round]
                if due:
                    taken = max(due)
                elif len(models) == MAX_MODELS_AHEAD:
                    taken = min(models)
                else:
                    continue
                chosen.append(models[taken])
                self._taken[sender] = taken
                for known in [known for known in models if known <= taken]:
                    del models[known]
            return chosen

    def take_newest(self) -> list[Fragment]:
        """Every sender's newest model that has not been taken, whatever its round; nothing stays."""
        with self._lock:
            chosen: list[Fragment] = []
            for sender, models in sorted(self._models.items()):
                if models:
                    self._taken[sender] = newest = max(models)
                    chosen.append(models[newest])
                    models.clear()
            return chosen


class RoundAlgorithm(Algorithm):
    """Base of algorithms that send the whole model after each round and average models of the same round."""

    def __init__(self, settings: AlgorithmSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._layout = FragmentLayout(context.num_parameters, 1, 0)
        self._models = RoundModels(context.peers, restarted=context.restarted)
        self._sent_round = -1

    def on_fragment(self, fragment: Fragment) -> None:
        self._models.put(fragment)

    def peer_lost(self, peer: int) -> None:
        self._models.lost(peer)

    def peer_joined(self, peer: int) -> None:
        self._models.joined(peer)

    def _send_model(self, round: int, values: NDArray[np.float32], peers: Sequence[int]) -> Outbox:
        """That round's model, to each of the peers."""
        self._sent_round = round
        replace = self.settings.stale == "drop"
        return Outbox.whole_model(round, self._layout.cut(values), peers, replace_unsent=replace)
