"""Writes the packets of one interface to a pcap file, which Wireshark and tcpdump read, without another program.

A host's segments appear as TCP hands them to its interface, up to 64 kB in one piece; the kernel cuts them later.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from node_agent.descriptors import wait_readable
from node_agent.namespaces import enter_network_namespace

# The variant with nanoseconds (draft-ietf-opsawg-pcap); link type 1 is Ethernet.
_MAGIC, _ETHERNET, _MAX_BYTES = 0xA1B23C4D, 1, 262_144
_ETH_P_ALL = 3
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_BUFFER_BYTES = 16 << 20
_SOL_PACKET, _PACKET_STATISTICS = 263, 6


class Capture:
    """Both directions of an interface, until `stop`."""

    def __init__(self, pid: int, interface: str, path: Path, descriptor: int) -> None:
        """`pid`: a process in the interface's namespace; `descriptor`: the file, open for writing. Raises OSError."""
        self.path = path
        self.interface = interface
        self.packets = 0
        self.lost = 0
        """Packets for which the kernel had no room; known after `stop`."""
        self._file = os.fdopen(descriptor, "wb")
        try:
            with ThreadPoolExecutor(max_workers=1) as pool:
                self._socket = pool.submit(_open, pid, interface).result()
        except OSError:
            self._file.close()
            raise
        self._file.write(struct.pack("=IHHiIII", _MAGIC, 2, 4, 0, 0, _MAX_BYTES, _ETHERNET))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture {interface}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what has arrived, and close the file; a second call does nothing."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            _, self.lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._socket.close()
        self._file.close()

    def _run(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            if wait_readable(self._socket, 0.1):
                self._take()
            elif stopping:
                return

    def _take(self) -> None:
        for _ in range(1000):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_MAX_BYTES, socket.CMSG_SPACE(16))
            except OSError:
                return
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            self._file.write(struct.pack("=IIII", seconds, nanoseconds, len(data), len(data)) + data)
            self.packets += 1


def _open(pid: int, interface: str) -> socket.socket:
    enter_network_namespace(pid)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((interface, _ETH_P_ALL))
    except OSError:
        sock.close()
        raise
    return sock
