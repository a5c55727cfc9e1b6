"""Losses in bursts: the model of Gilbert (Bell System Technical Journal 39, 1960) and Elliott (the same, 42, 1963).

A link is in its good or its bad state. Each packet is lost with the state's probability of loss; then the state changes
with probability p (good to bad) or r (bad to good). These are the parameters of netem's `loss gemodel p r 1-h 1-k`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from topologies.reading import brief

NONE = "none"
_EXAMPLE = "write {p: 0.01, r: 0.25}, the text 0.01/0.25, or none"


@dataclass(frozen=True, kw_only=True)
class BurstLoss:
    """Parameters of the model."""

    p: float
    """Probability that the state turns bad after a packet in the good one."""
    r: float
    """Probability that it turns good after a packet in the bad one: bad states last 1/r packets on average."""
    loss_bad: float = 1.0
    """Probability of losing a packet in the bad state; netem's 1-h."""
    loss_good: float = 0.0
    """Probability of losing a packet in the good state; netem's 1-k."""

    def __bool__(self) -> bool:
        """Whether packets are lost at all."""
        return self.loss_share > 0

    @property
    def loss_share(self) -> float:
        """Packets lost in the long run, 0 to 1: the stationary distribution's (p loss_bad + r loss_good) / (p + r)."""
        return (self.p * self.loss_bad + self.r * self.loss_good) / (self.p + self.r)

    @property
    def mean_burst(self) -> float:
        """Packets lost in a row, on average; 1/r if the bad state loses all and the good one none."""
        bad = self.p / (self.p + self.r)
        kept_after_bad = self.r * (1 - self.loss_good) + (1 - self.r) * (1 - self.loss_bad)
        kept_after_good = self.p * (1 - self.loss_bad) + (1 - self.p) * (1 - self.loss_good)
        ends = bad * self.loss_bad * kept_after_bad + (1 - bad) * self.loss_good * kept_after_good
        return self.loss_share / ends if ends else float("inf")


NO_BURSTS = BurstLoss(p=0.0, r=1.0)
"""Nothing is lost."""


def parse_burst_loss(value: Any) -> BurstLoss:
    """From {p: 0.01, r: 0.25, loss_bad: 1, loss_good: 0}, from "0.01/0.25/1/0", or from "none".

    The last two parameters may be left out. Raises ValueError.
    """
    if isinstance(value, BurstLoss):
        return value
    if value == NONE:
        return NO_BURSTS
    names = tuple(BurstLoss.__dataclass_fields__)
    if isinstance(value, str):
        parts = value.split("/")
        if not 2 <= len(parts) <= 4:
            raise ValueError(f"it must be p/r, p/r/loss_bad or p/r/loss_bad/loss_good; {_EXAMPLE}")
        given: dict[str, Any] = dict(zip(names, map(_number, parts), strict=False))
    elif isinstance(value, Mapping):
        given = dict(value)
    else:
        raise ValueError(f"it must be a section; {_EXAMPLE}")
    for key in given:
        if key not in names:
            raise ValueError(f"no such key {brief(key)} (allowed: {', '.join(names)})")
    for key in ("p", "r"):
        if given.get(key) is None:
            raise ValueError(f"{key} is missing; {_EXAMPLE}")
    burst = BurstLoss(**{key: _share(key, part) for key, part in given.items() if part is not None})
    if burst.r == 0:
        raise ValueError("r: it must be above 0; a link that stays bad is a link that is down")
    return burst or NO_BURSTS


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _share(key: str, value: Any) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        raise ValueError(f"{key}: write a fraction, not a percentage: 0.01 for 1 %")
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{key}: got {brief(value)}; it must be a number 0 to 1")
    return float(f"{value:.12g}")


def plain_burst_loss(burst: BurstLoss) -> dict[str, float] | str:
    """The form in YAML: a section without defaults, or "none"."""
    if not burst:
        return NONE
    default = asdict(NO_BURSTS)
    return {key: value for key, value in asdict(burst).items() if key in ("p", "r") or value != default[key]}


def format_burst_loss(burst: BurstLoss) -> str:
    """As one word: "0.01/0.25", or "none"."""
    if not burst:
        return NONE
    values = list(asdict(burst).values())
    for default in (NO_BURSTS.loss_good, NO_BURSTS.loss_bad):
        if len(values) > 2 and values[-1] == default:
            values.pop()
        else:
            break
    return "/".join(f"{value:.12g}" for value in values)
