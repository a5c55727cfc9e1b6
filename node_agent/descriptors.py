"""Waiting for file descriptors of any number: `select.select` accepts none above 1023, whatever the limit."""

from __future__ import annotations

import ctypes
import select
import struct
from typing import Protocol


class HasDescriptor(Protocol):
    """A file or a socket."""

    def fileno(self) -> int:
        """Its descriptor."""


def wait_readable(file: HasDescriptor, patience_s: float) -> bool:
    """Wait until it is readable or its other end is closed; False after `patience_s` wall seconds."""
    poll = select.poll()
    poll.register(file.fileno(), select.POLLIN)
    return bool(poll.poll(patience_s * 1000))


class PreciseWait:
    """Waits for one descriptor with a resolution of nanoseconds; time-outs of poll and epoll are in milliseconds."""

    def __init__(self, descriptor: int) -> None:
        self._ppoll = ctypes.CDLL(None, use_errno=True).ppoll
        self._ppoll.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_void_p]
        # struct pollfd; the kernel writes into it.
        self._polled = ctypes.create_string_buffer(struct.pack("=ihh", descriptor, select.POLLIN, 0), 8)

    def __call__(self, seconds: float | None) -> bool:
        """Wait until it is readable, for ever or that many seconds; False on a time-out or a signal."""
        limit = None if seconds is None else struct.pack("@ll", int(seconds), int(seconds % 1 * 1e9))
        return int(self._ppoll(self._polled, 1, limit, None)) > 0
