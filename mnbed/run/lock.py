"""One run at a time on a machine, by a lock that is released when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator

from mnbed.errors import MachineError
from mnbed.network.mark import RUNTIME_DIRECTORY
from mnbed.network.processes import is_stopped


@contextlib.contextmanager
def run_lock(what: str) -> Iterator[None]:
    """Hold the machine's only lock. Raises MachineError, naming the holder, if another mnbed holds it."""
    RUNTIME_DIRECTORY.mkdir(exist_ok=True)
    # Agents need to traverse it, whatever umask root was called with.
    RUNTIME_DIRECTORY.chmod(0o755)
    # Anyone who can open the file, even for reading, can hold its lock: only root may.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(RUNTIME_DIRECTORY / "lock", flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 4096).decode(errors="replace").strip() or "an unknown process"
            raise MachineError(f"another mnbed is at work: {holder}", _remedy(holder)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}: {what}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _remedy(holder: str) -> str:
    match = re.match(r"process (\d+):", holder)
    if match and is_stopped(int(match[1])):
        pid = match[1]
        return f"it is stopped, as by Ctrl-Z: continue it with fg or kill -CONT {pid}, or end it with kill -KILL {pid}"
    return "wait until it ends, or end it with Ctrl-C or kill"
