"""Applies a plan's timeline while agents train: each event at its emulated time, from a dedicated thread.

The thread does nothing else, so an event is late only by the time it takes. An error is kept for the supervisor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mnbed.errors import MnbedError, RunError
from mnbed.network.build import Network
from mnbed.network.live_changes import LiveNetwork
from mnbed.plan.model import Event, NodeEvent, Plan, Reshape, SetLink, SetPartition
from mnbed.records.controller import Change
from mnbed.run.journal import ControllerJournal
from mnbed.run.mailbox import RunIsOver


class Nodes(Protocol):
    """What can be done to an agent's process."""

    def kill(self, name: str) -> None:
        """End it at once; this is not a failure."""

    def pause(self, name: str) -> None:
        """Stop it."""

    def resume(self, name: str) -> None:
        """Continue it."""

    def restart(self, name: str, state: str) -> None:
        """Restart a killed agent. Raises MnbedError and, as all of these do after the end, RunIsOver."""


class Conductor:
    """The timeline of a run. `error` is what ended it early."""

    def __init__(self, plan: Plan, live: LiveNetwork, nodes: Nodes, journal: ControllerJournal) -> None:
        self._plan = plan
        self._live = live
        self._nodes = nodes
        self._journal = journal
        self._stop = threading.Event()
        self._restarts = sum(
            isinstance(event, NodeEvent) and event.action == "restart" for event in plan.timeline
        )
        self.error: MnbedError | None = None
        self.applying = False
        """Whether an event is being applied at this moment."""
        self._thread: threading.Thread | None = None

    @classmethod
    @contextmanager
    def of(cls, network: Network, nodes: Nodes, journal: ControllerJournal) -> Iterator[Conductor]:
        """A conductor ready to `start`; on exit, the rest of the timeline is skipped."""
        with LiveNetwork.of(network, _places(network.plan)) as live:
            conductor = cls(network.plan, live, nodes, journal)
            try:
                yield conductor
            finally:
                conductor.stop()

    @property
    def restarts_pending(self) -> bool:
        """Whether a killed node has yet to be restarted."""
        return self._restarts > 0 and self.error is None and not self._stop.is_set()

    def start(self, start_monotonic_s: float) -> None:
        """Start applying events; emulated time 0 is, or will be, at that time."""
        if self._plan.timeline:
            self._thread = threading.Thread(
                target=self._run, args=(start_monotonic_s,), name="timeline", daemon=True
            )
            self._thread.start()

    def break_off(self) -> None:
        """Skip events that are not due yet, without waiting: one being applied may itself be waiting for the caller."""
        self._stop.set()

    def stop(self) -> None:
        """Skip events that are not due yet, and wait for one that is being applied; a second call does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, start_monotonic_s: float) -> None:
        try:
            for event in self._plan.timeline:
                due = start_monotonic_s + event.at_s * self._plan.dilation
                while (left := due - time.monotonic()) > 0:
                    if self._stop.wait(left):
                        return
                # Set before the check: a caller of `break_off` then sees that this event is still being applied.
                self.applying = True
                if self._stop.is_set():
                    return
                self._note(event, self._apply(event), (time.monotonic() - due) / self._plan.dilation)
                self.applying = False
        except RunIsOver:
            pass
        except MnbedError as error:
            self.error = RunError(f"an event could not be applied: {event.text}: {error.message}")
        except Exception as error:
            self.error = RunError(f"an event could not be applied: {event.text}: {error!r}")
        finally:
            self.applying = False

    def _note(self, event: Event, change: Change, late_s: float) -> None:
        self._journal.write(
            "applied",
            text=event.text,
            entry=event.entry,
            planned_s=event.at_s,
            late_s=round(late_s, 6),
            **change,
        )

    def _apply(self, event: Event) -> Change:
        if isinstance(event, Reshape):
            self._live.reshape(event.directions)
            links = [[direction.source, direction.target] for direction in event.directions]
            return {"kind": "reshape", "directions": links}
        if isinstance(event, SetLink):
            self._live.set_link(event.a, event.b, event.up)
            return {"kind": "link", "link": [event.a, event.b], "up": event.up}
        if isinstance(event, SetPartition):
            self._live.partition(event.groups)
            return {"kind": "partition", "groups": [list(group) for group in event.groups]}
        assert isinstance(event, NodeEvent)
        if event.action == "restart":
            self._nodes.restart(event.node, event.state)
            self._restarts -= 1
        else:
            {"kill": self._nodes.kill, "pause": self._nodes.pause, "resume": self._nodes.resume}[
                event.action
            ](event.node)
        return {"kind": "node", "host": event.node, "action": event.action}


def _places(plan: Plan) -> list[str]:
    """Nodes at which the timeline changes something."""
    nodes: dict[str, None] = {}
    for event in plan.timeline:
        if isinstance(event, Reshape):
            nodes |= dict.fromkeys(direction.source for direction in event.directions)
        elif isinstance(event, SetPartition):
            nodes |= dict.fromkeys(name for group in event.groups for name in group)
    return list(nodes)
