"""What the supervisor needs from the parts that start agents' processes and carry messages to them."""

from __future__ import annotations

import signal
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal, Protocol, overload

from typing_extensions import Unpack

from mnbed.run.launch import LaunchEvent
from node_agent import control_messages as messages
from node_agent.settings import ResumeSettings


class Launcher(Protocol):
    """What the supervisor needs from a launcher; its events come through the selector, or through `poll`."""

    def poll(self) -> list[LaunchEvent]:
        """Events since the last call that do not come through the selector."""

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an agent that it has launched."""

    def standstill(self) -> str:
        """A description of what keeps it from launching agents; empty if nothing can."""


class LoadingLauncher(Launcher, Protocol):
    """A launcher that loads the data first."""

    log_path: Path

    def activity(self) -> Hashable:
        """A value that changes while it makes progress."""


class Control(Protocol):
    """What the supervisor needs from the control sockets; their events come through the selector."""

    @property
    def connected(self) -> list[str]:
        """Names of the agents that are connected now."""

    @overload
    def send(self, name: str, kind: Literal["start"], /, **fields: Unpack[messages.Start]) -> None: ...
    @overload
    def send(self, name: str, kind: Literal["stop"], /, **fields: Unpack[messages.Stop]) -> None: ...
    @overload
    def send(self, name: str, kind: Literal["exit"], /, **fields: Unpack[messages.Exit]) -> None: ...
    def send(self, name: str, kind: Any, /, **fields: Any) -> None:
        """Send a message to an agent; if it is gone, do nothing."""

    @overload
    def broadcast(self, kind: Literal["start"], /, **fields: Unpack[messages.Start]) -> None: ...
    @overload
    def broadcast(self, kind: Literal["stop"], /, **fields: Unpack[messages.Stop]) -> None: ...
    @overload
    def broadcast(self, kind: Literal["exit"], /, **fields: Unpack[messages.Exit]) -> None: ...
    def broadcast(self, kind: Any, /, **fields: Any) -> None:
        """Send a message to every connected agent."""


class Restarter(Protocol):
    """Restarts killed agents."""

    def resume(self, name: str, state: str, life: int, status: messages.Status | None) -> ResumeSettings:
        """From where it continues. Reads the user's files, so it may take a while; called from any thread."""

    def launch(self, name: str, resume: ResumeSettings) -> None:
        """Start a process for it. Called from the supervisor's loop."""
