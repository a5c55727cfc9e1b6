"""What all image classification tasks share: settings, split, batches, loss and accuracy over arrays of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from node_agent.models import make_image_model
from node_agent.partition import (
    DirichletPartition,
    IidPartition,
    KshardPartition,
    partition_settings,
    split,
)
from node_agent.streams import stream
from node_agent.synthetic import synthetic_images
from node_agent.tasks._interface import Task, TaskSettings

if TYPE_CHECKING:
    import torch

# Test images that go through a model at once: large enough to keep a core busy, small enough for its cache.
_EVALUATION_BATCH = 250
_EPSILON = 1e-6
# Generated images to time steps on: enough that a batch is not always the same memory.
_NUM_TIMING = 256
_MAX_GENERATED_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class ImageTaskSettings(TaskSettings):
    """Settings of image classification."""

    model: Literal["gn_lenet", "mlp"] = "gn_lenet"
    """The model every node trains."""
    partition: IidPartition | KshardPartition | DirichletPartition = field(
        default_factory=KshardPartition, metadata={"discriminator": "kind"}
    )
    """How training samples are split over the nodes."""
    batch_size: Annotated[int, Ge(1)] = 8
    """Samples in one step."""
    lr: Annotated[float, Gt(0)] = 0.05
    """Learning rate of plain SGD."""
    local_steps: Annotated[int, Ge(1)] = 16
    """Steps in one round, H."""


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Images uint8 (samples, channels, height, width) and labels int64 (samples,) of both parts."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    description: str
    standin: bool = False


class ImageTask(Task):
    """A task whose data are arrays of images; subclasses only say where these come from."""

    Settings: ClassVar[type[TaskSettings]] = ImageTaskSettings
    COST_SETTINGS: ClassVar[tuple[str, ...] | None] = ("model", "batch_size")
    SHAPE: ClassVar[tuple[int, int, int] | None] = None
    """Channels, height and width of an image, if every data set of this task has the same."""
    NUM_CLASSES: ClassVar[int] = 10

    def __init__(self, settings: Any, data_root: Path, seed: int) -> None:
        super().__init__(settings, data_root, seed)
        self._data: ImageData | None = None

    @classmethod
    def settings_from(cls, plain: dict[str, Any]) -> ImageTaskSettings:
        settings = super().settings_from({**plain, "partition": partition_settings(plain["partition"])})
        assert isinstance(settings, ImageTaskSettings)
        return settings

    @abstractmethod
    def read_data(self) -> ImageData:
        """The images. Raises DataMissing or DataUnreadable."""

    def load(self) -> None:
        self._take(self.read_data())

    def load_for_timing(self) -> None:
        if self.SHAPE is None:
            self.load()
            return
        count = max(_NUM_TIMING, self.settings.batch_size)
        images, labels = synthetic_images(count, self.SHAPE, self.NUM_CLASSES, self.seed, "timing")
        self._take_generated(images, labels, self.NUM_CLASSES, "generated images, for timing")

    @property
    def data_shape(self) -> list[int]:
        """[channels, height, width, classes]"""
        return [*self.data.train_images.shape[1:], len(self.data.classes)]

    def load_generated(self, data_shape: Sequence[int]) -> None:
        channels, height, width, num_classes = data_shape
        pixels = channels * height * width
        count = max(1, min(max(_NUM_TIMING, self.settings.batch_size), _MAX_GENERATED_BYTES // pixels))
        rng = stream(self.seed, "generated")
        images = rng.integers(0, 256, (count, channels, height, width), dtype=np.uint8)
        labels = rng.integers(0, num_classes, count)
        self._take_generated(images, labels, num_classes, "noise")

    def _take_generated(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], num_classes: int, description: str
    ) -> None:
        """The same images for training and test: nothing is learned from them."""
        self._take(
            ImageData(
                train_images=images,
                train_labels=labels,
                test_images=images,
                test_labels=labels,
                classes=tuple(map(str, range(num_classes))),
                description=description,
                standin=True,
            )
        )

    def _take(self, data: ImageData) -> None:
        self._data = data
        mean, deviation = _pixel_statistics(self._data.train_images)
        self._mean = mean[:, None, None]
        self._scale = 1 / (deviation[:, None, None] + _EPSILON)

    @property
    def data(self) -> ImageData:
        """The loaded data. Raises RuntimeError before `load`."""
        if self._data is None:
            raise RuntimeError("load() comes first")
        return self._data

    @property
    def standin(self) -> bool:
        return self.data.standin

    @property
    def description(self) -> str:
        return self.data.description

    @property
    def num_training(self) -> int:
        return len(self.data.train_labels)

    def partition(self, num_nodes: int) -> list[np.ndarray]:
        return list(split(self.data.train_labels, num_nodes, self.settings.partition, self.seed))

    def partition_table(self, parts: Sequence[np.ndarray]) -> list[list[int]]:
        num_classes = len(self.data.classes)
        return [np.bincount(self.data.train_labels[part], minlength=num_classes).tolist() for part in parts]

    def make_model(self) -> torch.nn.Module:
        shape = self.data.train_images.shape[1:]
        return make_image_model(self.settings.model, shape, len(self.data.classes), self.seed)

    def loss(self, model: torch.nn.Module, indices: np.ndarray) -> torch.Tensor:
        import torch

        inputs = self._normalised(self.data.train_images[indices])
        targets = torch.from_numpy(self.data.train_labels[indices])
        return torch.nn.functional.cross_entropy(model(inputs), targets)

    def evaluate(self, model: torch.nn.Module, num_samples: int | None) -> dict[str, float]:
        import torch

        order = stream(self.seed, "evaluation").permutation(len(self.data.test_labels))[:num_samples]
        loss, correct = 0.0, 0
        with torch.no_grad():
            for begin in range(0, len(order), _EVALUATION_BATCH):
                batch = order[begin : begin + _EVALUATION_BATCH]
                targets = torch.from_numpy(self.data.test_labels[batch])
                outputs = model(self._normalised(self.data.test_images[batch]))
                loss += torch.nn.functional.cross_entropy(outputs, targets, reduction="sum").item()
                correct += int((outputs.argmax(dim=1) == targets).sum())
        return {"loss": loss / len(order), "accuracy": correct / len(order)}

    def _normalised(self, images: NDArray[np.uint8]) -> torch.Tensor:
        import torch

        values = images.astype(np.float32)
        values -= self._mean
        values *= self._scale
        return torch.from_numpy(values)


def _pixel_statistics(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel, from counts of the 256 levels: the images are never copied.

    Over at most 10,000 images, evenly chosen: more would change the third digit at most.
    """
    levels = np.arange(256)
    counts = np.zeros((images.shape[1], 256))
    chosen = images[:: max(1, len(images) // 10_000)]
    for begin in range(0, len(chosen), 500):
        for channel, count in enumerate(counts):
            count += np.bincount(chosen[begin : begin + 500, channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
