"""What happens to the packets of one path, where they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnbed.network.nfqueue.loss_chain import LossChain


class PathEffect:
    """Delay and losses of one source's packets at one host."""

    __slots__ = ("_chains", "_loss", "_random", "delay_s", "draw", "lossy")

    def __init__(
        self,
        random: Callable[[], float],
        delay_s: float,
        draw: Callable[[], float] | None,
        loss: float,
        chains: Sequence[LossChain],
    ) -> None:
        """`draw`: each packet's own delay, if delays vary. `chains`: of the links that lose in bursts, in order."""
        self.delay_s = delay_s
        self.draw = draw
        self.lossy = bool(loss or chains)
        self._random = random
        self._loss = loss
        self._chains = chains

    def loses(self) -> bool:
        """Whether the next packet is lost; a link that it does not reach takes no step."""
        if any(chain.loses() for chain in self._chains):
            return True
        return self._loss > 0 and self._random() < self._loss
