"""Stand-ins for image data that is not available: the same shapes, and about as hard to learn as small photographs.

An image is a cluttered scene. A few motifs (small coloured textures) lie at random places on a smooth background, as
they are or mirrored, each with a contrast of its own, under noise. All classes draw from one pool of motifs: a class
owns some, which it shares with other classes, and some of those in its images are any of the pool. So no pixel and no
single motif tells the class; a model has to find motifs wherever they are and weigh them, and one that has seen few
classes does not know the motifs of the others. The numbers below were chosen so that GN-LeNet reaches on these images
about what it reaches on CIFAR-10 in as many steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node_agent.streams import stream

_POOL, _OWN, _PLACED = 20, 4, 5
"""Motifs in all, of a class, and in an image."""
_OWN_SHARE = 0.7
"""Of the motifs in an image, those that are its class's; the others are drawn from the whole pool."""
_SIDE = 3 / 8
"""Of a motif, compared with the image's shorter side."""
_COLOUR = 0.6
"""How much colour counts in a motif, beside its texture: what a linear model can see of it."""
# A motif's contrast lies between these.
_FAINT, _STRONG = 0.4, 1.6
# Standard deviations, in levels of 256: of a motif at contrast 1, of the background, of the noise.
_MOTIF, _BACKGROUND, _NOISE = 45.0, 25.0, 18.0
_CHUNK = 1000


def synthetic_images(
    num_samples: int, shape: tuple[int, int, int], num_classes: int, seed: int, part: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (num_samples, channels, height, width) and labels int64 (num_samples,), all classes equally often.

    `part` ("train", "test") gives another draw of samples of the same classes.
    """
    motifs = _motifs(shape, seed)
    draw = stream(seed, "synthetic", "classes")
    owned = np.stack([draw.permutation(_POOL)[:_OWN] for _ in range(num_classes)])
    rng = stream(seed, "synthetic", part)
    labels = rng.permutation(np.arange(num_samples) % num_classes).astype(np.int64)
    images = np.empty((num_samples, *shape), dtype=np.uint8)
    for begin in range(0, num_samples, _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        scenes = _backgrounds(len(labels[chunk]), shape, rng)
        for _ in range(_PLACED):
            _place(scenes, motifs, _drawn(owned[labels[chunk]], rng), rng)
        # Uniform noise: half the cost of normal noise.
        scenes += _NOISE * np.sqrt(12, dtype=np.float32) * (rng.random(scenes.shape, dtype=np.float32) - 0.5)
        images[chunk] = np.clip(scenes, 0, 255)
    return images, labels


def _motifs(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """(2 * _POOL, channels, side, side): all of them, then all of them mirrored; each with deviation _MOTIF."""
    rng = stream(seed, "synthetic", "motifs")
    channels, height, width = shape
    side = max(2, round(min(height, width) * _SIDE))
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    window = np.sin(np.pi * y) * np.sin(np.pi * x)
    motifs = np.empty((_POOL, channels, side, side))
    for motif in motifs:
        waves = rng.uniform((-2, -2, 0), (2, 2, 2 * np.pi), size=(3, 3))
        texture = sum(np.cos(2 * np.pi * (fy * y + fx * x) + phase) for fy, fx, phase in waves)
        colour = rng.normal(0, _COLOUR, (channels, 1, 1))
        motif[:] = (texture * rng.uniform(0.5, 1, (channels, 1, 1)) + colour) * window
    motifs *= _MOTIF / motifs.std(axis=(1, 2, 3), keepdims=True)
    return np.concatenate([motifs, motifs[..., ::-1]]).astype(np.float32)


def _backgrounds(count: int, shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, channels, height, width): smooth fields around 128, brightness varying more than colour."""
    channels, height, width = shape
    y, x = (np.arange(size) + 0.5 for size in (height, width))
    waves = [
        np.outer(np.cos(np.pi * fy * y / height), np.cos(np.pi * fx * x / width)).ravel()
        for fy in range(3)
        for fx in range(3)
    ]
    brightness = rng.standard_normal((count, 1, len(waves)), dtype=np.float32)
    colour = rng.standard_normal((count, channels, len(waves)), dtype=np.float32)
    # The nine waves' squares add up to 4 on average, the mixture's to 1.25.
    strengths = (brightness + 0.5 * colour) * np.float32(_BACKGROUND / np.sqrt(4 * 1.25))
    fields: NDArray[np.float32] = strengths.reshape(-1, len(waves)) @ np.asarray(waves, np.float32)
    fields += np.float32(128)
    return fields.reshape(count, *shape)


def _drawn(owned: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One motif for each image, an index into `_motifs`; owned: (images, _OWN), the motifs of its class."""
    count = len(owned)
    own = owned[np.arange(count), rng.integers(_OWN, size=count)]
    motif = np.where(rng.random(count) < _OWN_SHARE, own, rng.integers(_POOL, size=count))
    return motif + _POOL * rng.integers(2, size=count)


def _place(
    scenes: NDArray[np.float32],
    motifs: NDArray[np.float32],
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Add to each scene its chosen motif, at a random place, with a random contrast."""
    count, channels, height, width = scenes.shape
    side = np.arange(motifs.shape[-1])
    top = rng.integers(height - len(side) + 1, size=count)
    left = rng.integers(width - len(side) + 1, size=count)
    contrast = rng.uniform(_FAINT, _STRONG, size=(count, 1, 1, 1)).astype(np.float32)
    image = np.arange(count)[:, None, None, None]
    channel = np.arange(channels)[:, None, None]
    rows, columns = top[:, None] + side, left[:, None] + side
    scenes[image, channel, rows[:, None, :, None], columns[:, None, None, :]] += contrast * motifs[chosen]
