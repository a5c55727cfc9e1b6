"""Text of `mnbed plan --schema`: every key of an experiment file with its type, default and docstring.

All of it is taken from the settings classes and generators themselves, so that nothing is written twice.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

import topologies
from mnbed import units
from mnbed.experiment import event_settings
from mnbed.experiment.sections import INLINE, Experiment
from mnbed.experiment.variants import key_of, sections_in, variants
from node_agent import algorithms, tasks
from topologies import files
from topologies.description import KEYS as DESCRIPTION_KEYS

_UNITS = {"bandwidth": "bandwidth, e.g. 60mbit", "time": "time, e.g. 20ms", "size": "size, e.g. 64kB"}
_NAMES = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    dict: "section",
    type(None): "null",
}
_COLUMN = 34


def text() -> str:
    """The whole schema, one key per line with its help below."""
    lines = ["Every key has a default. Times, bandwidths and sizes are written with a unit.", ""]
    lines += _section(Experiment, 0)
    return "\n".join(lines)


def _section(settings: type, depth: int, without: str | None = None) -> Iterator[str]:
    """Lines for every key but `without`, the key that selects the kind of the section and is printed above it."""
    documentation = docstrings(settings)
    hints = get_type_hints(settings, include_extras=True)
    for item in dataclasses.fields(settings):
        pad = "  " * depth
        if item.name == without:
            continue
        if settings is Experiment and item.name in ("algorithm", "task"):
            yield f"{pad}{item.name}:"
            yield f"{pad}    {documentation[item.name]}"
            yield from _choices(item.name)
        elif item.name == "topology":
            yield f"{pad}{item.name}:"
            yield f"{pad}    {documentation[item.name]}"
            yield from _generators(depth + 1)
        elif item.name == "events":
            yield f"{pad}{item.name}:"
            yield f"{pad}    {documentation[item.name]}"
            yield from _events(depth + 1)
        elif choices := variants(hints[item.name]):
            yield f"{pad}{item.name}:"
            yield f"{pad}    {documentation.get(item.name, '')}"
            for kind, choice in choices.items():
                yield f"{pad}  kind: {kind}"
                yield f"{pad}      {(choice.__doc__ or '').splitlines()[0]}"
                yield from _section(choice, depth + 2, without="kind")
        elif (inner := next(sections_in(hints[item.name]), None)) is not None:
            has_default = item.default is not dataclasses.MISSING
            kind, default = (
                describe(hints[item.name]),
                _default(item, hints[item.name]) if has_default else "",
            )
            yield _line(pad, item.name, kind, default) if has_default else f"{pad}{item.name}:"
            yield f"{pad}    {documentation.get(item.name) or (inner.__doc__ or '').splitlines()[0]}"
            yield from _section(inner, depth + 1)
        else:
            yield _line(pad, key_of(item.name), describe(hints[item.name]), _default(item, hints[item.name]))
            if item.name in documentation:
                yield f"{pad}    {documentation[item.name]}"


def _choices(kind: str) -> Iterator[str]:
    """Settings of every algorithm, or of every task."""
    names = algorithms.algorithm_names() if kind == "algorithm" else tasks.task_names()
    for name in names:
        plugin: Any = algorithms.algorithm_class(name) if kind == "algorithm" else tasks.task_class(name)
        yield f"  name: {name}"
        yield f"      {(plugin.__doc__ or '').splitlines()[0]}"
        yield from _section(plugin.Settings, 2, without="name")


def _events(depth: int) -> Iterator[str]:
    """Every kind of entry, with an example and its keys."""
    pad = "  " * depth
    for kind in event_settings.KINDS:
        yield f"{pad}- {event_settings.example(kind)}"
        yield f"{pad}      {(kind.__doc__ or '').splitlines()[0]}"
        yield from _section(kind, depth + 2)


def _generators(depth: int) -> Iterator[str]:
    pad = "  " * depth
    for kind in topologies.names():
        yield f"{pad}kind: {kind}"
        yield f"{pad}    {topologies.purpose(kind)}"
        yield from _parameters(pad, topologies.parameters(kind).values())
    yield f"{pad}file: ..."
    yield f"{pad}    A graph from a file, recognised by its ending: {files.endings()}."
    yield from _parameters(pad, topologies.parameters_of(files.load).values())
    yield f"{pad}kind: {INLINE}"
    yield f"{pad}    The graph written out here: {', '.join(DESCRIPTION_KEYS)}; see docs/topologies.md."


def _parameters(pad: str, parameters: Iterable[topologies.Parameter]) -> Iterator[str]:
    for parameter in parameters:
        default = "required" if parameter.required else f"default {_yaml(parameter.default)}"
        yield _line(pad + "  ", parameter.name, _NAMES[parameter.type], default)
        yield f"{pad}      {parameter.help}"


def _line(pad: str, name: str, kind: str, default: str) -> str:
    return f"{(pad + name + ':').ljust(_COLUMN)}{kind}; {default}"


def docstrings(settings: type) -> dict[str, str]:
    """Field -> its docstring, on one line; fields without one are left out."""
    texts = {}
    for base in reversed([base for base in settings.__mro__ if dataclasses.is_dataclass(base)]):
        (section,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(section, ast.ClassDef)
        for line, below in itertools.pairwise(section.body):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                text = below.value if isinstance(below, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    texts[line.target.id] = " ".join(text.value.split())
    return texts


def describe(annotation: Any) -> str:
    """The type of a field in words, with its limits."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *extras = get_args(annotation)
        for extra in extras:
            for what, parse in (
                ("bandwidth", units.parse_bandwidth),
                ("time", units.parse_duration),
                ("size", units.parse_size),
            ):
                if getattr(extra, "func", None) is parse:
                    return _UNITS[what]
        limits = [words for extra in extras for words in _limits(extra)]
        return " ".join([describe(base), *limits])
    if origin is Literal:
        return " | ".join(_yaml(value) for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in get_args(annotation))
    if origin in (tuple, list):
        return f"list of: {describe(get_args(annotation)[0])}"
    if dataclasses.is_dataclass(annotation):
        return "section"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits(extra: Any) -> Iterator[str]:
    for limit in extra.metadata if isinstance(extra, FieldInfo) else [extra]:
        for kind, words, attribute in ((Ge, ">=", "ge"), (Gt, ">", "gt"), (Le, "<=", "le"), (Lt, "<", "lt")):
            if isinstance(limit, kind):
                yield f"{words} {getattr(limit, attribute)}"


def _default(item: dataclasses.Field[Any], annotation: Any) -> str:
    if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
        return "required"
    factory: Any = item.default_factory
    value = factory() if item.default is dataclasses.MISSING else item.default
    plain = None if value is None else TypeAdapter(annotation).dump_python(value, mode="json")
    return f"default {_yaml(plain)}"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
