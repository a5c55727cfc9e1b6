"""scikit-learn's digits, and what all image tasks do with their arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from node_agent.tasks import create_task
from node_agent.tasks._images import ImageTask


def digits(seed: int = 1, **settings: Any) -> ImageTask:
    task = create_task(
        {"name": "digits", "model": "mlp", "partition": {"kind": "iid"}, **settings}, Path("/none"), seed
    )
    assert isinstance(task, ImageTask)
    task.load()
    return task


def rows(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


def test_every_image_is_in_one_part_and_keeps_its_label() -> None:
    task = digits()
    data = task.data
    images, labels = load_digits(return_X_y=True)
    assert data.train_images.shape == (1438, 1, 8, 8)
    assert data.test_images.shape == (359, 1, 8, 8)
    split = np.concatenate([data.train_images, data.test_images]).reshape(-1, 64)
    grey = np.round(split / 255 * 16).astype(np.uint8)
    assert rows(grey) == rows(images.astype(np.uint8))
    label_of = {image.tobytes(): label for image, label in zip(images.astype(np.uint8), labels, strict=True)}
    given = np.concatenate([data.train_labels, data.test_labels])
    assert [label_of[image.tobytes()] for image in grey] == given.tolist()


def test_the_test_part_follows_seed_and_fraction() -> None:
    first, again, other = digits(1), digits(1), digits(2)
    assert (first.data.test_images == again.data.test_images).all()
    assert (first.data.test_images != other.data.test_images).any()
    assert len(digits(test_fraction=0.5).data.test_labels) == 898


def test_inputs_are_normalised_by_the_training_part() -> None:
    task = digits()
    values = task._normalised(task.data.train_images)
    assert values.dtype == torch.float32
    assert abs(values.mean().item()) < 1e-4
    assert values.std().item() == pytest.approx(1, abs=1e-3)
    pixels = task.data.train_images
    expected = (pixels - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_evaluation_is_mean_loss_and_share_of_hits() -> None:
    task = digits()
    model = task.make_model()
    scores = task.evaluate(model, None)
    with torch.no_grad():
        outputs = model(task._normalised(task.data.test_images))
    targets = torch.from_numpy(task.data.test_labels)
    assert scores["loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(outputs, targets).item(), rel=1e-5
    )
    assert scores["accuracy"] == pytest.approx((outputs.argmax(1) == targets).float().mean().item())


def test_a_smaller_evaluation_is_the_beginning_of_a_larger_one() -> None:
    """Both take the first of one seeded shuffle: hits among 100 are at most those among 101, and at least one less."""
    task = digits()
    model = task.make_model()
    few, more = (round(task.evaluate(model, num)["accuracy"] * num) for num in (100, 101))
    assert few <= more <= few + 1
    assert task.evaluate(model, 10_000) == task.evaluate(model, None)
