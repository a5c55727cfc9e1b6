"""Properties of a link, side by side: what the user writes, its unit, and how time dilation changes it.

This module knows nothing of tc or Mininet; `network/shaping.py` puts the properties on interfaces and reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# Fewer packets than this and TCP cannot fill a link at all, whatever its delay.
MIN_QUEUE_PACKETS = 20
# One full Ethernet frame as HTB and bfifo count it: 1500 bytes of IP and a 14-byte header.
FRAME_BYTES = 1514


@dataclass(frozen=True, kw_only=True)
class LinkProperties:
    """One link, in emulated units; both directions alike."""

    bandwidth_bps: float
    """Rate of each direction, bit/s, Ethernet header included."""
    delay_s: float = 0.0
    """One-way delay of each direction, seconds."""
    jitter_s: float = 0.0
    """Standard deviation of the delay, seconds."""
    loss: float = 0.0
    """Probability of losing a packet, 0 to 1."""
    queue_packets: int | None = None
    """Waiting room in full-size packets; None: about one bandwidth-delay product, at least 20 packets."""

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
