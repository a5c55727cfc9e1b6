"""The messages between root and the user's process: one JSON object per line, with open files attached.

JSON and nothing else, because the process runs the user's code, and root reads what it sends.

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

# Far more than a plan of a thousand hosts needs; only a faulty process sends more without a newline.
_MAX_BYTES = 256 << 20
_MAX_FILES = 4


class UserChannel:
    """One end of the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self._searched = 0
        self._files: list[int] = []

    def send(self, message: dict[str, Any], file: int | None = None) -> None:
        """Send a message, with an open file if there is one. Raises OSError if the other end has closed."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        sent = 0 if file is None else socket.send_fds(self._socket, [data[:1]], [file])
        self._socket.sendall(data[sent:])

    def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next message, and the file that came with it. Raises EOFError at the end, ValueError for a wrong one."""
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > _MAX_BYTES:
                raise ValueError("a message without a line end")
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
            raise ValueError(f"not a message: {line[:80]!r}")
        return message, files[0] if files else None

    def be_patient(self, seconds: float | None) -> None:
        """From now on wait at most that long for the other end, then raise TimeoutError; None: wait for ever."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
