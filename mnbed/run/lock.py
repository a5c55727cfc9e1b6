"""One run at a time on a machine, by a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from mnbed.errors import MachineError
from mnbed.network.leftovers import RUNTIME_DIRECTORY as RUNTIME_DIRECTORY


@contextlib.contextmanager
def run_lock(what: str) -> Iterator[None]:
    """Hold the machine's one lock. Raises MachineError where another mnbed holds it, saying which."""
    RUNTIME_DIRECTORY.mkdir(exist_ok=True)
    # Agents go through it, whatever umask root was called with.
    RUNTIME_DIRECTORY.chmod(0o755)
    descriptor = os.open(RUNTIME_DIRECTORY / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 4096).decode(errors="replace").strip() or "an unknown process"
            raise MachineError(
                f"another mnbed is at work: {holder}", "wait until it ends, or end it with Ctrl-C or kill"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}: {what}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
