"""Finds the algorithms: every public file in this folder is one, under its file's name.

A name is shown in one spelling, lower case with hyphens (`ad-psgd`), and may be written in any (`AD_PSGD`). Importing
this package imports no torch and no pydantic, so the planner can list algorithms and read their settings.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from node_agent.algorithms._interface import (
    Aggregated,
    Algorithm,
    AlgorithmSettings,
    Context,
    Outbox,
    Send,
)
from node_agent.discovery import only_subclass

__all__ = [
    "Aggregated",
    "Algorithm",
    "AlgorithmSettings",
    "Context",
    "Outbox",
    "Send",
    "algorithm_class",
    "algorithm_names",
    "canonical_name",
    "create_algorithm",
]


def canonical_name(name: str) -> str:
    """The one spelling in which a name is shown, however it was written: "AD_PSGD" -> "ad-psgd"."""
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


def algorithm_names() -> list[str]:
    """Every algorithm's name, sorted."""
    return sorted(_files())


def _files() -> dict[str, str]:
    """Name -> module that holds the algorithm."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return {canonical_name(name): name for name in modules if not name.startswith("_")}


def algorithm_class(name: str, module_file: str | None = None) -> type[Algorithm]:
    """The algorithm of that name; module_file: a user's own file that holds it.

    Raises KeyError, with the known names, if there is none, TypeError if its file does not hold exactly one, and
    ImportError if a user's file cannot be imported.
    """
    if module_file is not None:
        return only_subclass(_import_file(module_file), Algorithm)  # type: ignore[type-abstract]
    module = _files().get(canonical_name(name))
    if module is None:
        raise KeyError(f"unknown algorithm {name!r}; known: {', '.join(algorithm_names())}")
    plugin = importlib.import_module(f"{__name__}.{module}")
    return only_subclass(plugin, Algorithm)  # type: ignore[type-abstract]


@cache
def _import_file(path: str) -> ModuleType:
    """A user's file as a module, imported once: its classes must be the same everywhere. Raises ImportError."""
    name = f"mnbed_algorithm_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        where = traceback.extract_tb(error.__traceback__)
        line = next((entry.lineno for entry in reversed(where) if entry.filename == path), None)
        raise ImportError(f"{path}{f':{line}' if line else ''}: {type(error).__name__}: {error}") from error
    return module


def create_algorithm(settings: Mapping[str, Any], context: Context) -> Algorithm:
    """The algorithm that `settings["name"]` names, on one node; the controller has validated the settings.

    Raises KeyError for an unknown name, TypeError for an unknown setting, ValueError for a bad value.
    """
    algorithm = algorithm_class(settings["name"], settings.get("module"))
    return algorithm(algorithm.Settings(**settings), context)
