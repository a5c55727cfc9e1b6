"""Finds the algorithms: every public file in this folder is one, under its file's name.

Names may be written with hyphens or underscores alike (`ad-psgd` = `ad_psgd`). Importing this package imports
no torch and no pydantic, so the planner can list algorithms and read their settings.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from node_agent.algorithms._interface import (
    Aggregated,
    Algorithm,
    AlgorithmSettings,
    Context,
    Outbox,
    Send,
)

__all__ = [
    "Aggregated",
    "Algorithm",
    "AlgorithmSettings",
    "Context",
    "Outbox",
    "Send",
    "algorithm_class",
    "algorithm_names",
    "create_algorithm",
]


def algorithm_names() -> list[str]:
    """Every algorithm's name, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def algorithm_class(name: str) -> type[Algorithm]:
    """The algorithm of that name.

    Raises KeyError, with the known names, where there is none, and TypeError where its file does not hold
    exactly one.
    """
    module_name = name.replace("-", "_")
    known = algorithm_names()
    if module_name not in known:
        raise KeyError(f"unknown algorithm {name!r}; known: {', '.join(known)}")
    module = importlib.import_module(f"{__name__}.{module_name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Algorithm) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__file__} must hold exactly one Algorithm subclass, not {len(found)}")
    return found[0]


def create_algorithm(settings: Mapping[str, Any], context: Context) -> Algorithm:
    """The algorithm that `settings["name"]` names, on one node; the controller has validated the settings.

    Raises KeyError for an unknown name, TypeError for an unknown setting, ValueError for a bad value.
    """
    algorithm = algorithm_class(settings["name"])
    return algorithm(algorithm.Settings(**settings), context)
