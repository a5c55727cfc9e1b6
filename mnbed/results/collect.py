"""Collects everything that a run left: journals into events.jsonl, messages.csv, links.csv, and into memory.

Whatever is missing or damaged is listed in `problems`. It is never silently ignored and never a reason to stop, since
the journals of a failed run are the ones needed most.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, overload

from mnbed.errors import InputError
from mnbed.records import controller as records
from mnbed.records.controller import ControllerRecord, Record
from mnbed.records.environment import Environment
from mnbed.results.files import replacing
from mnbed.results.journals import Merger, time_of
from mnbed.results.links import LinkRow, link_rows, write_links
from mnbed.results.messages import FragmentLife, Ledger, parts_for
from mnbed.run_directory import RunDirectory
from node_agent.counters import Counters
from node_agent.records import End, Error, NotFinite, Ready, Rejected, Round, Snapshot, Waiting
from topologies import plain_yaml
from topologies.rules import natural_order

CONTROLLER = "controller"


@dataclass
class NodeRecords:
    """The records of an agent, without the ledger."""

    name: str
    straggler: bool
    rounds: list[Round] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    not_finite: list[NotFinite] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    waiting: Waiting | None = None
    """The last wait that was longer than the computing time of a round."""
    ready: Ready | None = None
    end: End | None = None

    def keep(self, record: Record) -> None:
        """Keep a record; events that no result depends on are only in events.jsonl."""
        if record["event"] == "round":
            self.rounds.append(record)
        elif record["event"] == "snapshot":
            self.snapshots.append(record)
        elif record["event"] == "waiting":
            self.waiting = record
        elif record["event"] == "end":
            self.end = record
        elif record["event"] == "ready":
            self.ready = record
        elif record["event"] == "rejected":
            self.rejected.append(record)
        elif record["event"] == "not_finite":
            self.not_finite.append(record)
        elif record["event"] == "error":
            self.errors.append(record)

    def counters(self) -> Counters | None:
        """The last known totals: at its end or, if it was killed, at its last snapshot. None if there are none."""
        last = self.end or (self.snapshots[-1] if self.snapshots else None)
        if last is None:
            return None
        known = cast("dict[str, Any]", last)
        return Counters(**{item.name: known[item.name] for item in fields(Counters) if item.name in known})

    def last_s(self) -> float | None:
        """The last time that it recorded, emulated seconds; None: it has no rounds, snapshots or end."""
        last: list[Record] = [*self.rounds[-1:], *self.snapshots[-1:], *([self.end] if self.end else [])]
        return max((t for record in last if (t := time_of(record)) is not None), default=None)

    def steps(self) -> int:
        """Local steps that it has certainly done."""
        return max(
            (record.get("steps", 0) for record in (*self.rounds[-1:], *self.snapshots[-1:])), default=0
        )


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A run in memory."""

    experiment: Mapping[str, Any]
    environment: Environment
    nodes: Mapping[str, NodeRecords]
    controller: list[ControllerRecord]
    life: Mapping[str, FragmentLife] | None
    """Sender -> what became of its fragments; None if no ledger was kept."""
    links: list[LinkRow]
    problems: list[str]
    """Sentences about what was missing or damaged."""
    num_records: int

    @overload
    def last(self, event: Literal["probe"]) -> records.Probe | None: ...
    @overload
    def last(self, event: Literal["shaping_checked"]) -> records.ShapingChecked | None: ...
    @overload
    def last(self, event: Literal["delay_queue"]) -> records.DelayQueue | None: ...
    @overload
    def last(self, event: Literal["finished"]) -> records.Finished | None: ...
    @overload
    def last(self, event: Literal["torn_down"]) -> records.TornDown | None: ...
    def last(self, event: str) -> Any:
        """The controller's last record of that event."""
        return next((record for record in reversed(self.controller) if record["event"] == event), None)

    def stragglers(self) -> set[str]:
        """Names of the stragglers."""
        return {node.name for node in self.nodes.values() if node.straggler}


