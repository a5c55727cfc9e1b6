"""Fields that hold one of several sections, selected by a key `kind` (task.partition: iid, kshard, ...)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def sections_in(annotation: Any) -> Iterator[type]:
    """The dataclasses that a field of this type may hold."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, list):
        for part in get_args(annotation):
            yield from sections_in(part)


def variants(annotation: Any) -> dict[str, type]:
    """kind -> dataclass, for a field that holds one of several; otherwise empty."""
    sections = list(sections_in(annotation))
    if len(sections) < 2:
        return {}
    by_kind = {}
    for section in sections:
        kind = get_type_hints(section).get("kind")
        if get_origin(kind) is Literal:
            by_kind.update(dict.fromkeys(get_args(kind), section))
    return by_kind


def field_types(section: type) -> dict[str, Any]:
    """Field -> type, including the metadata of Annotated."""
    return get_type_hints(section, include_extras=True)


def key_of(field_name: str) -> str:
    """The field's key in the file: `for` is a reserved word in Python, so its field is called `for_`."""
    return field_name.removesuffix("_")
