"""What algorithms that exchange whole models share: mixing weights, each neighbour's latest model, models by round.

Nothing here knows which algorithm asks. The stores are thread-safe: the I/O thread puts, the training thread takes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from node_agent.algorithms._interface import Algorithm, AlgorithmSettings, Context, Outbox, Send
from node_agent.fragments import FragmentLayout
from node_agent.wire import Fragment

# Models of one sender that wait for their rounds. A node that is not far behind needs one where everybody sends to
# everybody, and a few where a sender draws whom it sends to: it may be some rounds ahead, but drew us in few of them.
MAX_MODELS_AHEAD = 4


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

    A model is averaged in its own round and in no earlier one. One that comes too late for its round is taken in the
    next, and of a sender whose next rounds fill its place here (this node is far behind it) the oldest one is taken
    as it is: it keeps the memory bounded, and a node that came back in touch.

    Rounds of one sender arrive in order, so a round that a newer one has overtaken never comes and is not waited for;
    neither is a peer that is lost. It is waited for again from the first model on that is no older than the round
    this node is in; until then its models are taken as they come. A node that came back itself waits only for those
    from whom it has heard since. So whoever is in the lowest round of all waits for nothing that is not on its way.
    """

    def __init__(self, peers: Sequence[int], *, restarted: bool = False) -> None:
        """`restarted`: this node was in the run before, and its peers are in the middle of their rounds."""
        self._lock = Lock()
        self._models: dict[int, dict[int, Fragment]] = {peer: {} for peer in peers}
        self._awaited: set[int] = set() if restarted else set(peers)
        # Until the first round ends nobody can tell whether a peer is ahead of this node or behind.
        self._current_round = sys.maxsize if restarted else 0
        self._newest: dict[int, int] = dict.fromkeys(peers, -1)
        self._taken: dict[int, int] = dict.fromkeys(peers, -1)

    def put(self, fragment: Fragment) -> None:
        """Keep it; what was taken before, or came before, is passed over."""
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
        """Do not wait for it."""
        with self._lock:
            self._awaited.discard(peer)

    def joined(self, peer: int) -> None:
        """Its rounds may begin anew: none of its next models came before."""
        with self._lock:
            self._taken[peer] = -1

    def missing(self, round: int, senders: Collection[int]) -> list[int]:
        """Those of the senders whose model of that round is still waited for."""
        with self._lock:
            self._current_round = round
            return [peer for peer in senders if peer in self._awaited and self._newest[peer] < round]

    def take(self, round: int) -> list[Fragment]:
        """Of every sender that round's model, else its newest older one; what is older goes, newer ones stay."""
        with self._lock:
            found = []
            for sender, models in sorted(self._models.items()):
                due = [known for known in models if known <= round]
                if due:
                    chosen = max(due)
                elif len(models) == MAX_MODELS_AHEAD:
                    chosen = min(models)
                else:
                    continue
                found.append(models[chosen])
                self._taken[sender] = chosen
                for known in [known for known in models if known <= chosen]:
                    del models[known]
            return found

    def take_newest(self) -> list[Fragment]:
        """Of every sender the newest model that nobody has taken, whatever its round; nothing stays."""
        with self._lock:
            found = []
            for sender, models in sorted(self._models.items()):
                if models:
                    self._taken[sender] = newest = max(models)
                    found.append(models[newest])
                    models.clear()
            return found


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
        return Outbox(
            round=round,
            permutation_seed=0,
            num_fragments=1,
            payloads=self._layout.cut(values),
            sends=[Send(peer, 0) for peer in peers],
            replace_unsent=self.settings.stale == "drop",
        )
