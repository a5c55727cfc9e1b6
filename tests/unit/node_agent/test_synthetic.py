"""Generated images: shapes, balance, and classes that depend on the seed."""

from __future__ import annotations

import numpy as np
import pytest

from node_agent.synthetic import synthetic_images


def nearest(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of test images whose nearest neighbour among the training images has their label."""
    a, b = (images.reshape(len(images), -1).astype(np.float32) for images, _ in (train, test))
    a, b = a - 128, b - 128
    distance = (b**2).sum(1)[:, None] - 2 * b @ a.T + (a**2).sum(1)
    return float((train[1][distance.argmin(axis=1)] == test[1]).mean())


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)])
def test_shapes_and_balance(shape: tuple[int, int, int]) -> None:
    images, labels = synthetic_images(105, shape, 10, 1, "train")
    assert images.shape == (105, *shape)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert set(np.bincount(labels)) == {10, 11}


def test_the_seed_alone_decides() -> None:
    first, again, other = (synthetic_images(20, (1, 8, 8), 2, seed, "train")[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (first != synthetic_images(20, (1, 8, 8), 2, 1, "test")[0]).any()


def test_both_parts_have_the_classes_of_their_seed_and_no_other() -> None:
    train = synthetic_images(600, (3, 32, 32), 5, 1, "train")
    assert nearest(train, synthetic_images(100, (3, 32, 32), 5, 1, "test")) > 0.8
    assert nearest(train, synthetic_images(100, (3, 32, 32), 5, 2, "test")) < 0.5
