"""The files that the tutorial shows do what it says: its algorithm exchanges models, its data can be learned."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from mnbed.experiment.loading import load_experiment
from mnbed.plan.make import make_plan
from node_agent.streams import stream
from node_agent.tasks import create_task
from node_agent.training import FlatModel, Trainer
from tests.fakes import FakeNetwork, make_algorithms
from tests.machines import SMALL
from tests.unit.shown_commands import ROOT, shown_files

STEPS = sorted((ROOT / "docs" / "tutorial").glob("*.md"))


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tutorial's files in `my`, as the working directory."""
    for name, text in shown_files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models train several times faster that way on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("page", STEPS, ids=lambda page: page.stem)
def test_each_step_leads_to_the_next(page: Path) -> None:
    following = {first.name: second.name for first, second in itertools.pairwise(STEPS)}
    linked = re.findall(r"^Next: \[.*\]\((.*)\)", page.read_text(), re.MULTILINE)
    assert linked == [following[page.name] for _ in range(page.name in following)]


def test_the_overview_has_every_step() -> None:
    overview = (ROOT / "docs" / "tutorial.md").read_text()
    assert re.findall(r"^\| \[.*?\]\(tutorial/(.*?)\)", overview, re.MULTILINE) == [
        page.name for page in STEPS
    ]


def test_its_topology_is_a_network_of_two_buildings(reader: Path) -> None:
    plan = make_plan(load_experiment(reader / "my" / "campus.yaml"), SMALL)
    assert len(plan.hosts) == 6
    assert [link.directions[0].asked.bandwidth_bps for link in plan.links if "s2" in (link.a, link.b)]


def test_its_algorithm_brings_models_together(reader: Path) -> None:
    """Nodes that begin far apart and do not train meet at the mean of all, whatever the order of arrival."""
    settings = {"name": "in-turns", "module": str(reader / "my" / "in_turns.py"), "skip": 1}
    network = FakeNetwork(make_algorithms(settings, 5, 40), num_parameters=40, frame_s={})
    for node in range(5):
        network.start(node, np.full(40, node, np.float32), 1.0, lambda *_: None)
    network.run_until(40.5)
    values = np.stack([network.nodes[node].values for node in range(5)])
    assert values.std(axis=0).max() < 0.05
    assert 1 < values.mean() < 3


def test_its_images_can_be_learned(reader: Path, one_thread: None) -> None:  # noqa: ARG001
    """A model of all classes learns them; a node misses a class, and so does its model."""
    subprocess.run([sys.executable, "my/draw_shapes.py"], check=True)
    experiment = load_experiment(reader / "my" / "shapes.yaml")
    task = create_task(asdict(experiment.task), reader, 1)
    task.load()
    parts = task.partition(3)
    assert [sum(count > 0 for count in row) for row in task.partition_table(parts)] == [2, 2, 2]
    scores = []
    for part in (np.concatenate(parts), parts[0]):
        model = FlatModel(task.make_model())
        trainer = Trainer(task, model, part, stream(1, "tutorial"))
        for _ in range(200):
            trainer.step()
        scores.append(task.evaluate(model.module, None)["accuracy"])
    assert scores[0] > 0.5
    assert scores[1] < 0.7
