"""The HTML pages' templates: every value is escaped, and a name that a template misspells is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


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
