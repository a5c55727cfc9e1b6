"""scikit-learn's handwritten digits: 1,797 real images of 8x8 grey pixels that come with the package, no download."""

from __future__ import annotations

from dataclasses import dataclass
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
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        # 17 grey levels, 0 to 16.
        pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
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


def _num_test(fraction: float, num_images: int) -> int:
    return max(1, round(fraction * num_images))
