"""The types of records: what is written fits them, and what is read is in them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import get_type_hints

from mnbed.errors import InputError
from mnbed.network import path_probe, probe
from mnbed.network.nfqueue import delay_queue
from mnbed.plan import step_cost
from mnbed.records import controller, environment
from mnbed.records.controller import ControllerRecord
from mnbed.records.sweep import SweepEntry, SweepRecord, read_sweep, write_sweep
from mnbed.run.journal import ControllerJournal
from node_agent import control_messages, prefork, records
from node_agent.control import ControlChannel
from node_agent.control_messages import FromParent, Message
from node_agent.counters import Counters, CounterTotals
from node_agent.journal import Journal, JournalFile
from node_agent.records import AgentRecord, Stamped
from tests.record_types import by_tag, run_problems, typed_dicts
from tests.unit.mnbed.results.builder import RunBuilder

ROOT = Path(__file__).parents[4]

APPLIED = {
    "kind": "node",
    "text": "h1: kill",
    "entry": 0,
    "planned_s": 2.0,
    "late_s": 0.1,
    "host": "h1",
    "action": "kill",
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delay_backend": "nfqueue", "late_packets": 3},
        {"delay_backend": "nfqueue", "late_packets": None},
        {"killed": {"h2": 2}, "status": "failed", "error": "h2's agent was killed"},
        {"applied": [APPLIED], "ledger": False},
    ],
)
def test_a_made_up_run_fits_the_types(tmp_path: Path, options: dict[str, Any]) -> None:
    """All other tests of results rely on such runs."""
    assert run_problems(RunBuilder(path=tmp_path / "run", **options).build()) == []


def damage_environment(text: str) -> str:
    return json.dumps({**json.loads(text), "dilatoin": 2.0})


@pytest.mark.parametrize(
    ("file", "damage", "expected"),
    [
        ("environment.json", damage_environment, "environment.json: dilatoin: Extra inputs"),
        (
            "environment.json",
            lambda text: text.replace('"cores": 2', '"cores": "2"'),
            "cores: Input should be",
        ),
        (
            "nodes/h1.jsonl",
            lambda text: text.replace('"life":0', '"lives":0'),
            "h1.jsonl:1: life: Field required",
        ),
        ("nodes/h1.jsonl", lambda text: text.replace('"pid":', '"pdi":'), "h1.jsonl:1: pdi: Extra inputs"),
        ("nodes/h1.jsonl", lambda text: text.replace('"ready"', '"redy"'), "h1.jsonl:1: no such event: redy"),
        ("nodes/h1.jsonl", lambda text: text.replace('"node":"h1",', "", 1), "h1.jsonl:1: lacks node"),
        (
            "nodes/controller.jsonl",
            lambda text: text.replace('"late_s":0.1', '"late":0.1'),
            "late_s: Field required",
        ),
    ],
)
def test_what_does_not_fit_its_type_is_reported(
    tmp_path: Path, file: str, damage: Callable[[str], str], expected: str
) -> None:
    run = RunBuilder(path=tmp_path / "run", applied=[APPLIED]).build()
    path = run.path / file
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    assert any(expected in text for text in run_problems(run))


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        (CounterTotals, Counters),
        (controller.Probe, probe.Probe),
        (controller.ProbedDirection, probe.ProbedDirection),
        (controller.ProbedPath, path_probe.ProbedPath),
        (controller.DelayStatistics, delay_queue.Statistics),
        (environment.Step, step_cost.StepCost),
        (environment.StepMoment, step_cost.StepMoment),
    ],
    ids=lambda one: one.__name__,
)
def test_a_class_that_is_written_whole_has_the_fields_of_its_type(typed: Any, written: Any) -> None:
    hints = get_type_hints(typed)
    own = {name: hint for name, hint in hints.items() if name not in (*Stamped.__annotations__, "event")}
    assert [(item.name, plain(item.type)) for item in fields(written)] == [
        (name, plain(typed.__annotations__[name])) for name in own
    ]


def plain(hint: Any) -> str:
    """The type as its source writes it, without the modules that names come from."""
    return re.sub(r"\b\w+\.", "", getattr(hint, "__forward_arg__", str(hint))).replace("StepMoment", "Moment")


@pytest.mark.parametrize(
    ("writer", "union", "key"),
    [
        (Journal.write, AgentRecord, "event"),
        (ControllerJournal.write, ControllerRecord, "event"),
        (ControlChannel.send, Message, "kind"),
        (prefork.say, FromParent, "kind"),
    ],
)
def test_there_is_a_writer_for_each_kind_of_record(writer: Any, union: Any, key: str) -> None:
    module = ast.parse(Path(writer.__code__.co_filename).read_text())
    accepted = {
        node.args.posonlyargs[-1].annotation.slice.value  # type: ignore[union-attr]
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef) and node.name == writer.__name__ and node.decorator_list
    }
    assert accepted == set(by_tag(union, key))


def test_every_type_of_a_record_is_one_of_the_journals() -> None:
    """One that is declared and forgotten in the union would be known to writers alone."""
    for module, union, key in (
        (records, AgentRecord, "event"),
        (control_messages, Message | FromParent, "kind"),
        (controller, ControllerRecord, "event"),
    ):
        declared = {found.__name__ for found in typed_dicts(module) if key in get_type_hints(found)}
        assert declared - {"Unreadable"} == {found.__name__ for found in by_tag(union, key).values()}


def test_agents_and_the_controller_share_no_event() -> None:
    """A reader tells records apart by their events."""
    assert not by_tag(AgentRecord, "event").keys() & by_tag(ControllerRecord, "event").keys()


def test_a_journal_adds_the_stamps(tmp_path: Path) -> None:
    journal: JournalFile = ControllerJournal(tmp_path / "controller.jsonl", "controller", lambda: 1.5)
    journal.append("slept", {"wall_s": 2.0})
    journal.close()
    (line,) = (tmp_path / "controller.jsonl").read_text().splitlines()
    assert json.loads(line) == {"t": 1.5, "node": "controller", "event": "slept", "wall_s": 2.0}


WRONG = """
from node_agent.control import ControlChannel
from node_agent.journal import Journal
from node_agent.records import AgentRecord
from mnbed.records.environment import Environment
from mnbed.run.journal import ControllerJournal

