"""CIFAR-10 (Krizhevsky, 2009): 60,000 colour images of 32x32 pixels in ten classes, through torchvision's loader."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from http.client import HTTPException
from tarfile import TarError
from typing import Any, ClassVar, Literal

import numpy as np

from node_agent.synthetic import synthetic_images
from node_agent.tasks._images import ImageData, ImageTask, ImageTaskSettings
from node_agent.tasks._interface import DataMissing, DataUnreadable, TaskSettings
from node_agent.torchvision_shim import import_torchvision_datasets

_ARCHIVE = "cifar-10-python.tar.gz"
_FOLDER = "cifar-10-batches-py"
_DOWNLOAD_TIMEOUT_S = 20.0
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TRAIN = 50_000
# Sizes of a stand-in: a fifth of the real ones is enough to show that a run works.
_STANDIN_TRAIN, _STANDIN_TEST = 10_000, 2_000


@dataclass(frozen=True, kw_only=True)
class Cifar10Settings(ImageTaskSettings):
    """Settings of the CIFAR-10 task."""

    name: str = "cifar10"
    """Which task."""
    on_missing: Literal["fail", "synthetic"] = "fail"
    """What to do if the data is neither in data_root nor downloadable: stop, or use a generated stand-in."""


class Cifar10(ImageTask):
    """CIFAR-10 from `data_root`, downloaded there if there is a network."""

    Settings: ClassVar[type[TaskSettings]] = Cifar10Settings
    SHAPE: ClassVar[tuple[int, int, int] | None] = (3, 32, 32)

    @classmethod
    def training_samples(cls, settings: Any) -> tuple[int, int] | None:
        return (_STANDIN_TRAIN if settings.on_missing == "synthetic" else _TRAIN), _TRAIN

    def read_data(self) -> ImageData:
        try:
            return self._real()
        except DataUnreadable:
            raise  # a broken copy is not a missing one: a stand-in would hide it
        except DataMissing:
            if self.settings.on_missing == "synthetic":
                return self._standin()
            raise

    def _real(self) -> ImageData:
        train, test = self._open(train=True), self._open(train=False)
        return ImageData(
            train_images=_channels_first(train.data),
            train_labels=np.asarray(train.targets, dtype=np.int64),
            test_images=_channels_first(test.data),
            test_labels=np.asarray(test.targets, dtype=np.int64),
            classes=tuple(train.classes),
            description=f"CIFAR-10, {len(train.targets):,} training and {len(test.targets):,} test images",
        )

    def _open(self, *, train: bool) -> Any:
        datasets = import_torchvision_datasets()
        remedy = (
            f"put {_ARCHIVE} into {self.data_root}, or set data_root (or MNBED_DATA) to where it is, or use "
            "task.name: image_folder, or set task.on_missing: synthetic"
        )
        try:
            return datasets.CIFAR10(str(self.data_root), train=train, download=False)
        except RuntimeError:
            pass  # missing or incomplete: torchvision compares checksums
        except Exception as error:
            raise DataUnreadable(f"CIFAR-10 in {self.data_root} cannot be read: {error}", remedy) from error
        archive, folder = self.data_root / _ARCHIVE, self.data_root / _FOLDER
        had_some = os.path.exists(archive) or os.path.exists(folder)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
        try:
            return datasets.CIFAR10(str(self.data_root), train=train, download=True)
        except (OSError, RuntimeError, EOFError, ValueError, HTTPException, TarError) as error:
            if had_some:
                raise DataUnreadable(
                    f"CIFAR-10 in {self.data_root} is incomplete and cannot be downloaded again: {error}",
                    f"remove {archive} and {folder}; then {remedy}",
                ) from error
            # A download that broke off must not pass for the user's own copy at the next run.
            with contextlib.suppress(OSError):
                archive.unlink()
            raise DataMissing(
                f"CIFAR-10 is not in {self.data_root} and cannot be downloaded: {error}", remedy
            ) from error
        finally:
            socket.setdefaulttimeout(before)

    def _standin(self) -> ImageData:
        shape = (3, 32, 32)
        train = synthetic_images(_STANDIN_TRAIN, shape, len(_CLASSES), self.seed, "train")
        test = synthetic_images(_STANDIN_TEST, shape, len(_CLASSES), self.seed, "test")
        return ImageData(
            train_images=train[0],
            train_labels=train[1],
            test_images=test[0],
            test_labels=test[1],
            classes=_CLASSES,
            description=f"STAND-IN for CIFAR-10: {_STANDIN_TRAIN:,} + {_STANDIN_TEST:,} generated images, no real data",
            standin=True,
        )


def _channels_first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
