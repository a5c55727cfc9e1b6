"""Fields that hold one of several sections, told apart by a key `kind` (task.partition: iid, kshard, ...)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def sections_in(annotation: Any) -> Iterator[type]:
    """The dataclasses that a field of that type may hold."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, list):
        for part in get_args(annotation):
            yield from sections_in(part)


def variants(annotation: Any) -> dict[str, type]:
    """kind -> dataclass, for a field that holds one of several; else nothing."""
    sections = list(sections_in(annotation))
    if len(sections) < 2:
        return {}
    found = {}
    for section in sections:
        kind = get_type_hints(section).get("kind")
        if get_origin(kind) is Literal:
            found.update(dict.fromkeys(get_args(kind), section))
    return found


def field_types(section: type) -> dict[str, Any]:
    """Field -> type, with what Annotated adds."""
    return get_type_hints(section, include_extras=True)


def key_of(field_name: str) -> str:
    """The key in the file that stands for that field: `for` is no name in Python, so its field is `for_`."""
    return field_name.removesuffix("_")
