"""Everything an agent counts, one field each; the field's name is also the name in journal, CSV and summary.

To count something else, add it to both classes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

from typing_extensions import TypedDict


class CounterTotals(TypedDict):
    """The same fields, as journals and messages have them; a test compares the two."""

    bytes_sent: int
    bytes_received: int
    fragments_created: int
    fragments_sent: int
    fragments_dropped_stale: int
    fragments_lost: int
    fragments_received: int
    fragments_aggregated: int
    frames_rejected: int
    frames_not_finite: int
    connections_lost: int
    strangers_closed: int
    descriptor_shortages: int
    statuses_dropped: int
    overruns: int
    late_s: float
    late_max_s: float
    timer_waits: int
    timer_late_s: float
    timer_late_max_s: float
    waited_s: float


@dataclass(kw_only=True)
class Counters:
    """Totals since the common start."""

    bytes_sent: int = 0
    """Frame bytes handed to the kernel, headers included."""
    bytes_received: int = 0
    fragments_created: int = 0
    """(fragment, peer) pairs put into the out-queue."""
    fragments_sent: int = 0
    fragments_dropped_stale: int = 0
    """Pairs replaced by newer data before their first byte was sent."""
    fragments_lost: int = 0
    """Pairs whose connection broke after their first byte was sent, but before their last."""
    fragments_received: int = 0
    fragments_aggregated: int = 0
    frames_rejected: int = 0
    """Foreign, oversized, torn or corrupt frames; each closed its connection."""
    frames_not_finite: int = 0
    """Frames of a peer with values that are infinite or NaN; each closed its connection."""
    connections_lost: int = 0
    """Connections that broke or could not be made; repeated attempts to reach the same peer count once."""
    strangers_closed: int = 0
    """Connections closed before their HELLO, because it was late or because their place or descriptor was needed."""
    descriptor_shortages: int = 0
    """How often no file descriptor was available to make or accept a connection."""
    statuses_dropped: int = 0
    """Status messages that the controller was not ready to take."""
    overruns: int = 0
    """Local steps that took longer than their slot."""
    late_s: float = 0.0
    """Sum of all overruns, emulated seconds."""
    late_max_s: float = 0.0
    """The largest overrun, emulated seconds."""
    timer_waits: int = 0
    """Waits for an emulated instant."""
    timer_late_s: float = 0.0
    """Total lateness of these wake-ups, emulated seconds."""
    timer_late_max_s: float = 0.0
    """The latest of these wake-ups, emulated seconds."""
    waited_s: float = 0.0
    """Time in which the algorithm waited for peers before it let a round begin, emulated seconds."""

    def totals(self) -> CounterTotals:
        """All of them now."""
        return cast("CounterTotals", asdict(self))
