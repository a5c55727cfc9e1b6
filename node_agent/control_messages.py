"""The messages between the controller and an agent, or the agents' parent: one type for each, its fields explained.

Both ends send and receive these and no others; `kind` is added to every message when it is sent.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from node_agent.counters import CounterTotals

# From an agent to the controller


class Hello(TypedDict):
    """The first message of a connection. Which process sent it is known from the kernel."""

    kind: NotRequired[Literal["hello"]]
    name: str
    token: str
    """The run's token."""


class Ready(TypedDict):
    """The agent is at the start barrier."""

    kind: NotRequired[Literal["ready"]]
    standin: bool
    """Whether generated data is used in place of the real data."""
    data: str
    """A description of the data."""


class Status(TypedDict):
    """The agent's progress, a few times a second; dropped if it cannot be sent at once."""

    kind: NotRequired[Literal["status"]]
    t: float | None
    """Emulated seconds since the common start; null before it."""
    round: int
    steps: int
    train_loss: float | None
    counters: CounterTotals


class Failed(TypedDict):
    """The agent cannot continue."""

    kind: NotRequired[Literal["failed"]]
    message: str
    remedy: str | None
    exit_status: int
    """The exit status that `mnbed` should end with."""
    traceback: str
    name: NotRequired[str]
    """Given with `token` if the agent failed before it could send hello."""
    token: NotRequired[str]


class Ended(TypedDict):
    """The agent trained to the end, or was stopped."""

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
    """All agents have ended: connections may close."""

    kind: NotRequired[Literal["exit"]]


# From the warm parent of the agents to the controller, on its standard output


class Loaded(TypedDict):
    """The data is loaded and one training step has been timed."""

    kind: NotRequired[Literal["loaded"]]
    standin: bool
    description: str
    """A description of the data."""
    step_wall_s: float
    num_parameters: int
    partition: list[list[int]]
    """Node -> label -> number of training samples."""


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
    """What went wrong, with the fields of `Failed`."""

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
