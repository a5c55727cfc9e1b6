"""Finds the tasks: every public file in this folder is one, under its file's name.

Importing this package imports no torch, torchvision or scikit-learn, so the planner can list tasks and their settings.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from node_agent.discovery import only_subclass
from node_agent.tasks._interface import DataMissing, DataUnreadable, Task, TaskSettings

__all__ = [
    "DataMissing",
    "DataUnreadable",
    "Task",
    "TaskSettings",
    "create_task",
    "task_class",
    "task_names",
]


def task_names() -> list[str]:
    """Every task's name, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def task_class(name: str) -> type[Task]:
    """The task of that name; hyphens and underscores are alike.

    Raises KeyError, with the known names, if there is none, and TypeError if its file does not hold exactly one.
    """
    module_name = name.replace("-", "_")
    known = task_names()
    if module_name not in known:
        raise KeyError(f"unknown task {name!r}; known: {', '.join(known)}")
    module = importlib.import_module(f"{__name__}.{module_name}")
    return only_subclass(module, Task)  # type: ignore[type-abstract]


def create_task(settings: dict[str, Any], data_root: Path, seed: int) -> Task:
    """The task for settings that the controller has checked: {"name": ..., its settings ...}; nothing is loaded yet."""
    task = task_class(settings["name"])
    return task(task.settings_from(settings), data_root, seed)
