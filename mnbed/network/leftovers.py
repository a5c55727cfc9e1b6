"""Finds and removes what a killed run left behind: only what carries a mark of ours, never by a program's name.

See `mark` for what a mark is. The emulated network lives in namespaces that a run's processes hold, so interfaces,
bridges, qdiscs and iptables rules go when they go.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mnbed.errors import MachineError
from mnbed.network.mark import RUNTIME_DIRECTORY, VARIABLE, Register, network_of, registers
from mnbed.network.processes import process_ids, process_stat

# A killed process is gone within milliseconds; one that is writing to a disk may take longer.
_PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One process of an earlier run."""

    pid: int
    run: str
    command: str


def find_leftovers(runtime_directory: Path = RUNTIME_DIRECTORY) -> list[Leftover]:
    """Processes of runs that have not ended properly, except this process and its ancestors."""
    return list(_processes_of(registers(runtime_directory)))


def remove_leftovers(runtime_directory: Path = RUNTIME_DIRECTORY) -> list[str]:
    """End those processes and remove the sockets and registers of dead runs; returns what was done, in words.

    Call this with the run lock held: then no other run is alive. Raises MachineError if a process stays.
    """
    done: dict[int, str] = {}
    dead = registers(runtime_directory)
    deadline = time.monotonic() + _PATIENCE_S
    # Repeatedly: a process that has not ended yet may have started another.
    while leftovers := list(_processes_of(dead)):
        if time.monotonic() > deadline:
            stuck = ", ".join(str(leftover.pid) for leftover in leftovers)
            raise MachineError(f"processes {stuck} of an earlier run do not end", "look at them with ps")
        for leftover in leftovers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leftover.pid, signal.SIGKILL)
                text = f"ended process {leftover.pid} of run {leftover.run}: {leftover.command}"
                done.setdefault(leftover.pid, text)
        time.sleep(0.02)
    said = list(done.values())
    for folder in sorted(runtime_directory.glob("run-*")):
        shutil.rmtree(folder, ignore_errors=True)
        said.append(f"removed {folder}")
    for register in dead:
        register.path.unlink(missing_ok=True)
    return said


def _processes_of(dead: list[Register]) -> Iterator[Leftover]:
    by_value = {register.value: register for register in dead if register.value}
    if not by_value:
        return
    parents = _parents()
    # Whoever cleans up from a shell in a host of the dead run keeps that shell.
    spared = _with_ancestors(os.getpid(), parents)
    for pid in sorted(parents.keys() - spared):
        with contextlib.suppress(OSError):
            register = by_value.get(_variable(pid))
            if register is not None and _belongs(pid, register, parents):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                yield Leftover(
                    pid=pid, run=register.run, command=command.decode(errors="replace").strip()[:100]
                )


def _variable(pid: int) -> str:
    """The value of the mark's variable in that process; empty if it has none. Raises OSError."""
    prefix = VARIABLE.encode() + b"="
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if variable.startswith(prefix):
            return variable[len(prefix) :].decode(errors="replace")
    return ""


def _belongs(pid: int, register: Register, parents: Mapping[int, int]) -> bool:
    """Whether it is in a namespace of the run, or is a process that the run has noted, or descends from one.

    Raises OSError if it has ended.
    """
    if network_of(pid) in register.namespaces:
        return True
    return any(
        (process, process_stat(process).start_ticks) in register.processes
        for process in _with_ancestors(pid, parents)
    )


def _parents() -> dict[int, int]:
    """Process -> its parent, of all processes."""
    parents = {}
    for pid in process_ids():
        with contextlib.suppress(OSError):
            parents[pid] = process_stat(pid).parent
    return parents


def _with_ancestors(pid: int, parents: Mapping[int, int]) -> set[int]:
    chain: set[int] = set()
    while pid and pid not in chain:
        chain.add(pid)
        pid = parents.get(pid, 0)
    return chain
