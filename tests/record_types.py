"""Checks a run directory's files against the types that describe them: a test of whatever wrote them."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pydantic
from pydantic import TypeAdapter
from typing_extensions import get_type_hints, is_typeddict

from mnbed.records import controller, environment
from mnbed.records.controller import ControllerRecord
from mnbed.records.environment import Environment
from mnbed.run_directory import RunDirectory
from node_agent import control_messages, counters, records
from node_agent.control_messages import Message
from node_agent.records import AgentRecord

_STAMPS = ("t", "node", "event")


def typed_dicts(module: types.ModuleType) -> list[Any]:
    """The typed dictionaries that the module declares, in its order."""
    return [
        value
        for value in vars(module).values()
        if is_typeddict(value) and value.__module__ == module.__name__
    ]


# Unknown fields are wrong in all of them.
for _module in (counters, records, control_messages, controller, environment):
    for _typed_dict in typed_dicts(_module):
        _typed_dict.__pydantic_config__ = {"extra": "forbid"}


def by_tag(union: Any, key: str) -> dict[str, Any]:
    """The tag's value -> the type that has it, for every type of the union."""
    return {_tag(member, key): member for member in _members(union)}


def _members(union: Any) -> Iterator[Any]:
    for member in get_args(union):
        yield from _members(member) if isinstance(member, types.UnionType) else [member]


def _tag(record_type: Any, key: str) -> str:
    # NotRequired[Literal["round"]]
    (literal,) = get_args(get_type_hints(record_type, include_extras=True)[key])
    (value,) = get_args(literal)
    assert isinstance(value, str)
    return value


@cache
def _adapter(record_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(record_type)


def problems(record_type: Any, text: bytes, where: str) -> list[str]:
    """What is wrong with a JSON object of that type, strictly: "h1.jsonl:3: round.waited_s: Field required"."""
    try:
        _adapter(record_type).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        return [f"{where}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
    return []


def record_problems(path: Path, union: Any) -> list[str]:
    """The problems of every line of a journal."""
    problems_so_far = []
    known = by_tag(union, "event")
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path.name}:{number}"
        record = _adapter(dict[str, typing.Any]).validate_json(line)
        missing = [stamp for stamp in _STAMPS if stamp not in record]
        if missing:
            problems_so_far.append(f"{where}: lacks {', '.join(missing)}")
        elif record["event"] not in known:
            problems_so_far.append(f"{where}: no such event: {record['event']}")
        else:
            problems_so_far += problems(known[record["event"]], line, where)
    return problems_so_far


def agent_problems(folder: Path) -> list[str]:
    """The problems of every agent's journal in that folder."""
    return [
        text
        for path in sorted(folder.glob("*.jsonl"))
        if path.stem != "controller"
        for text in record_problems(path, AgentRecord)
    ]


def message_problems(message: Mapping[str, object]) -> list[str]:
    """The problems of a control message as it was received."""
    known = by_tag(Message, "kind")
    kind = str(message["kind"])
    if kind not in known:
        return [f"no such message: {kind}"]
    try:
        _adapter(known[kind]).validate_python(message, strict=True)
    except pydantic.ValidationError as error:
        return [f"{kind}: {detail['loc']}: {detail['msg']}" for detail in error.errors()]
    return []


def run_problems(run: RunDirectory) -> list[str]:
    """The problems of environment.json and all journals."""
    return [
        *problems(Environment, run.environment.read_bytes(), run.environment.name),
        *agent_problems(run.nodes),
        *record_problems(run.controller_journal, ControllerRecord),
    ]
