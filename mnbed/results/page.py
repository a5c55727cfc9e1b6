"""The HTML pages' templates and tables: every value is escaped, and a name that a template misspells is an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import jinja2

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table: what stands above it, and how a cell is made from a row."""

    heading: str
    cell: Callable[[Row], str]
    text: bool = False
    """Aligned to the left, as the first column always is; numbers are aligned to the right."""


@dataclass(frozen=True, kw_only=True)
class Table(Generic[Row]):
    """A table of a page; the macro in table.html.j2 draws it."""

    heading: str = ""
    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    marked: Callable[[Row], bool] = lambda _: False
    """Whether a row stands out by its colour."""
    notes: Sequence[str] = ()
    """Paragraphs below the table."""
    missing: str = ""
    """Shown if there are no rows; if empty, the heading is left out too."""


def template(name: str) -> jinja2.Template:
    """The template of that file name in this folder."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mnbed.results", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)
