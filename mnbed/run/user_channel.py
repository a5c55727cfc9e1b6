"""What root and the user's process say to each other: one JSON object per line, with open files beside it.

JSON and nothing else: root reads what a process says that runs a user's code.

    root -> user     call, args
    user -> root     progress: [done, total]        any number of these, then one of
                     result                         with at most one open file
                     error: {status, message, remedy, traceback}
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

# Far above a plan of a thousand hosts; a peer that sends more without a newline is not one of ours.
_MAX_BYTES = 256 << 20
_MAX_FILES = 4


class UserChannel:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self._searched = 0
        self._files: list[int] = []

    def send(self, message: dict[str, Any], file: int | None = None) -> None:
        """Send a message, and an open file with it. Raises OSError where the other end is gone."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        sent = 0 if file is None else socket.send_fds(self._socket, [data[:1]], [file])
        self._socket.sendall(data[sent:])

    def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next message, and the file that came with it. Raises EOFError, or ValueError if it is not a message."""
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > _MAX_BYTES:
                raise ValueError("a message without an end")
            data, files, _, _ = socket.recv_fds(self._socket, 1 << 16, _MAX_FILES)
            self._files += files
            if not data:
                raise EOFError
            self._buffer += data
        line, self._searched = bytes(self._buffer[:end]), 0
        del self._buffer[: end + 1]
        files, self._files = self._files, []
        for surplus in files[1:]:
            os.close(surplus)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"no message: {line[:80]!r}")
        return message, files[0] if files else None

    def be_patient(self, seconds: float | None) -> None:
        """Wait at most that long for the other end, then raise TimeoutError; None: wait for ever."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
