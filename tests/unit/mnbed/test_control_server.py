"""Both ends of the control socket, over a real Unix socket."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mnbed.run.control import AgentGone, AgentJoined, AgentMessage, ControlEvent, ControlServer
from mnbed.run.user import User
from node_agent.control import ControlChannel

TOKEN = "ab" * 16


class Server:
    def __init__(self, directory: Path) -> None:
        user = User(uid=os.getuid(), gid=os.getgid(), groups=[], home=Path("/"))
        self.selector = selectors.DefaultSelector()
        self.control = ControlServer(directory, TOKEN, user, self.selector)
        self.events: list[ControlEvent] = []

    def poll_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, self.events
            for key, _ in self.selector.select(0.05):
                self.events += key.data()

    def connect(self, name: str = "h1", token: str = TOKEN) -> ControlChannel:
        channel = ControlChannel.connect(str(self.control.path))
        channel.send("hello", name=name, pid=os.getpid(), token=token)
        return channel


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "run")
    yield made
    made.control.close()
    made.selector.close()
    assert not (tmp_path / "run").exists()


def test_an_agent_joins_talks_and_goes(server: Server) -> None:
    channel = server.connect()
    channel.send("ready")
    server.poll_until(lambda: len(server.events) == 2)
    assert server.events == [
        AgentJoined(name="h1", pid=os.getpid()),
        AgentMessage(name="h1", message={"kind": "ready"}),
    ]
    server.control.broadcast("start", start_monotonic_s=1.5)
    assert channel.receive() == [{"kind": "start", "start_monotonic_s": 1.5}]
    channel.close()
    server.poll_until(lambda: server.events[-1] == AgentGone(name="h1", pid=os.getpid()))
    server.control.send("h1", "stop")  # to nobody: passed over


def test_without_the_token_nobody_gets_in(server: Server) -> None:
    channel = server.connect(token="00" * 16)
    server.poll_until(lambda: closed(channel.socket))
    assert server.events == []
    assert server.control.connected == []
    channel.close()


def test_nonsense_closes_that_connection_only(server: Server) -> None:
    good = server.connect("h2")
    bad = server.connect("h3")
    server.poll_until(lambda: len(server.control.connected) == 2)
    bad.socket.sendall(b"no json\n")
    server.poll_until(lambda: AgentGone(name="h3", pid=os.getpid()) in server.events)
    assert server.control.connected == ["h2"]
    good.close()
    bad.close()


def test_a_message_in_pieces_is_put_together(server: Server) -> None:
    channel = server.connect()
    server.poll_until(lambda: len(server.events) == 1)
    for piece in (b'{"kind": "sta', b'tus", "t": 3}\n{"kind"', b': "ended"}\n'):
        channel.socket.sendall(piece)
    server.poll_until(lambda: len(server.events) == 3)
    kinds = [event.message["kind"] for event in server.events if isinstance(event, AgentMessage)]
    assert kinds == ["status", "ended"]
    channel.close()


def closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
