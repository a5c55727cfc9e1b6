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
        """Have these parameters from now on; other ones than before begin in the good state, as with netem."""
        if model != self._model:
            self._model, self._bad = model, False

    def loses(self) -> bool:
        """Whether the next packet is lost."""
        model, bad = self._model, self._bad
        if self._random() < (model.r if bad else model.p):
            self._bad = not bad
        return self._random() < (model.loss_bad if bad else model.loss_good)