def collect(run: RunDirectory) -> Collected:
    """Read everything, write events.jsonl, messages.csv (if a ledger was kept) and links.csv.

    Raises InputError if the directory holds no run.
    """
    problems: list[str] = []
    experiment = read_experiment(run)
    environment = read_environment(run, problems)
    merger, ledger = Merger(), Ledger(run.path, parts_for(_journal_bytes(run)))
    controller = _controller_records(run, merger, problems)
    nodes = _node_records(run, environment, merger, ledger, problems)
    with replacing(run.events) as partial, partial.open("wb") as file:
        merger.write(file)
    if not ledger.empty:
        with replacing(run.messages) as partial:
            ledger.write(partial)
    links = _links(environment, controller, problems)
    write_links(run.links, links)
    return Collected(
        experiment=experiment,
        environment=environment,
        nodes=nodes,
        controller=controller,
        life=None if ledger.empty else ledger.life(),
        links=links,
        # A damaged journal may cause the same message many times.
        problems=list(dict.fromkeys([*problems, *merger.problems])),
        num_records=len(merger),
    )


def _journal_bytes(run: RunDirectory) -> int:
    """Total size of all journals; one that disappears meanwhile counts as empty."""
    sizes = []
    for path in run.nodes.glob("*.jsonl"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def read_experiment(run: RunDirectory) -> dict[str, Any]:
    """The resolved experiment. Raises InputError if there is none."""
    try:
        text = run.experiment.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{run.experiment}: not a text file in UTF-8") from None
    except OSError as error:
        raise InputError(
            f"{run.path} is not a run directory: {run.experiment.name}: {error.strerror}",
            "give a directory that `mnbed run` made, such as runs/20261120-213000-cifar-stragglers",
        ) from None
    try:
        experiment = plain_yaml.load(text)
    except ValueError as error:
        raise InputError(f"{run.experiment}: {error}") from None
    if not isinstance(experiment, dict):
        raise InputError(f"{run.experiment}: not an experiment: it has no sections")
    return experiment


def read_environment(run: RunDirectory, problems: list[str]) -> Environment:
    """What environment.json holds; where it is missing or damaged, nothing, and a sentence more in `problems`."""
    try:
        environment = json.loads(run.environment.read_text())
    except OSError:
        problems.append("environment.json is missing: machine, hosts and links are not known")
        return {}
    except ValueError as error:
        problems.append(f"environment.json is damaged ({error}): machine, hosts and links are not known")
        return {}
    if not isinstance(environment, dict):
        problems.append("environment.json is damaged (not an object): machine, hosts and links are not known")
        return {}
    return cast("Environment", environment)


def _controller_records(run: RunDirectory, merger: Merger, problems: list[str]) -> list[ControllerRecord]:
    try:
        return cast("list[ControllerRecord]", list(merger.records(run.controller_journal, CONTROLLER)))
    except OSError:
        problems.append("the controller's journal is missing")
        return []


def _node_records(
    run: RunDirectory, environment: Environment, merger: Merger, ledger: Ledger, problems: list[str]
) -> dict[str, NodeRecords]:
    hosts = {host["name"]: bool(host.get("straggler")) for host in environment.get("hosts") or ()}
    with_journal = {path.stem for path in run.nodes.glob("*.jsonl")} - {CONTROLLER}
    names = [*hosts, *sorted(with_journal - hosts.keys(), key=natural_order)]
    missing = [name for name in names if name not in with_journal]
    if missing:
        problems.append(f"no journal of {', '.join(missing)}: never started, or lost")
    nodes = {}
    for name in names:
        node = nodes[name] = NodeRecords(name, hosts.get(name, False))
        if name in with_journal:
            _read_node(run.node_journal(name), node, merger, ledger, problems)
    return nodes


def _read_node(path: Path, node: NodeRecords, merger: Merger, ledger: Ledger, problems: list[str]) -> None:
    takers = ledger.events
    try:
        for record in merger.records(path, node.name):
            take = takers.get(record["event"])
            try:
                if take is None:
                    node.keep(record)
                else:
                    take(record)
            except (KeyError, TypeError, ValueError):
                problems.append(f"journal of {node.name}: a record {record['event']!r} lacks its fields")
    except OSError as error:
        problems.append(f"journal of {node.name}: {error.strerror}")
    node.rounds.sort(key=_when)
    node.snapshots.sort(key=_when)


def _when(record: Record) -> float:
    t = time_of(record)
    return -1.0 if t is None else t


def _links(
    environment: Environment, controller: list[ControllerRecord], problems: list[str]
) -> list[LinkRow]:
    try:
        return link_rows(environment, controller)
    except (KeyError, TypeError, AttributeError) as error:
        problems.append(f"the links of environment.json are damaged ({type(error).__name__}: {error})")
        return []
