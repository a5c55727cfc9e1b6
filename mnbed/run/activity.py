"""Whether a process is doing anything at all, according to the kernel's counters."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mnbed.network.mark import state_of


def activity(session: int) -> tuple[int, int]:
    """(clock ticks, bytes read and written) of all processes of a session: they change while it makes progress."""
    ticks = moved = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
                moved += sum(int(line.split()[1]) for line in (entry / "io").read_text().splitlines()[:2])
    return ticks, moved


def is_stopped(pid: int) -> bool:
    """Whether it was stopped by SIGSTOP or by a debugger."""
    return state_of(pid) in ("T", "t")
