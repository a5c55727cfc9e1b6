"""The Unix socket between the controller and an agent, and the messages both ends speak: one JSON object per line.

Control never goes over the emulated links. Every message has `kind`.

    agent -> controller
      hello     name, token                             the kernel vouches for the process
      ready     standin, data                             at the start barrier; what the data is, see Task
      status    t, round, steps, train_loss, counters     a few times a second
      failed    message, remedy, exit_status, traceback   the agent cannot go on
      ended     reason                                    trained to the end, or stopped
    controller -> agent
      start     start_monotonic_s                         the common start, on the machine's monotonic clock
      stop                                                finish now; what was collected stays
      exit                                                every agent has ended: connections may close

An agent exits when this socket closes, so that a killed controller leaves no agents behind. A controller that is not
reading, because it is stopped or suspended, does not hold up the I/O thread: a status that cannot be sent at once is
dropped. The other messages wait, on the training thread.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

# Far larger than any message of ours: whoever sends more without a newline is not one of ours.
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

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message, however long the other end takes. Raises OSError if it is gone."""
        with self._sending:
            self.socket.sendall(self._rest + _line(kind, fields))
            self._rest = b""

    def offer(self, kind: str, **fields: Any) -> bool:
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
            line = _line(kind, fields)
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

    def receive(self) -> list[dict[str, Any]] | None:
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
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if not isinstance(message, dict) or "kind" not in message:
                raise ValueError(f"not a control message: {message!r}")
        return messages

    def close(self) -> None:
        self.socket.close()


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return (json.dumps({"kind": kind, **fields}) + "\n").encode()
