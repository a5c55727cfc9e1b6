"""pydantic's errors in the words of a user of experiment files: key path, value given, what is allowed.

Knows the shape of the settings classes (to name the keys a section may have), not the files they came from.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import ValidationError

from mnbed.experiment import NOT_YET, Experiment, SettingsError, did_you_mean, settings_class
from mnbed.yaml_source import KeyPath

_WANTED = {
    "int": "it must be a whole number",
    "float": "it must be a number",
    "bool": "it must be true or false",
    "string": "it must be text",
    "dataclass": "it must be a section (key: value)",
    "dict": "it must be a section (key: value)",
    "tuple": "it must be a list",
    "list": "it must be a list",
    "finite": "it must be a finite number",
}
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
    "string_too_long": ("at most (characters)", "max_length"),
    "string_too_short": ("at least (characters)", "min_length"),
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with an experiment."""

    path: KeyPath
    text: str


def problems_of(error: ValidationError, data: Mapping[str, Any]) -> list[Problem]:
    """Every problem that `error` found in the sections of `data`."""
    return [
        problem for detail in error.errors(include_url=False) for problem in _problems(dict(detail), data)
    ]


def _problems(detail: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, SettingsError):
        for key, text in cause.problems:
            path = detail["loc"] if key is None else (*detail["loc"], key)
            yield Problem(path=path, text=NOT_YET.get(path, text))
    else:
        path, section = _walk(detail["loc"], data)
        yield Problem(path=path, text=_text(detail, path, section))


def _text(detail: Mapping[str, Any], path: KeyPath, section: type | None) -> str:
    kind: str = detail["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        if path in NOT_YET:
            return NOT_YET[path]
        allowed = [item.name for item in dataclasses.fields(section)] if section else []
        return f"no such key{did_you_mean(str(path[-1]), allowed)}"
    if kind == "missing":
        return "missing; it must be given"
    given = f"got {_shown(detail['input'])}; "
    if kind == "literal_error":
        expected = detail["ctx"]["expected"].replace("'", "")
        return f"{given}allowed: {expected}"
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return f"{given}it must be {words} {detail['ctx'][key]}"
    if kind == "value_error":
        text = str(detail["ctx"]["error"])
        return text if isinstance(detail["input"], dict) else given + text
    wanted = _WANTED.get(kind.split("_")[0], detail["msg"])
    return f"{given}{wanted}"


def _shown(value: Any) -> str:
    """The value as it would stand in the file, on one line."""
    try:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    except yaml.YAMLError:
        text = repr(value)
    text = text.removesuffix("\n").removesuffix("\n...").strip()
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(location: KeyPath, data: Mapping[str, Any]) -> tuple[KeyPath, type | None]:
    """The key path of a pydantic location, and the dataclass that holds its last key.

    In a union of sections pydantic puts the class's name between the keys.
    """
    keys: list[str | int] = []
    section: type | None = None
    candidates: list[type] = [Experiment]
    for part in location:
        named = [item for item in candidates if item.__name__ == part]
        if named and len(candidates) > 1:
            candidates = named
            continue
        keys.append(part)
        if isinstance(part, int):
            continue
        section = candidates[0] if candidates else None
        hints = get_type_hints(section, include_extras=True) if section else {}
        chosen = settings_class(part, data) if section is Experiment and len(location) > 1 else None
        candidates = [chosen] if chosen else list(_dataclasses_in(hints.get(part)))
    return tuple(keys), section


def _dataclasses_in(annotation: Any) -> Iterator[type]:
    """The dataclasses a field of that type may hold."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple, list):
        for part in get_args(annotation):
            yield from _dataclasses_in(part)
