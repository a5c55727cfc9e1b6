"""Whether a process is doing anything at all, according to the kernel's counters."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mnbed.network.processes import process_ids, process_stat


def activity(session: int) -> tuple[int, int]:
    """(clock ticks, bytes read and written) of all processes of a session: they change while it makes progress."""
    ticks = moved = 0
    for pid in process_ids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = process_stat(pid)
            if stat.session == session:
                ticks += stat.busy_ticks
                counts = Path(f"/proc/{pid}/io").read_text().splitlines()[:2]
                moved += sum(int(line.split()[1]) for line in counts)
    return ticks, moved