def wrong(
    journal: Journal, own: ControllerJournal, control: ControlChannel, one: AgentRecord, env: Environment
) -> None:
    journal.write("peer_lost", peer="h1", raeson="none")
    journal.write("peer_lost", peer="h1")
    journal.write("peer_lots", peer="h1", reason="none")
    own.write("slept", wall_s="long")
    control.send("ready", standin=False)
    if one["event"] == "round":
        one["waited"]
    env["dilatoin"]

def right(
    journal: Journal, own: ControllerJournal, control: ControlChannel, one: AgentRecord, env: Environment
) -> None:
    journal.write("peer_lost", peer="h1", reason="none")
    own.write("slept", wall_s=1.0)
    control.send("ready", standin=False, data="digits")
    if one["event"] == "round":
        one["waited_s"]
    env["dilation"]
"""


@pytest.mark.slow
def test_the_type_checker_refuses_fields_that_there_are_not(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "wrong.py").write_text(WRONG)
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(tmp_path / "wrong.py")],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    wrong_lines = {int(number) for number in re.findall(r"wrong\.py:(\d+): error", done.stdout)}
    first = 1 + WRONG.splitlines().index('    journal.write("peer_lost", peer="h1", raeson="none")')
    assert wrong_lines == {first + offset for offset in (0, 1, 2, 3, 4, 6, 7)}, done.stdout


# What results read by name: a typing error in `.get("...")` goes past the type checker.

READERS = sorted(
    path
    for path in (ROOT / "mnbed" / "results").glob("*.py")
    if re.search(
        r"from (mnbed\.records|node_agent\.records)|collected\.environment|run\.environment", path.read_text()
    )
)
KNOWN = {
    name
    for module in (records, controller, environment)
    for found in typed_dicts(module)
    for name in get_type_hints(found)
}
# Of the experiment; of the shapes that were read back; of summary.json.
OTHERS = {
    "algorithm",
    "module",
    "name",
    "seed",
    "task",
    "local_steps",
    "time",
    "evaluate",
    "network",
    "targets",
}
OTHERS |= {"rate_bps", "delay_s", "limit"}
OTHERS |= {"nodes", "waits", "mean_share"}


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_readers_use_only_fields_that_exist(path: Path) -> None:
    asked = {
        node.args[0].value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }
    assert asked - KNOWN - OTHERS == set()


# sweep.json

ENTRY = SweepEntry(
    cell={"algorithm": "swift"}, label="swift", seed=2, digest="d", directory="r", dilation=2.0
)
SWEEP = SweepRecord(
    name="s", base="base.yaml", baseline={"algorithm": "swift"}, runs=(ENTRY,), former=(ENTRY,)
)


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_sweep(tmp_path, SWEEP)
    assert read_sweep(tmp_path) == SWEEP
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]
    assert SWEEP.dilations == {"r": 2.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "Invalid JSON"),
        ("[]", "not a sweep"),
        ('{"name": "s", "base": "b"}', "runs: Field required"),
        (
            '{"name": "s", "base": "b", "runs": [{"cell": {}, "label": "l", "seed": "x", "digest": "d"}]}',
            "runs.0.seed",
        ),
        ('{"name": "s", "base": "b", "runs": [], "colour": "red"}', "colour: "),
    ],
)
def test_an_invalid_sweep_names_the_field_and_the_remedy(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_sweep(tmp_path, "give another --out")
    assert expected in error.value.message
    assert str(tmp_path / "sweep.json") in error.value.message
    assert error.value.remedy == "give another --out"


def test_a_missing_sweep_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_sweep(tmp_path)
