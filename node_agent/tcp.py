"""What Linux reports about a TCP connection, and how much unsent data the kernel may hold."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

# Unsent bytes the kernel may hold per connection before it accepts no more; the write that crosses the mark may add up
# to 64 KiB (one socket buffer). Enough to keep 200 Mbit/s busy between two wake-ups of the I/O thread, and little
# that becomes stale when one round replaces another.
NOTSENT_LOWAT_BYTES = 16384
# With this mark a socket is writable only when nothing unsent is left in it.
LOWAT_EMPTY_BYTES = 1
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TCP_NOTSENT_LOWAT = 25
_SIOCOUTQNSD = 0x894B
# struct tcp_info (linux/tcp.h): its length up to tcpi_snd_wnd, and offsets of 32-bit fields.
_TCP_INFO_BYTES = 232
_SND_MSS, _UNACKED, _SACKED, _LOST, _RETRANS, _SND_CWND, _MIN_RTT, _SND_WND = 16, 24, 28, 32, 36, 80, 148, 228


def unsent_bytes(sock: socket.socket) -> int:
    """Bytes that the kernel has accepted and not yet handed to the network for the first time."""
    return int(struct.unpack("i", fcntl.ioctl(sock, _SIOCOUTQNSD, bytes(4)))[0])


def set_lowat(sock: socket.socket, num_bytes: int) -> None:
    """Let the kernel accept more only while less than that is unsent."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, num_bytes)


def waits_for_the_network(sock: socket.socket) -> bool:
    """Whether unsent data waits for acknowledgements or for the peer's window, so that our own link is free."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    if len(info) < _TCP_INFO_BYTES:
        return False  # kernels before 5.4 do not report the window
    mss, unacked, sacked, lost, retrans, cwnd, wnd = (
        struct.unpack_from("=I", info, offset)[0]
        for offset in (_SND_MSS, _UNACKED, _SACKED, _LOST, _RETRANS, _SND_CWND, _SND_WND)
    )
    return bool(unacked - sacked - lost + retrans >= cwnd or (unacked + 1) * mss > wnd)


def min_round_trip_s(sock: socket.socket) -> float | None:
    """The smallest round-trip time the kernel has measured, wall seconds; None before the first."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    if len(info) < _MIN_RTT + 4:
        return None
    (microseconds,) = struct.unpack_from("=I", info, _MIN_RTT)
    return None if microseconds == 0xFFFFFFFF else float(microseconds / 1e6)
