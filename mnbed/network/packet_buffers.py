"""Makes more room in the packet sockets of another process, which has no option for it.

Open vSwitch's userspace datapath sends the frames of all ports through one packet socket, and a frame counts towards
that socket's buffer until it has left the port's qdisc. The system's default of 208 KB, about 90 frames, would cut
every queue and every delay of the network short, with drops that no qdisc counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mnbed.errors import RunError

# asm-generic/unistd.h and socket.h; the number is the same on every architecture.
_SYS_PIDFD_GETFD = 438
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
# The qdiscs must be the limit, never this; memory is used only as frames come.
_SEND_BYTES = 1 << 29
# Bridges the times when a daemon has to wait for a core: 2,000 full-size frames per port.
_RECEIVE_BYTES = 4 << 20


def widen(pid: int) -> None:
    """Give every packet socket of that process large buffers. Raises RunError if that cannot be done."""
    senders = 0
    try:
        for sock in _packet_sockets(pid):
            # A socket that only sends listens to no protocol.
            senders += sock.proto == 0
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except OSError as error:
        raise RunError(f"the packet buffers of process {pid} cannot be widened: {error}") from None
    if not senders:
        raise RunError(f"process {pid} has no packet socket for sending")


def _packet_sockets(pid: int) -> Iterator[socket.socket]:
    """Our own descriptors of its packet sockets, one at a time. Raises OSError."""
    process = os.pidfd_open(pid)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed in the meantime
                if not os.readlink(entry).startswith("socket:"):
                    continue
                with _take(process, int(entry.name)) as sock:
                    if sock.family == socket.AF_PACKET:
                        yield sock
    finally:
        os.close(process)


def _take(process: int, descriptor: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    mine = libc.syscall(_SYS_PIDFD_GETFD, process, descriptor, 0)
    if mine < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return socket.socket(fileno=mine)
