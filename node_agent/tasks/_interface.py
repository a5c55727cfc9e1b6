"""What a task is: data, its split over the nodes, a model's loss on it, and its evaluation.

A task is one public file in this folder with exactly one Task subclass; the file's name is its name in the
experiment. torch and torchvision are imported inside functions, so that settings can be checked without them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    import torch


class DataMissing(Exception):
    """The data is not available and cannot be downloaded; `remedy` says what the user can do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class DataUnreadable(DataMissing):
    """The data is there but cannot be used: not an archive, no images in it, one class only, ..."""


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """Settings every task has; a task's own `Settings` extends this class."""

    # Read by pydantic, which this package does not import: unknown keys and infinite numbers are refused, docstrings
    # become help.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
        "allow_inf_nan": False,
    }

    name: str
    """Which task: a file in node_agent/tasks."""


class Task(ABC):
    """One learning problem. Constructed cheaply; `load` does the work and is called once, before the fork."""

    Settings: ClassVar[type[TaskSettings]]
    COST_SETTINGS: ClassVar[tuple[str, ...] | None] = None
    """Names of the settings that change what a local step costs; None: any of them may."""
    METRIC: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")
    """The score that runs are compared by, and whether a high or a low one is better."""
    RANGE: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """The smallest and the largest value that this score can have: no target lies outside."""

    def __init__(self, settings: Any, data_root: Path, seed: int) -> None:
        """`seed` is the experiment's; a stand-in, a test split and an evaluation sample derive from it."""
        self.settings = settings
        self.data_root = data_root
        self.seed = seed

    @classmethod
    def settings_from(cls, plain: dict[str, Any]) -> TaskSettings:
        """The settings object for a plain dict that the controller has checked; nested settings are dicts in it."""
        return cls.Settings(**plain)

    @classmethod
    def training_samples(cls, settings: Any) -> tuple[int, int] | None:  # noqa: ARG003
        """(fewest, most) training samples that `load` can find, if this is known without the data; otherwise None."""
        return None

    @property
    @abstractmethod
    def num_training(self) -> int:
        """After load: number of training samples."""

    @property
    @abstractmethod
    def standin(self) -> bool:
        """After load: whether a generated stand-in took the place of the real data."""

    @property
    @abstractmethod
    def description(self) -> str:
        """After load: one line for console and report, e.g. "CIFAR-10, 50,000 training and 10,000 test images"."""

    @abstractmethod
    def load(self) -> None:
        """Read (or download, or generate) the data into memory that a fork can share.

        Raises DataMissing or DataUnreadable.
        """

    def load_for_timing(self) -> None:
        """Like `load`, but generated data of the same shapes will do: steps are timed on it, nothing is learned.

        Raises what `load` raises.
        """
        self.load()

    @property
    @abstractmethod
    def data_shape(self) -> list[int]:
        """After load: what `load_generated` needs to know for a model and steps of the same shapes."""

    @abstractmethod
    def load_generated(self, data_shape: Sequence[int]) -> None:
        """Used instead of `load`: meaningless data of those shapes, to warm torch up. Touches no file."""

    @abstractmethod
    def partition(self, num_nodes: int) -> list[np.ndarray]:
        """Each node's training samples: int64 indices, disjoint, together all samples that the scheme uses.

        Raises ValueError, with the numbers, if the data cannot be split that way.
        """

    @abstractmethod
    def partition_table(self, parts: Sequence[np.ndarray]) -> list[list[int]]:
        """num_nodes x num_groups counts (groups: classes, users), for the report."""

    @abstractmethod
    def make_model(self) -> torch.nn.Module:
        """The model with its initial parameters, the same for every node: drawn from the experiment's seed."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, indices: np.ndarray) -> torch.Tensor:
        """Mean training loss of the model on those training samples: a scalar with a gradient."""

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, num_samples: int | None) -> dict[str, float]:
        """Scores on the test set's first `num_samples` of a seeded shuffle (None: all).

        Always has "loss"; a classification task has "accuracy", a fraction in [0, 1].
        """
