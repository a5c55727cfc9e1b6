"""Stand-ins for image data that is not available: the same shapes, and classes that a model can learn to tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node_agent.streams import stream

# Strength of the class pattern against pixel noise: a small network learns it in some hundreds of steps, not at once.
_SIGNAL, _NOISE = 40.0, 50.0


def synthetic_images(
    num_samples: int, shape: tuple[int, int, int], num_classes: int, seed: int, part: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (num_samples, channels, height, width) and labels: a smooth pattern per class, shifted, and noise.

    `part` ("train", "test") gives another draw of samples of the same classes.
    """
    patterns = _patterns(shape, num_classes, seed)
    rng = stream(seed, "synthetic", part)
    labels = rng.permutation(np.arange(num_samples) % num_classes).astype(np.int64)
    images = np.empty((num_samples, *shape), dtype=np.uint8)
    shifts = rng.integers(-3, 4, size=(num_samples, 2))
    for begin in range(0, num_samples, 1000):
        chunk = slice(begin, min(begin + 1000, num_samples))
        noisy = rng.normal(128.0, _NOISE, size=(len(labels[chunk]), *shape))
        for row, (label, shift) in enumerate(zip(labels[chunk], shifts[chunk], strict=True)):
            noisy[row] += np.roll(patterns[label], tuple(shift), axis=(1, 2))
        images[chunk] = np.clip(noisy, 0, 255).astype(np.uint8)
    return images, labels


def _patterns(shape: tuple[int, int, int], num_classes: int, seed: int) -> NDArray[np.float64]:
    """One smooth random field per class: low-frequency cosines with random phases."""
    rng = stream(seed, "synthetic", "patterns")
    channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    patterns = np.zeros((num_classes, *shape))
    for label in range(num_classes):
        for channel in range(channels):
            for _ in range(4):
                fy, fx, phase = rng.uniform((0.5, 0.5, 0), (3, 3, 2 * np.pi)).tolist()
                patterns[label, channel] += np.cos(2 * np.pi * (fy * y / height + fx * x / width) + phase)
    scaled: NDArray[np.float64] = patterns / patterns.std(axis=(1, 2, 3), keepdims=True) * _SIGNAL
    return scaled
