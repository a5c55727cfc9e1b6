"""Holds a run directory's files against the types that say what they hold: a test of whoever writes them."""

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
    """Those that the module declares, in its order."""
    return [
        found
        for found in vars(module).values()
        if is_typeddict(found) and found.__module__ == module.__name__
    ]


# Unknown fields are wrong in all of them.
for _module in (counters, records, control_messages, controller, environment):
    for _found in typed_dicts(_module):
        _found.__pydantic_config__ = {"extra": "forbid"}


def by_tag(union: Any, key: str) -> dict[str, Any]:
    """The tag's value -> type, of every type of the union."""
    return {_tag(one, key): one for one in _members(union)}


def _members(union: Any) -> Iterator[Any]:
    for one in get_args(union):
        yield from _members(one) if isinstance(one, types.UnionType) else [one]


def _tag(one: Any, key: str) -> str:
    # NotRequired[Literal["round"]]
    (literal,) = get_args(get_type_hints(one, include_extras=True)[key])
    (value,) = get_args(literal)
    assert isinstance(value, str)
    return value


@cache
def _adapter(one: Any) -> TypeAdapter[Any]:
    return TypeAdapter(one)


def problems(one: Any, text: bytes, where: str) -> list[str]:
    """What is wrong with a JSON object of that type, strictly: "h1.jsonl:3: round.waited_s: Field required"."""
    try:
        _adapter(one).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        return [f"{where}: {'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
    return []


def record_problems(path: Path, union: Any) -> list[str]:
    """Of every line of a journal."""
    found = []
    known = by_tag(union, "event")
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path.name}:{number}"
        record = _adapter(dict[str, typing.Any]).validate_json(line)
        missing = [stamp for stamp in _STAMPS if stamp not in record]
        if missing:
            found.append(f"{where}: lacks {', '.join(missing)}")
        elif record["event"] not in known:
            found.append(f"{where}: no such event: {record['event']}")
        else:
            found += problems(known[record["event"]], line, where)
    return found


def agent_problems(folder: Path) -> list[str]:
    """Of every agent's journal in that folder."""
    return [
        text
        for path in sorted(folder.glob("*.jsonl"))
        if path.stem != "controller"
        for text in record_problems(path, AgentRecord)
    ]


def message_problems(message: Mapping[str, object]) -> list[str]:
    """Of a control message as it was received."""
    known = by_tag(Message, "kind")
    kind = str(message["kind"])
    if kind not in known:
        return [f"no such message: {kind}"]
    try:
        _adapter(known[kind]).validate_python(message, strict=True)
    except pydantic.ValidationError as error:
        return [f"{kind}: {found['loc']}: {found['msg']}" for found in error.errors()]
    return []


def run_problems(run: RunDirectory) -> list[str]:
    """Of environment.json and all journals."""
    return [
        *problems(Environment, run.environment.read_bytes(), run.environment.name),
        *agent_problems(run.nodes),
        *record_problems(run.controller_journal, ControllerRecord),
    ]
