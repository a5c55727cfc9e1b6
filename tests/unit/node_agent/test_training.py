"""Models as flat vectors, and SGD steps on them, compared with plain PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from node_agent.models import make_image_model
from node_agent.streams import stream
from node_agent.tasks import Task, create_task
from node_agent.training import FlatModel, Trainer, TrainingDiverged, warm_up


def digits(**settings: object) -> Task:
    plain = {"name": "digits", "model": "mlp", "partition": {"kind": "iid"}, **settings}
    task = create_task(plain, Path("/nonexistent"), 1)
    task.load()
    return task


def test_gn_lenet_has_the_papers_parameters() -> None:
    model = make_image_model("gn_lenet", (3, 32, 32), 10, 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 89_834
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "shape"), [("gn_lenet", (1, 8, 8)), ("gn_lenet", (3, 30, 50)), ("mlp", (1, 5, 7))]
)
def test_models_take_other_shapes(name: str, shape: tuple[int, int, int]) -> None:
    assert make_image_model(name, shape, 7, 1)(torch.zeros(3, *shape)).shape == (3, 7)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="4x9 pixels are too few: use mlp"):
        make_image_model("gn_lenet", (1, 4, 9), 10, 1)


def test_initial_parameters_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models = [FlatModel(make_image_model("mlp", (1, 8, 8), 10, seed)).values for seed in (1, 1, 2)]
    assert (models[0] == models[1]).all()
    assert (models[0] != models[2]).any()
    assert torch.equal(torch.rand(3), expected)


def test_the_flat_vector_is_the_model() -> None:
    model = FlatModel(make_image_model("mlp", (1, 8, 8), 10, 1))
    assert model.values.shape == (model.num_parameters,) == (64 * 64 + 64 + 640 + 10,)
    model.values[:] = 0
    assert all((parameter == 0).all() for parameter in model.module.parameters())
    next(model.module.parameters()).data.fill_(3)
    assert (model.values[: 64 * 64] == 3).all()


def test_steps_equal_plain_pytorch() -> None:
    task = digits()
    part = task.partition(4)[0]
    ours = FlatModel(task.make_model())
    trainer = Trainer(task, ours, part, stream(1, "batches", 0))
    theirs = task.make_model()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05)
    rng = stream(1, "batches", 0)
    order = rng.permutation(part)
    for step in range(20):
        optimizer.zero_grad()
        loss = task.loss(theirs, order[8 * step : 8 * step + 8])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert trainer.step() == pytest.approx(loss.item(), rel=1e-5)
    gradients = ours.gradient.untyped_storage().data_ptr()
    of_parameters = [parameter.grad for parameter in ours.module.parameters()]
    assert {grad.untyped_storage().data_ptr() for grad in of_parameters if grad is not None} == {gradients}
    assert None not in of_parameters
    flat = torch.cat([parameter.detach().flatten() for parameter in theirs.parameters()]).numpy()
    np.testing.assert_allclose(ours.values, flat, rtol=1e-4, atol=1e-6)


def test_an_epoch_sees_every_sample_once() -> None:
    task = digits(batch_size=10)
    part = np.arange(30)
    trainer = Trainer(task, FlatModel(task.make_model()), part, stream(1, "x"))
    for _ in range(2):
        assert sorted(np.concatenate([trainer._next_batch() for _ in range(3)]).tolist()) == list(range(30))


def test_a_part_smaller_than_a_batch_trains() -> None:
    task = digits(batch_size=64)
    trainer = Trainer(task, FlatModel(task.make_model()), np.arange(5), stream(1, "x"))
    assert np.isfinite(trainer.step())


def test_divergence_is_noticed() -> None:
    task = digits(lr=1e30)
    trainer = Trainer(task, FlatModel(task.make_model()), task.partition(1)[0], stream(1, "x"))

    def train() -> None:
        for _ in range(10):
            trainer.step()

    with pytest.raises(TrainingDiverged, match=r"learning rate 1e\+30") as error:
        train()
    assert error.value.remedy == "lower task.lr"


def test_warm_up_measures_a_step() -> None:
    assert 0 < warm_up(digits()) < 1


def test_warm_up_changes_nothing_that_is_drawn_later() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)

    def trained(*, warm: bool) -> np.ndarray:
        task = digits()
        torch.manual_seed(5)
        if warm:
            warm_up(task)
        assert torch.equal(torch.rand(3), expected)
        model = FlatModel(task.make_model())
        trainer = Trainer(task, model, task.partition(2)[0], stream(1, "batches", 0))
        for _ in range(5):
            trainer.step()
        return model.values

    assert (trained(warm=True) == trained(warm=False)).all()


def test_loading_and_warming_up_start_no_thread() -> None:
    """The warm parent forks afterwards, and a child process has none of its parent's threads."""
    program = (
        "import os, torch; torch.set_num_threads(1)\n"
        "from tests.unit.node_agent.test_training import digits\n"
        "from node_agent.training import warm_up\n"
        "warm_up(digits(model='gn_lenet')); print(len(os.listdir('/proc/self/task')))"
    )
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **single},
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "1\n"
