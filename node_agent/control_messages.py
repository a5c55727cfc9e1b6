"""The messages between the controller and an agent, or the agents' parent: one type for each, its fields explained.

Both ends send and receive these and no others; every message has its `kind`, which is added as it is sent.
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


# From the warm parent of the agents to the controller, on its standard output


class Loaded(TypedDict):
    """The data is loaded and one training step has been timed."""

    kind: NotRequired[Literal["loaded"]]
    standin: bool
    description: str
    """What the data is, in words."""
    step_wall_s: float
    num_parameters: int
    partition: list[list[int]]
    """Node -> label -> how many training samples."""


class Forked(TypedDict):
    """Agents have been started."""

    kind: NotRequired[Literal["forked"]]
    agents: dict[str, int]
    """Name -> process."""


class Exited(TypedDict):
    """An agent's process has ended."""

    kind: NotRequired[Literal["exited"]]
    name: str
    pid: int
    status: int
    """A negative one is the signal that ended it."""


class Report(TypedDict):
    """What went wrong, as `Failed` has it."""

    message: str
    remedy: str | None
    exit_status: int
    traceback: str


class LoadingFailed(Report):
    """The data cannot be loaded."""

    kind: NotRequired[Literal["error"]]


FromAgent = Hello | Ready | Status | Failed | Ended
FromController = Start | Stop | Exit
Message = FromAgent | FromController
FromParent = Loaded | Forked | Exited | LoadingFailed
