"""What the supervisor needs of those that give agents processes and carry messages to them."""

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
    """What the supervisor needs of a launcher; its events come through the selector, or through `poll`."""

    def poll(self) -> list[LaunchEvent]:
        """What has happened since the last call, where the selector does not tell."""

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an agent that it has launched."""

    def standstill(self) -> str:
        """What keeps it from launching agents, in words; empty where nothing can."""


class LoadingLauncher(Launcher, Protocol):
    """A launcher that loads the data first."""

    log_path: Path

    def activity(self) -> Hashable:
        """Changes while it makes progress."""


class Control(Protocol):
    """What the supervisor needs of the control sockets; their events come through the selector."""

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
        """One message to one agent, or to nobody where it is gone."""

    @overload
    def broadcast(self, kind: Literal["start"], /, **fields: Unpack[messages.Start]) -> None: ...
    @overload
    def broadcast(self, kind: Literal["stop"], /, **fields: Unpack[messages.Stop]) -> None: ...
    @overload
    def broadcast(self, kind: Literal["exit"], /, **fields: Unpack[messages.Exit]) -> None: ...
    def broadcast(self, kind: Any, /, **fields: Any) -> None:
        """One message to every connected agent."""


class Restarter(Protocol):
    """How a killed agent comes back."""

    def resume(self, name: str, state: str, life: int, status: messages.Status | None) -> ResumeSettings:
        """Where it goes on; reads the user's files, so it may take a while, and is called from any thread."""

    def launch(self, name: str, resume: ResumeSettings) -> None:
        """Give it a process. Called from the supervisor's loop."""
