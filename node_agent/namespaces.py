"""Entering an emulated host and giving up root, from inside a process."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

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


def drop_root(uid: int, gid: int, groups: list[int]) -> None:
    """Become that user for good; does nothing where the user is root."""
    if uid == 0 or os.geteuid() != 0:
        return
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Touch files as that user inside the block, and be root again after it."""
    if uid == 0 or os.geteuid() != 0:
        yield
        return
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
