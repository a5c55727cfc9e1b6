"""What the kernel tells of the machine's processes under /proc, whoever they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ProcessStat:
    """Of /proc/PID/stat (proc_pid_stat(5)), what mnbed looks at; times in clock ticks."""

    state: str
    """R, S, D, T (stopped), t (traced), Z (ended, not waited for)."""
    parent: int
    session: int
    busy_ticks: int
    """In user and kernel mode, since it started."""
    start_ticks: int
    """When it started, since the boot."""


def process_stat(pid: int) -> ProcessStat:
    """Raises FileNotFoundError or ProcessLookupError if there is no such process."""
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    # From the state on; the name before it may hold anything.
    fields = text.rsplit(")", 1)[1].split()
    return ProcessStat(
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        busy_ticks=int(fields[11]) + int(fields[12]),
        start_ticks=int(fields[19]),
    )


def process_ids() -> Iterator[int]:
    """Of all processes; each may have ended by now."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def state_of(pid: int) -> str | None:
    """As in `ProcessStat`; None if there is no such process."""
    try:
        return process_stat(pid).state
    except OSError:
        return None


def is_stopped(pid: int) -> bool:
    """Whether it was stopped by SIGSTOP, by Ctrl-Z or by a debugger."""
    return state_of(pid) in ("T", "t")
