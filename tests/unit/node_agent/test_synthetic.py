"""Generated images: shapes, balance, classes that depend on the seed, and that they are hard to tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from node_agent.synthetic import synthetic_images


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 5, 40)])
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


# --- how hard they are ---

Samples = tuple[np.ndarray, np.ndarray]


def colours(images: np.ndarray) -> np.ndarray:
    """Features that do not depend on where something lies: mean colours, their products, how much neighbours differ."""
    pixels = images.reshape(*images.shape[:2], -1).astype(np.float32) / 64 - 2
    products = np.einsum("nap,nbp->nab", pixels, pixels) / pixels.shape[2]
    edges = [np.abs(np.diff(images.astype(np.float32), axis=axis)).mean(axis=(2, 3)) / 32 for axis in (2, 3)]
    features = np.concatenate([pixels.mean(axis=2), products.reshape(len(images), -1), *edges], axis=1)
    return np.concatenate([features, features**2, np.ones((len(images), 1))], axis=1)


def by_colours(train: Samples, test: Samples) -> float:
    """Accuracy of a linear model of `colours`."""
    inputs, targets = colours(train[0]), np.eye(10)[train[1]]
    weights = np.linalg.solve(inputs.T @ inputs + 0.01 * np.eye(inputs.shape[1]), inputs.T @ targets)
    return float(((colours(test[0]) @ weights).argmax(axis=1) == test[1]).mean())


def by_nearest(train: Samples, test: Samples) -> float:
    """Share of test images whose nearest neighbour among the training images has their label."""
    a, b = (images.reshape(len(images), -1).astype(np.float32) - 128 for images, _ in (train, test))
    distance = (b**2).sum(1)[:, None] - 2 * b @ a.T + (a**2).sum(1)
    return float((train[1][distance.argmin(axis=1)] == test[1]).mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_classes_can_be_told_apart_but_not_by_comparing_pixels(seed: int) -> None:
    """As with photographs of small things: a nearest neighbour is little better than chance, a tenth."""
    train, test, strange = (
        synthetic_images(count, (3, 32, 32), 10, of_seed, part)
        for count, of_seed, part in ((2000, seed, "train"), (500, seed, "test"), (500, seed + 10, "test"))
    )
    assert by_nearest(train, test) < 0.3
    assert 0.3 < by_colours(train, test) < 0.65
    assert by_colours(train, strange) < 0.2
