"""Finding tasks by their files, and making them from plain settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import node_agent.tasks as tasks
from node_agent.partition import DirichletPartition
from node_agent.tasks import create_task, task_class, task_names

TASK = """
from node_agent.tasks._images import ImageTask
from node_agent.tasks._interface import Task
"""


def test_names_and_settings_need_no_heavy_library() -> None:
    """The planner lists tasks and checks their settings in a fraction of the time it takes to import torch."""
    program = (
        "import sys; from node_agent.tasks import *\n"
        "for name in task_names(): task_class(name).Settings\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'PIL', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_names_are_those_of_public_files() -> None:
    assert task_names() == sorted(task_names())
    assert not [name for name in task_names() if name.startswith("_")]


def test_hyphens_and_underscores_are_alike() -> None:
    assert task_class("image-folder") is task_class("image_folder")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"unknown task 'cifar100'; known: cifar10, digits, image_folder"):
        task_class("cifar100")


@pytest.mark.parametrize(
    ("classes", "num"),
    [("", 0), ("class One(ImageTask): pass\nclass Two(ImageTask): pass", 2)],
    ids=["none", "two"],
)
def test_a_file_must_hold_exactly_one_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: str, num: int
) -> None:
    name = f"with_{num}_tasks"
    (tmp_path / f"{name}.py").write_text(TASK + classes)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"node_agent.tasks.{name}", raising=False)
    assert name in task_names()
    with pytest.raises(TypeError, match=f"must hold exactly one Task subclass, not {num}"):
        task_class(name)


def test_nested_settings_come_as_plain_dicts() -> None:
    plain = {"name": "digits", "partition": {"kind": "dirichlet", "alpha": 0.25}, "lr": 0.1}
    task = create_task(plain, Path("/nonexistent"), 1)
    assert task.settings.partition == DirichletPartition(alpha=0.25)
    assert task.settings.lr == 0.1
    with pytest.raises(RuntimeError, match=r"load\(\) comes first"):
        _ = task.num_training
