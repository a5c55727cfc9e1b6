"""The Unix socket between the controller and an agent: one JSON object per line; `control_messages.py` has them all.

Control never goes over the emulated links.

An agent exits when this socket closes, so that a killed controller leaves no agents behind. A controller that is not
reading, because it is stopped or suspended, does not hold up the I/O thread: a status that cannot be sent at once is
dropped. The other messages wait, on the training thread.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any, Literal, cast, overload

from typing_extensions import Unpack

from node_agent import control_messages as messages

# Far larger than any of our messages: more than this without a newline does not come from mnbed.
_MAX_LINE_BYTES = 1 << 20


class ControlChannel:
    """One end of a control connection; several threads may send."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = b""
        self._sending = threading.Lock()
        # The unsent rest of an offered message whose beginning the kernel has accepted.
        self._rest = b""

    @classmethod
    def connect(cls, path: str) -> ControlChannel:
        """Connect to the controller. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        return cls(sock)

    def fileno(self) -> int:
        return self.socket.fileno()

    @overload
    def send(self, kind: Literal["hello"], /, **fields: Unpack[messages.Hello]) -> None: ...
    @overload
    def send(self, kind: Literal["ready"], /, **fields: Unpack[messages.Ready]) -> None: ...
    @overload
    def send(self, kind: Literal["status"], /, **fields: Unpack[messages.Status]) -> None: ...
    @overload
    def send(self, kind: Literal["failed"], /, **fields: Unpack[messages.Failed]) -> None: ...
    @overload
    def send(self, kind: Literal["ended"], /, **fields: Unpack[messages.Ended]) -> None: ...
    @overload
    def send(self, kind: Literal["start"], /, **fields: Unpack[messages.Start]) -> None: ...
    @overload
    def send(self, kind: Literal["stop"], /, **fields: Unpack[messages.Stop]) -> None: ...
    @overload
    def send(self, kind: Literal["exit"], /, **fields: Unpack[messages.Exit]) -> None: ...
    def send(self, kind: str, /, **fields: Any) -> None:
        """Send one message, however long the other end takes. Raises OSError if it is gone."""
        with self._sending:
            self.socket.sendall(self._rest + _line(kind, fields))
            self._rest = b""

    def offer(self, kind: Literal["status"], /, **fields: Unpack[messages.Status]) -> bool:
        """Send one message if that is possible without waiting; False if it was dropped.

        Raises OSError if the other end is gone.
        """
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if self._rest:
                self._rest = self._rest[self._send_now(self._rest) :]
            if self._rest:
                return False
            line = _line(kind, dict(fields))
            num_bytes = self._send_now(line)
            self._rest = line[num_bytes:] if num_bytes else b""
            return num_bytes > 0
        finally:
            self._sending.release()

    def _send_now(self, data: bytes) -> int:
        try:
            return self.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def receive(self) -> list[messages.Message] | None:
        """Wait for data and return the messages it completes; None at the end of the connection.

        Raises ValueError if the data is not a message.
        """
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return None
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _MAX_LINE_BYTES:
            raise ValueError("a control message without a newline")
        received = [json.loads(line) for line in lines]
        for message in received:
            if not isinstance(message, dict) or "kind" not in message:
                raise ValueError(f"not a control message: {message!r}")
        return cast("list[messages.Message]", received)

    def close(self) -> None:
        self.socket.close()


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return (json.dumps({"kind": kind, **fields}) + "\n").encode()
