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
from node_agent.privileges import drop_for_good

TOKEN = "ab" * 16
ME = User(uid=os.getuid(), gid=os.getgid(), groups=[], home=Path("/"))


class Server:
    def __init__(self, directory: Path, user: User = ME) -> None:
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
        channel.send("hello", name=name, token=token)
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
    channel.send("ended", reason="stopped")
    server.poll_until(lambda: len(server.events) == 2)
    assert server.events == [
        AgentJoined(name="h1", pid=os.getpid()),
        AgentMessage(name="h1", pid=os.getpid(), message={"kind": "ended", "reason": "stopped"}),
    ]
    server.control.broadcast("start", start_monotonic_s=1.5)
    assert channel.receive() == [{"kind": "start", "start_monotonic_s": 1.5}]
    channel.close()
    server.poll_until(lambda: server.events[-1] == AgentGone(name="h1", pid=os.getpid()))
    server.control.send("h1", "stop")  # to nobody: passed over


def test_a_process_is_who_the_kernel_says_whatever_it_claims(server: Server) -> None:
    """An agent that claims to be process 1 would have root signal that one in its stead."""
    channel = ControlChannel.connect(str(server.control.path))
    channel.send("hello", name="h1", pid=1, token=TOKEN)  # type: ignore[call-overload]
    server.poll_until(lambda: len(server.events) == 1)
    assert server.events == [AgentJoined(name="h1", pid=os.getpid())]
    channel.close()


@pytest.mark.root
def test_the_user_connects_and_nobody_else_does() -> None:
    folder = Path("/tmp") / f"mnbed-control-{os.getpid()}"
    old = os.umask(0o077)
    try:
        made = Server(folder, User(uid=4242, gid=4242, groups=[], home=Path("/")))
    finally:
        os.umask(old)
    try:
        assert folder.stat().st_uid == 0
        assert may_connect(made.control.path, 4242, 4242)
        # Another user of the same group, too.
        assert not may_connect(made.control.path, 4243, 4242)
        assert not may_write(folder, 4242, 4242)
    finally:
        made.control.close()
        made.selector.close()


def may_connect(path: Path, uid: int, gid: int) -> bool:
    return as_user(uid, gid, lambda: ControlChannel.connect(str(path)).close())


def may_write(folder: Path, uid: int, gid: int) -> bool:
    return as_user(uid, gid, lambda: (folder / "x").write_text(""))


def as_user(uid: int, gid: int, work: Callable[[], object]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            drop_for_good(uid, gid, [])
            work()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


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
