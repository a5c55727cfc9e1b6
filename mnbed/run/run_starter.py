"""How a sweep starts `mnbed run`, which needs root, although the sweep itself works with a user's files.

Under sudo the process splits in two: a child drops root for good and carries on with the sweep; the parent stays behind
as its servant and does only two things: start `mnbed run` and pass Ctrl-C on to it. It understands nothing else, and
`mnbed run` treats every argument as the user's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Sequence
from typing import IO, Protocol

from mnbed.programs import our_program
from mnbed.run.user import invoking_user, user_environment
from mnbed.run.user_channel import UserChannel
from node_agent.privileges import drop_for_good, end_with_parent

_STATUS = struct.Struct("=i")


class StartedRun(Protocol):
    """One `mnbed run`."""

    def wait(self) -> int:
        """Its exit status. A KeyboardInterrupt leaves it running; wait again."""

    def interrupt(self) -> None:
        """Interrupt it, as Ctrl-C would."""


class RunStarter(Protocol):
    """Starts runs, one after the other."""

    def start(self, arguments: Sequence[str], output: IO[str]) -> StartedRun:
        """Start `mnbed run ARGUMENTS`, with its output in that file."""


class _Process:
    def __init__(self, arguments: Sequence[str], output: int) -> None:
        # In its own session: a terminal's Ctrl-C reaches the sweep, which passes it on once.
        self.process = subprocess.Popen(
            our_program("mnbed.cli", "run", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> int:
        return self.process.wait()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)


class LocalStarter:
    """Without sudo: the sweep starts the runs itself."""

    def start(self, arguments: Sequence[str], output: IO[str]) -> StartedRun:
        return _Process(arguments, output.fileno())


class _AskedRun:
    """A run that the servant has started."""

    def __init__(self, sock: socket.socket, channel: UserChannel) -> None:
        self._socket = sock
        self._channel = channel

    def wait(self) -> int:
        data = self._socket.recv(_STATUS.size, socket.MSG_WAITALL)
        if len(data) < _STATUS.size:
            raise EOFError("the process that starts runs has ended")
        return int(_STATUS.unpack(data)[0])

    def interrupt(self) -> None:
        self._channel.send({"interrupt": True})


class _AskingStarter:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._channel = UserChannel(sock)

    def start(self, arguments: Sequence[str], output: IO[str]) -> StartedRun:
        self._channel.send({"run": list(arguments)}, output.fileno())
        return _AskedRun(self._socket, self._channel)


def part_with_root() -> RunStarter:
    """From now on this process runs as the user; the starter asks the servant, which is root, to start runs."""
    user = invoking_user()
    if os.geteuid() != 0 or user.uid == 0:
        return LocalStarter()
    root = os.getpid()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child != 0:
        theirs.close()
        os._exit(_Servant(ours, child).serve())
    ours.close()
    drop_for_good(user.uid, user.gid, user.groups)
    end_with_parent(root)
    os.environ.update(user_environment(user))
    return _AskingStarter(theirs)


class _Servant:
    """The process that stays root."""

    def __init__(self, sock: socket.socket, child: int) -> None:
        self._socket = sock
        self._channel = UserChannel(sock)
        self._child = child
        # The terminal sends Ctrl-C to the child as well.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(child, number))

    def serve(self) -> int:
        """Until the child ends; returns its exit status."""
        with contextlib.suppress(EOFError, ConnectionError, ValueError, KeyError):
            while True:
                message, output = self._channel.receive()
                if output is not None:
                    self._run([str(word) for word in message["run"]], output)
        _, status = os.waitpid(self._child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _run(self, arguments: list[str], output: int) -> None:
        """Execute one run; it is interrupted if the child asks for that or disappears."""
        run = _Process(arguments, output)
        os.close(output)
        ended = os.pidfd_open(run.process.pid)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self._socket, select.POLLIN)
        try:
            while ended not in (ready := {descriptor for descriptor, _ in poll.poll()}):
                if ready:
                    run.interrupt()
                    try:
                        self._channel.receive()
                    except (EOFError, ConnectionError):
                        poll.unregister(self._socket)
        finally:
            os.close(ended)
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(_STATUS.pack(run.wait()))
