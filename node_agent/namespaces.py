"""Entering an emulated host from inside a process."""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWNET = 0x40000000


def enter_network_namespace(pid: int) -> None:
    """Move the calling thread into the network namespace of process `pid`. Raises OSError."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"cannot enter the network namespace of process {pid}: {os.strerror(error)}")
    finally:
        os.close(descriptor)
