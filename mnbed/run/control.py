"""The controller's end of the Unix sockets: which agents connect, what they send, and when they disconnect."""

from __future__ import annotations

import hmac
import os
import selectors
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from typing_extensions import Unpack

from mnbed.run.user import User
from node_agent import control_messages as messages
from node_agent.control import ControlChannel


@dataclass(frozen=True, kw_only=True)
class AgentMessage:
    """A message from an agent; `message["kind"]` says which. `hello` is not passed on."""

    name: str
    pid: int
    """The process that sent it: a restarted agent has had several."""
    message: messages.Message


@dataclass(frozen=True, kw_only=True)
class AgentJoined:
    """An agent has connected and shown the run's token."""

    name: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class AgentGone:
    """An agent's control connection has ended."""

    name: str
    pid: int
    """The process that had the connection."""


ControlEvent = AgentMessage | AgentJoined | AgentGone


class ControlServer:
    """Accepts agents and exchanges messages with them, on a selector of the caller's."""

    def __init__(self, directory: Path, token: str, user: User, selector: selectors.BaseSelector) -> None:
        """Create `directory` and listen inside it; only root and the invoking user can connect."""
        # Owned by root: in a folder of theirs, users could swap the socket for a file that chown then gives to them.
        directory.mkdir(mode=0o700)
        self.path = directory / "control.sock"
        self._uid = user.uid
        self._token = token
        self._selector = selector
        self._channels: set[ControlChannel] = set()
        self._agents: dict[str, ControlChannel] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        # In this order: what is somebody else's, root can only change with a right that a container may withhold.
        os.chmod(self.path, 0o600)
        os.chown(self.path, user.uid, user.gid)
        os.chmod(directory, 0o711)
        self._listener.listen(1024)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def connected(self) -> list[str]:
        """Names of the agents that are connected now."""
        return list(self._agents)

    @overload
    def send(self, name: str, kind: Literal["start"], /, **fields: Unpack[messages.Start]) -> None: ...
    @overload
    def send(self, name: str, kind: Literal["stop"], /, **fields: Unpack[messages.Stop]) -> None: ...
    @overload
    def send(self, name: str, kind: Literal["exit"], /, **fields: Unpack[messages.Exit]) -> None: ...
    def send(self, name: str, kind: Any, /, **fields: Any) -> None:
        """Send a message to an agent; if it is gone, do nothing: its end is reported anyway."""
        try:
            self._agents[name].send(kind, **fields)
        except (OSError, KeyError):
            pass

    @overload
    def broadcast(self, kind: Literal["start"], /, **fields: Unpack[messages.Start]) -> None: ...
    @overload
    def broadcast(self, kind: Literal["stop"], /, **fields: Unpack[messages.Stop]) -> None: ...
    @overload
    def broadcast(self, kind: Literal["exit"], /, **fields: Unpack[messages.Exit]) -> None: ...
    def broadcast(self, kind: Any, /, **fields: Any) -> None:
        """Send a message to every connected agent."""
        for name in self.connected:
            self.send(name, kind, **fields)

    def close(self) -> None:
        """Close every connection, upon which agents that are still running exit."""
        for channel in self._channels:
            self._selector.unregister(channel)
            channel.close()
        self._channels.clear()
        self._agents.clear()
        self._selector.unregister(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self.path.parent.rmdir()

    def _accept(self) -> list[ControlEvent]:
        sock, _ = self._listener.accept()
        pid, uid = _peer(sock)
        if uid not in (0, self._uid):
            sock.close()
            return []
        channel = ControlChannel(sock)
        self._channels.add(channel)
        names: list[str] = []
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._read(channel, pid, names))
        return []

    def _read(self, channel: ControlChannel, pid: int, names: list[str]) -> list[ControlEvent]:
        """`pid`: according to the kernel; `names` is empty until the connection has presented the token."""
        try:
            messages = channel.receive()
        except (OSError, ValueError):
            messages = None
        if messages is None:
            return self._drop(channel, pid, names)
        events: list[ControlEvent] = []
        for message in messages:
            if not names:
                token, name = str(message.get("token", "")), message.get("name")
                if not hmac.compare_digest(token, self._token) or not isinstance(name, str):
                    return events + self._drop(channel, pid, names)
                names.append(name)
                self._agents[name] = channel
                if message["kind"] == "hello":
                    events.append(AgentJoined(name=name, pid=pid))
                    continue
            events.append(AgentMessage(name=names[0], pid=pid, message=message))
        return events

    def _drop(self, channel: ControlChannel, pid: int, names: list[str]) -> list[ControlEvent]:
        self._selector.unregister(channel)
        self._channels.discard(channel)
        channel.close()
        if not names:
            return []
        # A restarted node may already have another connection.
        if self._agents.get(names[0]) is channel:
            del self._agents[names[0]]
        return [AgentGone(name=names[0], pid=pid)]


def _peer(sock: socket.socket) -> tuple[int, int]:
    """(process, user) at the other end, as the kernel recorded them: what a message claims proves nothing."""
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
