"""Losses in bursts as netem makes them, packet by packet: the two states of `topologies.burst_loss`."""

from __future__ import annotations

from collections.abc import Callable

from topologies.burst_loss import NO_BURSTS, BurstLoss


class LossChain:
    """The state of one direction of a link; all paths over it share one."""

    __slots__ = ("_bad", "_model", "_random")

    def __init__(self, random: Callable[[], float]) -> None:
        """`random`: draws from 0 to below 1, two for each packet."""
        self._random = random
        self._model = NO_BURSTS
        self._bad = False

    def follow(self, model: BurstLoss) -> None:
        """Use these parameters from now on; if they are new, begin in the good state, as netem does."""
        if model != self._model:
            self._model, self._bad = model, False

    def loses(self) -> bool:
        """Whether the next packet is lost."""
        model, bad = self._model, self._bad
        if self._random() < (model.r if bad else model.p):
            self._bad = not bad
        return self._random() < (model.loss_bad if bad else model.loss_good)


class LossChains:
    """The chains of a network's links, each known by the seed of its draws."""

    def __init__(self, random_of: Callable[[int], Callable[[], float]]) -> None:
        self._random_of = random_of
        self._chains: dict[int, LossChain] = {}

    def following(self, seed: int, p: float, r: float, loss_bad: float, loss_good: float) -> LossChain:
        """The chain of that link, with these parameters from now on."""
        if seed not in self._chains:
            self._chains[seed] = LossChain(self._random_of(seed))
        self._chains[seed].follow(BurstLoss(p=p, r=r, loss_bad=loss_bad, loss_good=loss_good))
        return self._chains[seed]
