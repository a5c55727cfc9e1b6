"""Properties of links as the experiment file writes them: of every link, of one, or changes to some.

`links.py` holds the same properties as plain numbers, complete; `network.links` and `network.events` use these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from mnbed.experiment.fields import (
    BurstLosses,
    Distribution,
    Duration,
    Fraction,
    PositiveBandwidth,
    Queue,
    Section,
)
from topologies.burst_loss import NO_BURSTS


@dataclass(frozen=True, kw_only=True)
class PartialLinkSettings(Section):
    """Some properties of a link; null: as before."""

    bandwidth: PositiveBandwidth | None = None
    """Rate, Ethernet header included."""
    delay: Duration | None = None
    """One-way delay."""
    jitter: Duration | None = None
    """Spread of the delay; see `distribution`."""
    distribution: Distribution | None = None
    """How the delay is spread: normal, uniform, pareto or paretonormal, as netem's tables."""
    loss: Fraction | None = None
    """Probability of losing a packet, 0 to 1."""
    burst_loss: BurstLosses | None = None
    """Losing packets in bursts, instead of `loss`: {p: 0.01, r: 0.25}, 0.01/0.25, or none; netem's gemodel."""
    reorder: Fraction | None = None
    """Probability that a packet overtakes those that are delayed, 0 to 1; needs the netem backend."""
    queue: Queue = None
    """Waiting room in full-size packets, or in bandwidth-delay products: 2bdp."""


@dataclass(frozen=True, kw_only=True)
class OneLinkSettings(PartialLinkSettings):
    """One link that differs from the others."""

    link: Annotated[tuple[str, str], Field(strict=False)]
    """Its two ends: [h3, s1]."""
    one_way: bool = False
    """Only the direction from the first end to the second."""


@dataclass(frozen=True, kw_only=True)
class LinkSettings(Section):
    """Every link, unless the topology's edge, `stragglers` or `links` says otherwise."""

    bandwidth: PositiveBandwidth = 60e6
    """Rate of each direction, Ethernet header included."""
    delay: Duration = 0.001
    """One-way delay."""
    jitter: Duration = 0.0
    """Spread of the delay: its standard deviation, or half the width of the uniform distribution."""
    distribution: Distribution = "normal"
    """How the delay is spread: normal, uniform, pareto or paretonormal, as netem's tables."""
    loss: Fraction = 0.0
    """Probability of losing a packet, 0 to 1."""
    burst_loss: BurstLosses = NO_BURSTS
    """Losing packets in bursts, instead of `loss`: {p: 0.01, r: 0.25}, 0.01/0.25, or none; netem's gemodel."""
    reorder: Fraction = 0.0
    """Probability that a packet overtakes those that are delayed, 0 to 1; needs the netem backend."""
    queue: Queue = None
    """Waiting room in full-size packets, or in bandwidth-delay products (2bdp); null: 1bdp, at least 20 packets."""
    reverse: PartialLinkSettings = field(default_factory=PartialLinkSettings)
    """Where the other direction differs: towards the host on an access link, else from the second switch to the
    first in natural order."""
