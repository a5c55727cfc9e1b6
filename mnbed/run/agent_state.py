"""What the controller knows about an agent. Only the supervisor's loop changes it; any thread may read it.

An agent is in one phase at a time:

    STARTING -> READY -> TRAINING -> ENDED      the normal course
    PAUSED                                      stopped by an event; returns to what it was doing
    KILLED -> GONE -> STARTING                  killed by an event, and restarted
    FAILED                                      ended without being asked to; final
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mnbed.errors import MnbedError
from node_agent import control_messages as messages


class Phase(enum.Enum):
    """What an agent is doing; the value is how users see it."""

    STARTING = "starting"
    """Launched, or about to be; not yet at the start barrier."""
    READY = "ready"
    """At the start barrier: connected, listening and warm."""
    TRAINING = "training"
    PAUSED = "paused"
    """Stopped by an event."""
    KILLED = "killed"
    """Killed by an event; the end of its process has not been reported yet."""
    GONE = "gone"
    """Killed by an event, and its process has ended."""
    ENDED = "ended"
    """It reported that its part is over; its process waits for the others."""
    FAILED = "failed"
    """It reported a failure, or its process ended without being asked to."""


LIVING = frozenset({Phase.STARTING, Phase.READY, Phase.TRAINING, Phase.PAUSED})
DOWN = frozenset({Phase.KILLED, Phase.GONE})

_ANY_TIME = {Phase.PAUSED, Phase.KILLED, Phase.ENDED, Phase.FAILED}
TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    # From STARTING straight to TRAINING: an agent that was restarted after the common start.
    Phase.STARTING: frozenset({Phase.READY, Phase.TRAINING, *_ANY_TIME}),
    Phase.READY: frozenset({Phase.TRAINING, *_ANY_TIME}),
    Phase.TRAINING: frozenset(_ANY_TIME),
    Phase.PAUSED: frozenset({Phase.STARTING, Phase.READY, Phase.TRAINING, *_ANY_TIME} - {Phase.PAUSED}),
    # An agent may have reported a failure just before it was killed.
    Phase.KILLED: frozenset({Phase.GONE, Phase.STARTING, Phase.FAILED}),
    Phase.GONE: frozenset({Phase.STARTING, Phase.FAILED}),
    Phase.ENDED: frozenset({Phase.KILLED, Phase.FAILED}),
    Phase.FAILED: frozenset(),
}


class Source(enum.IntEnum):
    """How a failure became known; a higher one explains more."""

    DISAPPEARANCE = 0
    EXIT_STATUS = 1
    OWN_WORDS = 2


@dataclass
class AgentState:
    """What is known about an agent."""

    name: str
    phase: Phase = Phase.STARTING
    pid: int | None = None
    """Its process, from the first report of it to its end."""
    ready: messages.Ready | None = None
    """Its message at the start barrier."""
    killed: set[int] = field(default_factory=set)
    """Process ids of this agent that events have killed."""
    restarts: int = 0
    failure: MnbedError | None = None
    failure_source: Source | None = None
    status: messages.Status | None = None
    """Its last status message, from whichever process; None: it has sent none."""

    def enter(self, phase: Phase) -> None:
        """Change to another phase. Raises ValueError if the table has no such transition."""
        if phase not in TRANSITIONS[self.phase]:
            raise ValueError(f"{self.name}: no transition from {self.phase.value} to {phase.value}")
        self.phase = phase

    @property
    def done(self) -> bool:
        """Whether nothing more is expected of it."""
        if self.phase is Phase.FAILED:
            return self.pid is None
        return self.phase in (Phase.ENDED, Phase.GONE)

    @property
    def activity(self) -> Phase:
        """What it is doing if it is alive and not paused."""
        if self.ready is None:
            return Phase.STARTING
        return Phase.TRAINING if self.status else Phase.READY

    def start_again(self) -> None:
        """A new process replaces the killed one."""
        self.enter(Phase.STARTING)
        self.pid, self.ready = None, None
        self.restarts += 1
