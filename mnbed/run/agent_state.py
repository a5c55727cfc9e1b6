"""What the controller knows of one agent. Only the supervisor's loop changes it; any thread may read it.

An agent is in one phase at a time:

    STARTING -> READY -> TRAINING -> ENDED      as it should be
    PAUSED                                      stopped by an event; goes back to what it was doing
    KILLED -> GONE -> STARTING                  killed by an event, and started again
    FAILED                                      nobody asked for it; for good
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mnbed.errors import MnbedError
from node_agent import control_messages as messages


class Phase(enum.Enum):
    """What an agent is doing; the value is the word for it."""

    STARTING = "starting"
    """Launched, or about to be; not at the start barrier yet."""
    READY = "ready"
    """At the start barrier: connected, listening and warm."""
    TRAINING = "training"
    PAUSED = "paused"
    """By an event."""
    KILLED = "killed"
    """By an event; the end of its process has not been reported yet."""
    GONE = "gone"
    """Killed by an event, and its process has ended."""
    ENDED = "ended"
    """It has said that its part is over; its process waits for the others."""
    FAILED = "failed"
    """It said so, or its process has ended without being asked to."""


LIVING = frozenset({Phase.STARTING, Phase.READY, Phase.TRAINING, Phase.PAUSED})
DOWN = frozenset({Phase.KILLED, Phase.GONE})

_ANY_TIME = {Phase.PAUSED, Phase.KILLED, Phase.ENDED, Phase.FAILED}
TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    # From STARTING straight to TRAINING: one that was restarted after the common start.
    Phase.STARTING: frozenset({Phase.READY, Phase.TRAINING, *_ANY_TIME}),
    Phase.READY: frozenset({Phase.TRAINING, *_ANY_TIME}),
    Phase.TRAINING: frozenset(_ANY_TIME),
    Phase.PAUSED: frozenset({Phase.STARTING, Phase.READY, Phase.TRAINING, *_ANY_TIME} - {Phase.PAUSED}),
    # An agent may have said that it failed just before it was killed.
    Phase.KILLED: frozenset({Phase.GONE, Phase.STARTING, Phase.FAILED}),
    Phase.GONE: frozenset({Phase.STARTING, Phase.FAILED}),
    Phase.ENDED: frozenset({Phase.KILLED, Phase.FAILED}),
    Phase.FAILED: frozenset(),
}


class Source(enum.IntEnum):
    """How a failure became known; the higher, the more it tells."""

    DISAPPEARANCE = 0
    EXIT_STATUS = 1
    OWN_WORDS = 2


@dataclass
class AgentState:
    """What is known of one agent."""

    name: str
    phase: Phase = Phase.STARTING
    pid: int | None = None
    """Of its process, from when it is first heard of to its end."""
    ready: messages.Ready | None = None
    """Its message at the start barrier."""
    killed: set[int] = field(default_factory=set)
    """Processes of it that an event has killed."""
    restarts: int = 0
    failure: MnbedError | None = None
    failure_source: Source | None = None
    status: messages.Status | None = None
    """Its last one, of whichever process; None: it has sent none."""

    def enter(self, phase: Phase) -> None:
        """Go over to another phase. Raises ValueError where the table has no such transition."""
        if phase not in TRANSITIONS[self.phase]:
            raise ValueError(f"{self.name}: no transition from {self.phase.value} to {phase.value}")
        self.phase = phase

    @property
    def done(self) -> bool:
        """Nothing more is to be expected of it."""
        if self.phase is Phase.FAILED:
            return self.pid is None
        return self.phase in (Phase.ENDED, Phase.GONE)

    @property
    def activity(self) -> Phase:
        """What one that is alive and not paused is doing."""
        if self.ready is None:
            return Phase.STARTING
        return Phase.TRAINING if self.status else Phase.READY

    def start_again(self) -> None:
        """Another process takes the killed one's place."""
        self.enter(Phase.STARTING)
        self.pid, self.ready = None, None
        self.restarts += 1
