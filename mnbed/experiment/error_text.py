"""Translates pydantic's errors for users of experiment files: key path, value given, what is allowed.

Knows the structure of the settings classes (to list the keys of a section), not the files they came from.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from mnbed.experiment.event_settings import entry_class
from mnbed.experiment.fields import SettingsError, did_you_mean
from mnbed.experiment.sections import Experiment, settings_class
from mnbed.experiment.variants import field_types, key_of, sections_in, variants
from mnbed.experiment.yaml_source import KeyPath
from topologies.reading import brief

_EXPECTED = {
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
_MAX_DETAILS = 1000
_SHOWN_ITEMS, _SHOWN_LEVELS = 80, 2
# A list whose entries are of several kinds, determined by their keys.
_EVENTS: KeyPath = ("network", "events")
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
    """The problems that `error` reports about the sections of `data`; only the first of very many."""
    details = error.errors(include_url=False)[:_MAX_DETAILS]
    return [problem for detail in details for problem in _problems(dict(detail), data)]


def _problems(detail: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, SettingsError):
        for key, text in cause.problems:
            path = detail["loc"] if key is None else (*detail["loc"], key)
            yield Problem(path=path, text=text)
        return
    place = _find(detail["loc"], data)
    if place.choices:
        yield _no_variant(place.path, detail["input"], list(place.choices))
    else:
        yield Problem(path=place.path, text=_text(detail, place.path, place.section))


def _text(detail: Mapping[str, Any], path: KeyPath, section: type | None) -> str:
    kind: str = detail["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        allowed = [key_of(item.name) for item in dataclasses.fields(section)] if section else []
        return f"no such key{did_you_mean(str(path[-1]), allowed)}"
    if kind == "missing":
        return "missing; it is required"
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
    expected = _EXPECTED.get(kind.split("_")[0], detail["msg"])
    return f"{given}{expected}"


def _shown(value: Any) -> str:
    """The value as it would be written in the file, on one line; a long one is cut."""
    try:
        text = yaml.safe_dump(_beginning(value), default_flow_style=True, width=10_000, allow_unicode=True)
    except (yaml.YAMLError, ValueError):  # an integer may have too many digits to print
        text = brief(value)
    text = text.removesuffix("\n").removesuffix("\n...").strip()
    return text if len(text) <= 60 else text[:57] + "..."


def _beginning(value: Any, depth: int = 0) -> Any:
    """As much of the value as fits a message."""
    if depth > _SHOWN_LEVELS:
        return "..."
    if isinstance(value, str):
        return value[:_SHOWN_ITEMS]
    if isinstance(value, Mapping):
        items = itertools.islice(value.items(), _SHOWN_ITEMS)
        return {_beginning(key, depth + 1): _beginning(below, depth + 1) for key, below in items}
    if isinstance(value, (list, tuple)):
        return [_beginning(below, depth + 1) for below in value[:_SHOWN_ITEMS]]
    return value


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a pydantic location lies in the file."""

    path: KeyPath
    section: type | None
    """The dataclass that holds the last key."""
    choices: Mapping[str, type]
    """The variants to choose from, if the choice itself is the problem."""


def _find(location: KeyPath, data: Mapping[str, Any]) -> _Place:
    """Follows the location through the settings classes; below a field with variants, pydantic inserts the kind."""
    path: KeyPath = ()
    section: type | None = None
    annotation: Any = Experiment
    for part in location:
        choices = variants(annotation)
        if part in choices:
            annotation = choices[str(part)]
            continue
        path = (*path, part)
        if isinstance(part, int):
            if path[:-1] == _EVENTS:
                annotation = _entry_class(data["network"]["events"][part])
            continue
        section = next(sections_in(annotation), None)
        chosen = settings_class(part, data) if section is Experiment and len(location) > 1 else None
        annotation = chosen or (_field_type(section, part) if section else None)
    return _Place(path=path, section=section, choices=variants(annotation))


def _field_type(section: type, key: str) -> Any:
    return next((hint for name, hint in field_types(section).items() if key_of(name) == key), None)


def _entry_class(entry: Any) -> type | None:
    try:
        return entry_class(entry)
    except ValueError:
        return None


def _no_variant(path: KeyPath, given: Any, kinds: list[str]) -> Problem:
    allowed = ", ".join(kinds)
    if not isinstance(given, Mapping):
        text = f"got {_shown(given)}; it must be a section such as {{kind: {kinds[0]}}} (kinds: {allowed})"
        return Problem(path=path, text=text)
    if "kind" not in given:
        return Problem(path=(*path, "kind"), text=f"missing (allowed: {allowed})")
    meant = did_you_mean(str(given["kind"]), kinds)
    return Problem(path=(*path, "kind"), text=f"got {_shown(given['kind'])}{meant}")
