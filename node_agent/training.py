"""Local training: a model as one flat vector, and plain SGD steps on it. One of the few files that use torch."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from node_agent.streams import stream
from node_agent.tasks import Task

if TYPE_CHECKING:
    import torch


class TrainingDiverged(Exception):
    """The training loss is infinite or not a number (NaN)."""

    remedy = "lower task.lr"


class FlatModel:
    """A model whose parameters are views into one flat vector, and whose gradients are views into another.

    Reading, averaging or replacing all parameters is one vector operation, with no copy per tensor.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        import torch

        parameters = list(module.parameters())
        self.module = module
        self.num_parameters = sum(parameter.numel() for parameter in parameters)
        self.flat = torch.empty(self.num_parameters, dtype=torch.float32)
        self.gradient = torch.zeros(self.num_parameters, dtype=torch.float32)
        begin = 0
        for parameter in parameters:
            end = begin + parameter.numel()
            self.flat[begin:end] = parameter.data.flatten()
            parameter.data = self.flat[begin:end].view_as(parameter)
            parameter.grad = self.gradient[begin:end].view_as(parameter)
            begin = end
        self.values: NDArray[np.float32] = self.flat.numpy()
        """Shape (num_parameters,); writing here changes the model."""


class Trainer:
    """SGD without momentum on one node's samples."""

    def __init__(
        self, task: Task, model: FlatModel, part: NDArray[np.int64], batch_rng: np.random.Generator
    ) -> None:
        """`part`: indices of the node's training samples. Each epoch goes through them in a new order."""
        self._task = task
        self._model = model
        self._part = part
        self._rng = batch_rng
        self._batch_size = min(task.settings.batch_size, len(part))
        self._lr: float = task.settings.lr
        self._order: NDArray[np.int64] = part[:0]

    def step(self) -> float:
        """One step on the next mini-batch; returns its loss. Raises TrainingDiverged."""
        self._model.gradient.zero_()
        loss = self._task.loss(self._model.module, self._next_batch())
        loss.backward()  # type: ignore[no-untyped-call]
        self._model.flat.sub_(self._model.gradient, alpha=self._lr)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(f"the training loss is {value} at learning rate {self._lr:g}")
        return value

    def _next_batch(self) -> NDArray[np.int64]:
        """An epoch's last samples are skipped if they do not fill a batch: every step costs the same."""
        if len(self._order) < self._batch_size:
            self._order = self._rng.permutation(self._part)
        batch, self._order = self._order[: self._batch_size], self._order[self._batch_size :]
        return batch


def warm_up(task: Task) -> float:
    """Train a scratch model for a few steps; returns the median wall seconds of one step.

    Touches no seeded stream of the experiment. In a parent process it makes torch ready once for all its forks.
    """
    model = FlatModel(task.make_model())
    rng = stream(task.seed, "warm-up")
    trainer = Trainer(
        task, model, np.sort(rng.choice(task.num_training, min(task.num_training, 256), False)), rng
    )
    times = []
    for _ in range(12):
        began = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - began)
    return statistics.median(times[3:])
