"""Properties of one direction of a link: what the user writes, its unit, and how time dilation changes it.

This module knows nothing of tc or Mininet; `network/shaping.py` puts the properties on interfaces and reads them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

# Fewer packets than this and TCP cannot fill a link at all, whatever its delay.
MIN_QUEUE_PACKETS = 20
# One full Ethernet frame as HTB and bfifo count it: 1500 bytes of IP and a 14-byte header.
FRAME_BYTES = 1514
# The names of iproute2's tables for netem; "uniform" needs none.
DISTRIBUTIONS = ("normal", "uniform", "pareto", "paretonormal")


@dataclass(frozen=True, kw_only=True)
class LinkProperties:
    """One direction of a link, in emulated units."""

    bandwidth_bps: float
    """Rate, bit/s, Ethernet header included."""
    delay_s: float = 0.0
    """One-way delay, seconds."""
    jitter_s: float = 0.0
    """Spread of the delay, seconds: its standard deviation, or half the width of a uniform distribution."""
    distribution: str = "normal"
    """How the delay is spread: one of DISTRIBUTIONS."""
    loss: float = 0.0
    """Probability of losing a packet, 0 to 1."""
    reorder: float = 0.0
    """Probability that a packet is sent without delay, past those that wait, 0 to 1."""
    queue_packets: int | None = None
    """Waiting room in full-size packets; None: by `queue_bdp`."""
    queue_bdp: float = 1.0
    """Waiting room in bandwidth-delay products of this link's own round trip; at least 20 packets."""

    @property
    def waiting_room_packets(self) -> int:
        """Waiting room in front of the link, in full-size packets; the same at every dilation."""
        if self.queue_packets is not None:
            return self.queue_packets
        product = self.bandwidth_bps * 2 * self.delay_s / 8 / FRAME_BYTES
        # 12 digits first: a dilated product differs from its original in the last bit.
        return max(MIN_QUEUE_PACKETS, math.ceil(float(f"{product * self.queue_bdp:.12g}")))

    def dilated(self, dilation: float) -> LinkProperties:
        """The properties to put on the wire when one emulated second lasts `dilation` wall seconds.

        The bandwidth-delay product, and with it the queue, is the same at every dilation.
        """
        return replace(
            self,
            bandwidth_bps=self.bandwidth_bps / dilation,
            delay_s=self.delay_s * dilation,
            jitter_s=self.jitter_s * dilation,
        )

    def towards(self, pair: PairProperties) -> LinkProperties:
        """What a packet meets on this link whose way on is limited by that pair's properties too: the lower rate, both
        delays. Same unit of time for both.
        """
        rate = (
            self.bandwidth_bps if pair.bandwidth_bps is None else min(self.bandwidth_bps, pair.bandwidth_bps)
        )
        return replace(
            self,
            bandwidth_bps=rate,
            delay_s=self.delay_s + pair.delay_s,
            jitter_s=math.hypot(self.jitter_s, pair.jitter_s),
            loss=1 - (1 - self.loss) * (1 - pair.loss),
        )


@dataclass(frozen=True, kw_only=True)
class PairProperties:
    """What lies between two hosts, or between their regions, beside the links that the graph has; one direction."""

    bandwidth_bps: float | None = None
    """None: not limited."""
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0

    def dilated(self, dilation: float) -> PairProperties:
        """In wall-clock units, when one emulated second lasts `dilation` wall seconds."""
        rate = None if self.bandwidth_bps is None else self.bandwidth_bps / dilation
        return replace(
            self, bandwidth_bps=rate, delay_s=self.delay_s * dilation, jitter_s=self.jitter_s * dilation
        )


@dataclass(frozen=True, kw_only=True)
class PathProperties:
    """What the directions along one way through the network do to a packet together, queues aside."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    distribution: str = "normal"
    loss: float = 0.0


def along(directions: Iterable[LinkProperties], pair: PairProperties | None = None) -> PathProperties:
    """Delays add up, and so do the variances of independent jitters; a packet arrives where no link loses it.

    Jitters of one distribution keep its name, though only the normal distribution keeps its shape in a sum.
    """
    directions = list(directions)
    pair = pair or PairProperties()
    jittered = [one for one in directions if one.jitter_s]
    names = {one.distribution for one in jittered}
    return PathProperties(
        delay_s=math.fsum([*(one.delay_s for one in directions), pair.delay_s]),
        jitter_s=math.hypot(*(one.jitter_s for one in jittered), pair.jitter_s),
        distribution=names.pop() if len(names) == 1 else "normal",
        loss=1 - (1 - pair.loss) * math.prod(1 - one.loss for one in directions),
    )
