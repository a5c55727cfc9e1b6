"""Writes the tables of docs/run-directory.md that list the fields of records: `python3 -m tests.record_tables`.

They are made from the docstrings of the types in node_agent/records.py and mnbed/records, and written between markers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mnbed.records.outcome import Status

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "run-directory.md"
# Every record has these fields; the page describes them once.
_STAMPS = "Stamped"
_COUNTERS = "CounterTotals"
_WORDS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "Any": "any value",
}


@dataclass(frozen=True)
class Field:
    """One field of a type."""

    name: str
    hint: ast.expr
    text: str
    optional: bool


@dataclass(frozen=True)
class Type:
    """A TypedDict or dataclass, as its source defines it."""

    name: str
    text: str
    bases: tuple[str, ...]
    tag: str | None
    """The event that it records; None: it is no record."""
    fields: tuple[Field, ...]


def types_in(path: Path) -> dict[str, Type]:
    """The module's classes, in its order."""
    tree = ast.parse(path.read_text())
    return {node.name: _type(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _type(node: ast.ClassDef) -> Type:
    tag, fields = None, []
    for place, item in enumerate(node.body):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        hint, optional = item.annotation, False
        if isinstance(hint, ast.Subscript) and ast.unparse(hint.value) == "NotRequired":
            hint, optional = hint.slice, True
        if item.target.id in ("event", "kind") and optional:
            (tag,) = _literals(hint)
        elif "ClassVar" not in ast.unparse(hint):
            fields.append(Field(item.target.id, hint, _text_below(node.body, place), optional))
    bases = tuple(ast.unparse(base) for base in node.bases)
    return Type(node.name, _line(ast.get_docstring(node) or ""), bases, tag, tuple(fields))


def _text_below(body: list[ast.stmt], place: int) -> str:
    below = body[place + 1] if place + 1 < len(body) else None
    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
        return _line(str(below.value.value))
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _literals(hint: ast.expr) -> list[str]:
    return re.findall(r"'([^']*)'", ast.unparse(hint))


def in_words(hint: ast.expr, known: dict[str, Type]) -> str:
    """ "number or null", "list of text"."""
    if isinstance(hint, ast.BinOp):
        return f"{in_words(hint.left, known)} or {in_words(hint.right, known)}"
    if isinstance(hint, ast.Constant):
        return "null"
    if isinstance(hint, ast.Subscript):
        kind, inside = ast.unparse(hint.value), hint.slice
        if kind == "Literal":
            return ", ".join(f"`{value}`" for value in _literals(hint))
        if kind == "dict" and isinstance(inside, ast.Tuple):
            return f"object of {in_words(inside.elts[1], known)}"
        if kind == "tuple" and isinstance(inside, ast.Tuple) and ast.unparse(inside.elts[-1]) != "...":
            return "[" + ", ".join(in_words(element, known) for element in inside.elts) + "]"
        first = inside.elts[0] if isinstance(inside, ast.Tuple) else inside
        return f"list of {in_words(first, known)}"
    name = ast.unparse(hint)
    if name == "Status":
        return ", ".join(f"`{word}`" for word in get_args(Status))
    return "object" if name in known else _WORDS[name]


def rows_of(record: Type, known: dict[str, Type], prefix: str = "") -> Iterator[str]:
    """A row for each field, followed by the rows of the types that it contains."""
    for base in record.bases:
        if base == _COUNTERS:
            yield "| | | every counter, as in metrics.csv |"
        elif base in known and base != _STAMPS:
            yield from rows_of(known[base], known, prefix)
    for field in record.fields:
        kind = in_words(field.hint, known)
        kind += ", may be missing" if field.optional else ""
        yield f"| `{prefix}{field.name}` | {kind} | {field.text.replace('|', '/')} |"
        several = "[]" if ast.unparse(field.hint).startswith(("list", "tuple")) else ""
        for name in re.findall(r"\w+", ast.unparse(field.hint)):
            if name in known:
                yield from rows_of(known[name], known, f"{prefix}{field.name}{several}.")


_HEAD = ("| field | value | meaning |", "|---|---|---|")


def event_tables(types: dict[str, Type]) -> str:
    """A table for each event."""
    blocks = []
    for record in types.values():
        if record.tag is not None:
            rows = list(rows_of(record, types))
            table = ["", *_HEAD, *rows] if rows else []
            blocks.append("\n".join([f"**`{record.tag}`** {record.text}", *table]))
    return "\n\n".join(blocks)


def file_table(types: dict[str, Type], name: str) -> str:
    """One table, for the type of a whole file."""
    return "\n".join([*_HEAD, *rows_of(types[name], types)])


def tables() -> dict[str, str]:
    """Name of a marker -> the text that belongs after it."""
    folder = ROOT / "mnbed" / "records"
    agents = types_in(ROOT / "node_agent" / "records.py")
    return {
        "records of agents": event_tables(agents),
        "records of the controller": event_tables(types_in(folder / "controller.py")),
        "environment.json": file_table(types_in(folder / "environment.py"), "Environment"),
        "sweep.json": file_table(types_in(folder / "sweep.py"), "SweepRecord"),
    }


def renewed(page: str) -> str:
    """The page with its tables made anew from the types. Raises ValueError if a marker is missing."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}: made by tests/record_tables.py -->\n", f"<!-- end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"{PAGE.name}: no markers for {name}")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
