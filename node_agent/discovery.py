"""Finds what a plug-in file holds: exactly one subclass of a given base, defined in the file itself."""

from __future__ import annotations

from types import ModuleType
from typing import TypeVar

Base = TypeVar("Base")


def only_subclass(module: ModuleType, base: type[Base]) -> type[Base]:
    """The one subclass of `base` that the module defines; imported ones do not count. Raises TypeError."""
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(defined) != 1:
        raise TypeError(
            f"{module.__file__} must hold exactly one {base.__name__} subclass, not {len(defined)}"
        )
    return defined[0]
