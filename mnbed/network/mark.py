"""The mark of a run: what distinguishes its processes from all others after the run has been killed.

A process of a run has MNBED_RUN in its environment, with a value that nobody can guess; and the run has noted it, an
ancestor of it, or the network namespace that it is in, in a register. The register is a file that only root can read,
one JSON object per line; the first says which value and which boot of the machine it is for. Neither half is enough on
its own: a variable can be copied, and the kernel reuses the numbers of processes and namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mnbed.network.processes import process_stat

VARIABLE = "MNBED_RUN"
# One per machine; the sockets of a live run are below it, too, in folders called run-*.
RUNTIME_DIRECTORY = Path("/run/mnbed")
_REGISTERS = "marks"

Process = tuple[int, int]
"""(process id, when it started in clock ticks since the boot): no two processes of a boot have both in common."""
Namespace = tuple[int, int]
"""(device, inode) of a network namespace."""


@dataclass(kw_only=True)
class Register:
    """What a run has noted."""

    path: Path
    run: str
    value: str
    """The variable's value."""
    processes: set[Process] = field(default_factory=set)
    namespaces: set[Namespace] = field(default_factory=set)


class _Current:
    """The register that this process writes; None: it has no run of its own."""

    register: Register | None = None


@contextlib.contextmanager
def marked(run: str, runtime_directory: Path = RUNTIME_DIRECTORY) -> Iterator[Register]:
    """Everything that this process starts inside carries the mark of that run.

    On exit, the register is removed, unless a process of the run is left: then it is kept for the clean-up.
    Raises OSError.
    """
    folder = runtime_directory / _REGISTERS
    runtime_directory.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    value = secrets.token_hex(16)
    register = Register(path=folder / f"{os.getpid()}-{secrets.token_hex(4)}.jsonl", run=run, value=value)
    _append(register, {"run": run, "value": value, "boot": boot_id()})
    former = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = value
    _Current.register = register
    try:
        yield register
    finally:
        _Current.register = None
        os.environ.pop(VARIABLE)
        if former is not None:
            os.environ[VARIABLE] = former
        if not any(_is_alive(process) for process in register.processes):
            register.path.unlink(missing_ok=True)


def note(pid: int) -> None:
    """Note a process that this run has just started, and the network namespace that it made, if it made one.

    Outside `marked` nothing is noted. Raises OSError if the register cannot be written.
    """
    register = _Current.register
    if register is None:
        return
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended already
        process, namespace = (pid, process_stat(pid).start_ticks), network_of(pid)
        line: dict[str, object] = {"process": process}
        register.processes.add(process)
        if namespace != network_of(os.getpid()):
            line["namespace"] = namespace
            register.namespaces.add(namespace)
        _append(register, line)


def registers(runtime_directory: Path = RUNTIME_DIRECTORY) -> list[Register]:
    """The registers of all runs that have not ended properly. One that is damaged or of another boot is empty."""
    return [_read(path) for path in sorted((runtime_directory / _REGISTERS).glob("*.jsonl"))]


def _read(path: Path) -> Register:
    register = Register(path=path, run="?", value="")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        first, *lines = path.read_text().splitlines()
        head = json.loads(first)
        if head["boot"] != boot_id():
            return register
        register.run, register.value = str(head["run"]), str(head["value"])
        for line in lines:
            entry = json.loads(line)
            register.processes.add((int(entry["process"][0]), int(entry["process"][1])))
            if "namespace" in entry:
                register.namespaces.add((int(entry["namespace"][0]), int(entry["namespace"][1])))
    return register


def boot_id() -> str:
    """An id that changes with every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def network_of(pid: int) -> Namespace:
    """The network namespace that a process is in. Raises OSError."""
    status = os.stat(f"/proc/{pid}/ns/net")
    return status.st_dev, status.st_ino


def _is_alive(process: Process) -> bool:
    with contextlib.suppress(OSError):
        pid, start_ticks = process
        stat = process_stat(pid)
        return stat.start_ticks == start_ticks and stat.state != "Z"
    return False


def _append(register: Register, entry: dict[str, object]) -> None:
    descriptor = os.open(
        register.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(descriptor)
