"""The timeline's thread: on time, in order, and never silently broken. Here its actions are only recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mnbed.errors import RunError
from mnbed.experiment.sections import parse
from mnbed.plan.make import make_plan
from mnbed.plan.model import Event, NodeEvent, Plan, SetLink, SetPartition
from mnbed.records.controller import ControllerRecord
from mnbed.run.journal import ControllerJournal
from mnbed.run.timeline import Conductor
from node_agent.journal import read_journal
from tests.machines import ROOMY
from tests.record_types import record_problems


@dataclass
class Notes:
    """Takes the place of the network and of the nodes."""

    did: list[tuple[Any, ...]] = field(default_factory=list)
    refuse: str | None = None

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any) -> None:
            if name == self.refuse:
                raise RunError("no such thing")
            self.did.append((name, *arguments))

        return note


def plan_with(*timeline: Event, dilation: float = 0.1) -> Plan:
    network = {"topology": {"kind": "star", "nodes": 3}}
    experiment = parse({"network": network, "algorithm": {"name": "local"}, "time": {"dilation": dilation}})
    return replace(make_plan(experiment, ROOMY), timeline=timeline)


def conduct(tmp_path: Path, plan: Plan, notes: Notes) -> tuple[Conductor, list[dict[str, Any]]]:
    """The timeline to its end."""
    start = time.monotonic()
    journal = ControllerJournal(tmp_path / "journal", "controller", lambda: time.monotonic() - start)
    conductor = Conductor(plan, notes, notes, journal)  # type: ignore[arg-type]
    conductor.start(start)
    if conductor._thread is not None:
        conductor._thread.join(30)
        assert not conductor._thread.is_alive()
    conductor.stop()
    journal.close()
    assert record_problems(tmp_path / "journal", ControllerRecord) == []
    return conductor, read_journal(tmp_path / "journal")


TIMELINE = (
    SetLink(at_s=0.5, text="h1 - s1 down", entry=0, a="h1", b="s1", up=False),
    SetPartition(at_s=1.0, text="partition", entry=1, groups=(("h1",), ("h2",))),
    NodeEvent(at_s=1.0, text="h2 killed", entry=2, node="h2", action="kill"),
    NodeEvent(at_s=2.0, text="h2 restarts", entry=2, node="h2", action="restart", state="fresh"),
)


def test_events_come_in_order_and_are_journalled(tmp_path: Path) -> None:
    notes = Notes()
    conductor, records = conduct(tmp_path, plan_with(*TIMELINE), notes)
    assert conductor.error is None
    assert notes.did == [
        ("set_link", "h1", "s1", False),
        ("partition", (("h1",), ("h2",))),
        ("kill", "h2"),
        ("restart", "h2", "fresh"),
    ]
    assert [(record["kind"], record["planned_s"], record["entry"]) for record in records] == [
        ("link", 0.5, 0),
        ("partition", 1.0, 1),
        ("node", 1.0, 2),
        ("node", 2.0, 2),
    ]
    assert all(record["node"] == "controller" for record in records)
    # Never early; and not by the ten wall seconds late that even a machine with other work does not need.
    assert all(0 <= record["late_s"] < 100 for record in records)


def test_restarts_are_awaited_until_they_happen_or_cannot(tmp_path: Path) -> None:
    start = time.monotonic()
    journal = ControllerJournal(tmp_path / "journal", "controller", lambda: None)
    conductor = Conductor(plan_with(*TIMELINE), Notes(), Notes(), journal)  # type: ignore[arg-type]
    assert conductor.restarts_pending
    conductor.start(start + 3600)
    conductor.stop()
    assert not conductor.restarts_pending
    journal.close()
    again, _ = conduct(tmp_path, plan_with(*TIMELINE), Notes())
    assert not again.restarts_pending


@pytest.mark.parametrize("refused", ["set_link", "partition", "kill", "restart"])
def test_what_cannot_be_applied_ends_the_timeline(tmp_path: Path, refused: str) -> None:
    notes = Notes(refuse=refused)
    conductor, _ = conduct(tmp_path, plan_with(*TIMELINE), notes)
    assert conductor.error is not None
    assert "could not be applied" in conductor.error.message
    assert "no such thing" in conductor.error.message
    assert refused not in [did[0] for did in notes.did]
    assert not conductor.restarts_pending


def test_a_run_without_events_has_no_thread(tmp_path: Path) -> None:
    conductor, records = conduct(tmp_path, plan_with(), Notes())
    assert conductor._thread is None
    assert records == []
