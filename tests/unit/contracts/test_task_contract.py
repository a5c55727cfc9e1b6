"""What every task must guarantee, tested on each one that is discovered: a new file is tested at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from mnbed.experiment.schema import docstrings
from node_agent.packing import pack, unpack
from node_agent.streams import stream
from node_agent.tasks import Task, create_task, task_class, task_names
from node_agent.training import FlatModel, Trainer, warm_up
from tests.unit.node_agent.test_image_tasks import make_folder, no_network

# What a task cannot do without, and how its data is made small.
NEEDS: dict[str, dict[str, Any]] = {
    "image_folder": {"path": "images", "model": "mlp"},
    "cifar10": {"on_missing": "synthetic", "model": "mlp"},
    "digits": {"model": "mlp"},
    "movielens": {"on_missing": "synthetic"},
}


def make_task(name: str, folder: Path, seed: int = 1) -> Task:
    needs = dict(NEEDS.get(name, {}))
    if "path" in needs:
        needs["path"] = str(folder / "images")
        if not (folder / "images").exists():
            make_folder(folder / "images", num=40)
    settings = TypeAdapter(task_class(name).Settings).validate_python({"name": name, **needs})
    task = create_task(asdict(settings), folder, seed)
    task.load()
    return task


@pytest.fixture(params=task_names(), scope="module")
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """Loaded once: a task does not change."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        no_network(monkeypatch)
        yield make_task(request.param, tmp_path_factory.mktemp("data"))


def test_there_are_the_tasks_we_promise() -> None:
    assert {"cifar10", "digits", "image_folder"} <= set(task_names())


@pytest.mark.parametrize("name", task_names())
def test_settings_are_documented_and_strict(name: str) -> None:
    settings = task_class(name.replace("_", "-")).Settings
    adapter = TypeAdapter(settings)
    documented = docstrings(settings)
    assert [key for key in adapter.json_schema()["properties"] if not documented.get(key)] == []
    for wrong in (
        {"btch_size": 8},
        {"batch_size": 0},
        {"lr": -1.0},
        {"lr": float("inf")},
        {"partition": {"kind": "dirichlet", "alpha": 0}},
        {"partition": {"kind": "dirichlet", "alpha": float("inf")}},
        {"partition": {"kind": "kshard", "shrads": 2}},
        {"local_steps": 0},
        {"partition": {"kind": "x"}},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python({"name": name, **NEEDS.get(name, {}), **wrong})


def test_parts_are_samples_of_the_task(task: Task) -> None:
    parts = task.partition(4)
    table = np.array(task.partition_table(parts))
    assert table.shape[0] == 4
    assert table.sum(axis=1).tolist() == [len(part) for part in parts]
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything) <= task.num_training
    assert everything.min() >= 0
    assert everything.max() < task.num_training


def test_what_is_known_before_loading_is_true(task: Task) -> None:
    known = type(task).training_samples(task.settings)
    assert known is None or known[0] <= task.num_training <= known[1]


def test_it_says_what_its_data_is(task: Task) -> None:
    assert task.description
    assert task.standin == ("STAND-IN" in task.description)


def test_models_start_alike_and_follow_the_seed(task: Task, tmp_path: Path) -> None:
    name = next(name for name in task_names() if isinstance(task, task_class(name)))
    first, second = (FlatModel(task.make_model()).values for _ in range(2))
    assert (first == second).all()
    assert (FlatModel(make_task(name, tmp_path, seed=2).make_model()).values != first).any()


def test_training_lowers_the_loss(task: Task) -> None:
    model = FlatModel(task.make_model())
    before = task.evaluate(model.module, 200)
    trainer = Trainer(task, model, np.concatenate(task.partition(2)), stream(1, "contract"))
    for _ in range(150):
        trainer.step()
    after = task.evaluate(model.module, 200)
    assert after["loss"] < before["loss"]
    metric, best = task.METRIC
    least, most = task.RANGE
    assert (
        least <= after[metric] <= before[metric] <= most or least <= before[metric] <= after[metric] <= most
    )
    assert best in ("max", "min")
    assert after == task.evaluate(model.module, 200)


def test_noise_of_the_same_shape_trains_the_same_model(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """It warms torch up in a process that is root: it must not touch a file, and must cost what real data costs."""
    shape = task.data_shape
    assert all(type(size) is int and size >= 1 for size in shape)
    fresh = create_task(asdict(task.settings), Path("/nonexistent"), 1)
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(Path, "open", None)
    fresh.load_generated(shape)
    monkeypatch.undo()
    assert fresh.data_shape == shape
    model = FlatModel(fresh.make_model())
    assert model.num_parameters == FlatModel(task.make_model()).num_parameters
    assert np.isfinite(warm_up(fresh))


def test_it_reaches_agents_unchanged(task: Task) -> None:
    descriptor = os.memfd_create("test")
    parts = task.partition(3)
    pack((task, parts), descriptor)
    unpacked, unpacked_parts = unpack(descriptor)
    os.close(descriptor)
    assert all((part == other).all() for part, other in zip(parts, unpacked_parts, strict=True))
    model = FlatModel(task.make_model())
    assert unpacked.evaluate(model.module, 100) == task.evaluate(model.module, 100)
    assert unpacked.loss(model.module, parts[1][:8]).item() == task.loss(model.module, parts[1][:8]).item()
