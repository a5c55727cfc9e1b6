"""Finds and removes what a killed run left: only what carries our mark, and never by a program's name.

Every process that a run starts has MNBED_RUN in its environment. The emulated network lives in namespaces that those
processes hold, so interfaces, bridges, qdiscs and iptables rules go when they go.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "MNBED_RUN"
# Sockets of the run that is alive, in folders called run-*.
RUNTIME_DIRECTORY = Path("/run/mnbed")
# A killed process is gone within milliseconds; the kernel may take longer over one in the middle of disk output.
_PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One process of an earlier run."""

    pid: int
    run: str
    command: str


def find_leftovers() -> list[Leftover]:
    """Processes that carry the mark, but for this one and its ancestors and children."""
    mine = _family()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        with contextlib.suppress(OSError):
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                if variable.startswith(MARK.encode() + b"="):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    run = variable.split(b"=", 1)[1].decode(errors="replace")
                    found.append(Leftover(pid=int(entry.name), run=run, command=command.strip()[:100]))
    return found


def remove_leftovers(runtime_directory: Path) -> list[str]:
    """End those processes and remove the sockets of dead runs; returns what was done, in words.

    To be called with the run lock held: then no other run is alive. Raises TimeoutError where a process stays.
    """
    done = []
    leftovers = find_leftovers()
    for leftover in leftovers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leftover.pid, signal.SIGKILL)
            done.append(f"ended process {leftover.pid} of run {leftover.run}: {leftover.command}")
    deadline = time.monotonic() + _PATIENCE_S
    while any(_alive(leftover.pid) for leftover in leftovers):
        if time.monotonic() > deadline:
            stuck = [str(leftover.pid) for leftover in leftovers if _alive(leftover.pid)]
            raise TimeoutError(f"processes {', '.join(stuck)} of an earlier run do not end")
        time.sleep(0.02)
    for folder in sorted(runtime_directory.glob("run-*")):
        shutil.rmtree(folder, ignore_errors=True)
        done.append(f"removed {folder}")
    return done


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _family() -> set[int]:
    """This process, its ancestors and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])

    def ancestors(pid: int) -> set[int]:
        found = set()
        while pid := parents.get(pid, 0):
            found.add(pid)
        return found

    me = os.getpid()
    return {me} | ancestors(me) | {pid for pid in parents if me in ancestors(pid)}
