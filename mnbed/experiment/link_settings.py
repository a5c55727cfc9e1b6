"""Properties of links as written in the experiment file: of every link, of a single one, or only those that change.

`network.link`, `network.links` and `network.events` use these. mnbed/plan/properties.py has the same properties,
resolved to plain numbers.
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
    """Some properties of a link; null leaves a property as it is."""

    bandwidth: PositiveBandwidth | None = None
    """Rate, including Ethernet headers."""
    delay: Duration | None = None
    """One-way delay."""
    jitter: Duration | None = None
    """Variation of the delay; see `distribution`."""
    distribution: Distribution | None = None
    """Distribution of the jitter: normal, uniform, pareto or paretonormal, as in netem's tables."""
    loss: Fraction | None = None
    """Probability of losing a packet, 0 to 1."""
    burst_loss: BurstLosses | None = None
    """Loss in bursts, instead of `loss`: {p: 0.01, r: 0.25}, 0.01/0.25, or none; netem's gemodel."""
    reorder: Fraction | None = None
    """Probability that a packet skips the delay and overtakes others, 0 to 1; needs the netem backend."""
    queue: Queue = None
    """Queue length in full-size packets, or in bandwidth-delay products: 2bdp."""


@dataclass(frozen=True, kw_only=True)
class OneLinkSettings(PartialLinkSettings):
    """One link that differs from the others."""

    link: Annotated[tuple[str, str], Field(strict=False)]
    """Its two ends: [h3, s1]."""
    one_way: bool = False
    """Apply only to the direction from the first end to the second."""


@dataclass(frozen=True, kw_only=True)
class LinkSettings(Section):
    """Defaults for every link, unless the topology's edge, `stragglers` or `links` says otherwise."""

    bandwidth: PositiveBandwidth = 60e6
    """Rate in each direction, including Ethernet headers."""
    delay: Duration = 0.001
    """One-way delay."""
    jitter: Duration = 0.0
    """Variation of the delay: its standard deviation, or half the width of a uniform distribution."""
    distribution: Distribution = "normal"
    """Distribution of the jitter: normal, uniform, pareto or paretonormal, as in netem's tables."""
    loss: Fraction = 0.0
    """Probability of losing a packet, 0 to 1."""
    burst_loss: BurstLosses = NO_BURSTS
    """Loss in bursts, instead of `loss`: {p: 0.01, r: 0.25}, 0.01/0.25, or none; netem's gemodel."""
    reorder: Fraction = 0.0
    """Probability that a packet skips the delay and overtakes others, 0 to 1; needs the netem backend."""
    queue: Queue = None
    """Queue length in full-size packets, or in bandwidth-delay products (2bdp); null: 1bdp, at least 20 packets."""
    reverse: PartialLinkSettings = field(default_factory=PartialLinkSettings)
    """Where the reverse direction differs: towards the host on an access link; between switches, from the second to
    the first in natural order."""
