"""The models that nodes train. torch is imported inside functions: the planner lists models without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_agent.streams import stream_seed

if TYPE_CHECKING:
    import torch

# Hidden units of the multi-layer perceptron.
MLP_HIDDEN = 64


def make_image_model(name: str, shape: tuple[int, int, int], num_classes: int, seed: int) -> torch.nn.Module:
    """The model of that name for images of `shape` (channels, height, width), initialised from the seed.

    torch's global generator is left as it was. Raises ValueError if the images are too small for the model.
    """
    import torch

    if name == "gn_lenet" and min(shape[1:]) < 8:
        raise ValueError(
            f"gn_lenet halves its input three times; {shape[1]}x{shape[2]} pixels are too few: use mlp"
        )
    make = {"gn_lenet": gn_lenet, "mlp": mlp}[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model"))
        return make(shape, num_classes)


def gn_lenet(shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
    """LeNet with group normalisation, as in decentralizepy and the DivShare paper (arXiv 2410.12918, section 5).

    89,834 parameters for 3x32x32 images and 10 classes. Group instead of batch normalisation, because averaging running
    statistics of different data describes none of that data (Hsieh et al., ICML 2020).
    """
    from torch import nn

    channels, height, width = shape
    layers: list[nn.Module] = []
    for before, after in ((channels, 32), (32, 32), (32, 64)):
        layers += [
            nn.Conv2d(before, after, 5, padding=2),
            nn.GroupNorm(2, after),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ]
    pooled = 64 * (height // 8) * (width // 8)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(pooled, num_classes))


def mlp(shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
    """One hidden layer of 64 rectified linear units: quick, for small images."""
    from torch import nn

    channels, height, width = shape
    pixels = channels * height * width
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, MLP_HIDDEN), nn.ReLU(), nn.Linear(MLP_HIDDEN, num_classes)
    )
