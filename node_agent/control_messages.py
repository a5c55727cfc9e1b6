"""The messages of the Unix socket between the controller and an agent: one type for each, every field with its meaning.

Both ends send and receive these and no others; every message has its `kind`, which `ControlChannel` adds.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from node_agent.counters import CounterTotals

# From an agent to the controller


class Hello(TypedDict):
    """The first message of a connection. Which process has sent it, the kernel says."""

    kind: NotRequired[Literal["hello"]]
    name: str
    token: str
    """The run's."""


class Ready(TypedDict):
    """At the start barrier."""

    kind: NotRequired[Literal["ready"]]
    standin: bool
    """Generated data has taken the place of the real."""
    data: str
    """What the data is, in words."""


class Status(TypedDict):
    """How far it is, a few times a second; dropped where it cannot be sent at once."""

    kind: NotRequired[Literal["status"]]
    t: float | None
    """Emulated seconds since the common start; null before it."""
    round: int
    steps: int
    train_loss: float | None
    counters: CounterTotals


class Failed(TypedDict):
    """The agent cannot go on."""

    kind: NotRequired[Literal["failed"]]
    message: str
    remedy: str | None
    exit_status: int
    """That `mnbed` is to end with."""
    traceback: str
    name: NotRequired[str]
    """With `token`, where the agent failed before it could say hello."""
    token: NotRequired[str]


class Ended(TypedDict):
    """Trained to the end, or stopped."""

    kind: NotRequired[Literal["ended"]]
    reason: Literal["finished", "stopped"]


# From the controller to an agent


class Start(TypedDict):
    """The common start."""

    kind: NotRequired[Literal["start"]]
    start_monotonic_s: float
    """On the machine's monotonic clock, wall seconds."""


class Stop(TypedDict):
    """Finish now; what was collected stays."""

    kind: NotRequired[Literal["stop"]]


class Exit(TypedDict):
    """Everybody has ended: connections may close."""

    kind: NotRequired[Literal["exit"]]


FromAgent = Hello | Ready | Status | Failed | Ended
FromController = Start | Stop | Exit
Message = FromAgent | FromController
