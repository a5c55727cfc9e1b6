"""What the controller knows about a killed agent, for the one that takes its place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mnbed.results.journals import Record, parse_record
from mnbed.run_directory import RunDirectory
from node_agent.counters import Counters
from node_agent.settings import ResumeSettings


def resume_settings(
    run: RunDirectory, name: str, state: str, life: int, status: Mapping[str, Any]
) -> ResumeSettings:
    """From its journal and its last status message, which may be half a second old.

    `state`: "last" for the parameters of its last snapshot, "fresh" for the initial model. Rounds and totals go on in
    both cases, as the node is the same one.
    """
    records = list(_records(run.node_journal(name)))
    rounds = [record for record in records if record["event"] == "round"]
    snapshots = [record for record in records if record["event"] == "snapshot"]
    last = snapshots[-1] if snapshots else {}
    counters = status.get("counters") or {}
    return ResumeSettings(
        life=life,
        round=max([status.get("round", 0), *(record["round"] + 1 for record in rounds)]),
        steps=max(record.get("steps", 0) for record in (status, last, *rounds)),
        # Whichever was written last: totals only grow.
        counters={
            item.name: max(counters.get(item.name, 0), last.get(item.name, 0)) for item in fields(Counters)
        },
        snapshot=last.get("file") if state == "last" else None,
    )


def _records(journal: Path) -> Iterator[Record]:
    """Rounds and snapshots only: most lines are the ledger's, and time is short."""
    with contextlib.suppress(FileNotFoundError), journal.open("rb") as file:
        for line in file:
            if b'"event":"round"' in line or b'"event":"snapshot"' in line:
                record = parse_record(line)
                if record is not None:
                    yield record
