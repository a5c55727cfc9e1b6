"""What the controller knows about a killed agent, for the process that replaces it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import cast

from mnbed.results.journals import parse_record
from mnbed.run_directory import RunDirectory
from node_agent.control_messages import Status
from node_agent.counters import Counters, CounterTotals
from node_agent.records import Round, Snapshot
from node_agent.settings import ResumeSettings


def resume_settings(
    run: RunDirectory, name: str, state: str, life: int, status: Status | None
) -> ResumeSettings:
    """Taken from its journal and its last status message, which may be half a second old.

    `state`: "last" for the parameters of its last snapshot, "fresh" for the initial model. Rounds and totals continue
    in both cases, because it is still the same node.
    """
    rounds, snapshots = _rounds_and_snapshots(run.node_journal(name))
    last = snapshots[-1] if snapshots else None
    steps = [record.get("steps", 0) for record in (*rounds, *snapshots[-1:])]
    next_round = [record["round"] + 1 for record in rounds]
    totals = [_totals(last)] if last is not None else []
    if status is not None:
        steps.append(status["steps"])
        next_round.append(status["round"])
        totals.append(_totals(status["counters"]))
    return ResumeSettings(
        life=life,
        round=max(next_round, default=0),
        steps=max(steps, default=0),
        # Whichever was written last: totals only grow.
        counters={
            item.name: max((known.get(item.name, 0) for known in totals), default=0)
            for item in fields(Counters)
        },
        snapshot=last["file"] if last is not None and state == "last" else None,
    )


def _totals(record: Snapshot | CounterTotals) -> Mapping[str, float]:
    return cast("Mapping[str, float]", record)


def _rounds_and_snapshots(journal: Path) -> tuple[list[Round], list[Snapshot]]:
    """Time is short, so the lines of the ledger, which are most of the journal, are not parsed."""
    rounds: list[Round] = []
    snapshots: list[Snapshot] = []
    with contextlib.suppress(FileNotFoundError), journal.open("rb") as file:
        for line in file:
            if b'"event":"round"' not in line and b'"event":"snapshot"' not in line:
                continue
            record = parse_record(line)
            if record is not None and record["event"] == "round":
                rounds.append(record)
            elif record is not None and record["event"] == "snapshot":
                snapshots.append(record)
    return rounds, snapshots
