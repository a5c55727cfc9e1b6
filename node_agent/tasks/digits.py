"""scikit-learn's handwritten digits: 1,797 real images of 8x8 grey pixels that come with the package, no download."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Lt

from node_agent.streams import stream
from node_agent.tasks._images import ImageData, ImageTask, ImageTaskSettings
from node_agent.tasks._interface import TaskSettings

_NUM_IMAGES = 1797


@dataclass(frozen=True, kw_only=True)
class DigitsSettings(ImageTaskSettings):
    """Settings of the digits task."""

    name: str = "digits"
    """Which task."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of the images kept for testing, drawn from the seed."""


class Digits(ImageTask):
    """Optical recognition of handwritten digits (Alpaydin and Kaynak, UCI 1998), as scikit-learn ships it."""

    Settings: ClassVar[type[TaskSettings]] = DigitsSettings
    SHAPE: ClassVar[tuple[int, int, int] | None] = (1, 8, 8)

    @classmethod
    def training_samples(cls, settings: Any) -> tuple[int, int] | None:
        count = _NUM_IMAGES - _num_test(settings.test_fraction, _NUM_IMAGES)
        return count, count

    def read_data(self) -> ImageData:
        levels, labels = _read_digits()
        pixels = np.round(levels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        order = stream(self.seed, "test-split").permutation(len(labels))
        num_test = _num_test(self.settings.test_fraction, len(labels))
        test, train = np.sort(order[:num_test]), np.sort(order[num_test:])
        return ImageData(
            train_images=pixels[train],
            train_labels=labels[train].astype(np.int64),
            test_images=pixels[test],
            test_labels=labels[test].astype(np.int64),
            classes=tuple("0123456789"),
            description=f"scikit-learn's digits, {len(train):,} training and {len(test):,} test images of 8x8 pixels",
        )


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """(Grey levels from 0 to 16, shape (1797, 64); the digit that each image shows, shape (1797,))."""
    (package,) = importlib.util.find_spec("sklearn").submodule_search_locations  # type: ignore[union-attr,misc]
    file = Path(package) / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():  # another release may keep it elsewhere
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return images, labels
    # To import scikit-learn takes a second, which every run would wait for, twice; to read the file, a twentieth.
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def _num_test(fraction: float, num_images: int) -> int:
    return max(1, round(fraction * num_images))
