"""MovieLens (Harper and Konstan, ACM TiiS 2015), ml-latest-small: 100,836 ratings by 610 users of 9,724 films.

What is learned is matrix factorisation (Koren, Bell, Volinsky, IEEE Computer 2009, equation 4):

    rating(u, i)  =  mean + b_u + b_i + p_u . q_i

with 20 factors, 217,014 parameters, by SGD on the squared error with weight decay on what a batch touches. Users are
dealt to the nodes; of each user's ratings 70 % are for training, on that user's node, and 30 % for testing, as in the
DivShare paper (arXiv 2410.12918, section 5). Every node's model is scored on the test ratings of all users.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray

from node_agent.streams import stream
from node_agent.tasks._interface import DataMissing, DataUnreadable, Task, TaskSettings

if TYPE_CHECKING:
    import torch

_FOLDER = "ml-latest-small"
_ARCHIVE = f"{_FOLDER}.zip"
_URL = f"https://files.grouplens.org/datasets/movielens/{_ARCHIVE}"
_DOWNLOAD_TIMEOUT_S = 20.0
# The archive has one megabyte; whatever is much larger is something else.
_MAX_ARCHIVE_BYTES = 50_000_000
_COLUMNS = ("userId", "movieId", "rating")
# Sizes of the real data set, for a stand-in of the same shape.
_USERS, _ITEMS, _RATINGS = 610, 9_724, 100_836
# Users side by side in the report's heat map of who has whose ratings.
_USERS_PER_GROUP = 10


@dataclass(frozen=True, kw_only=True)
class MovieLensSettings(TaskSettings):
    """Settings of the MovieLens task."""

    name: str = "movielens"
    """Which task."""
    model: Literal["matrix_factorization"] = "matrix_factorization"
    """The model every node trains."""
    num_factors: Annotated[int, Ge(1)] = 20
    """Length of a user's and of an item's vector."""
    batch_size: Annotated[int, Ge(1)] = 8
    """Ratings in one step."""
    lr: Annotated[float, Gt(0)] = 0.2
    """Learning rate of plain SGD."""
    weight_decay: Annotated[float, Ge(0)] = 0.02
    """Penalty on the squared vectors and biases of a batch's users and items."""
    local_steps: Annotated[int, Ge(1)] = 64
    """Steps in one round, H."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.3
    """Share of each user's ratings kept for testing, drawn from the seed."""
    on_missing: Literal["fail", "synthetic"] = "fail"
    """What to do if the data is neither in data_root nor downloadable: stop, or use a generated stand-in."""


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings by number of user and item, each from 0; arrays of equal length."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float32]
    description: str
    standin: bool = False


class MovieLens(Task):
    """Ratings from `data_root`, downloaded there if there is a network."""

    Settings: ClassVar[type[TaskSettings]] = MovieLensSettings
    COST_SETTINGS: ClassVar[tuple[str, ...] | None] = ("num_factors", "batch_size")
    METRIC: ClassVar[tuple[str, Literal["max", "min"]]] = ("rmse", "min")
    # Ratings are 0.5 to 5.
    RANGE: ClassVar[tuple[float, float]] = (0.0, 4.5)

    def __init__(self, settings: Any, data_root: Path, seed: int) -> None:
        super().__init__(settings, data_root, seed)
        self._ratings: Ratings | None = None

    def load(self) -> None:
        try:
            self._take(self._real())
        except DataUnreadable:
            raise  # a broken copy is not a missing one: a stand-in would hide it
        except DataMissing:
            if self.settings.on_missing != "synthetic":
                raise
            self._take(synthetic_ratings(self.seed))

    def load_for_timing(self) -> None:
        self._take(synthetic_ratings(self.seed))

    @property
    def data_shape(self) -> list[int]:
        """[users, items]"""
        return [self._num_users, self._num_items]

    def load_generated(self, data_shape: Sequence[int]) -> None:
        num_users, num_items = data_shape
        # Every user and item twice, so that there is something to test on.
        count = 2 * max(num_users, num_items)
        numbers = np.arange(count, dtype=np.int64)
        values = stream(self.seed, "generated").integers(1, 6, count).astype(np.float32)
        users, items = numbers % num_users, numbers % num_items
        self._take(Ratings(users=users, items=items, values=values, description="noise", standin=True))

    def _real(self) -> Ratings:
        path = self.data_root / _FOLDER / "ratings.csv"
        if path.exists():
            try:
                return _parse(path.read_text(encoding="utf-8-sig"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                raise DataUnreadable(f"{path} cannot be read: {error}", self._remedy()) from None
        archive = self.data_root / _ARCHIVE
        if not archive.exists():
            self._download(archive)
        return self._from_archive(archive)

    def _from_archive(self, archive: Path) -> Ratings:
        try:
            with zipfile.ZipFile(archive) as opened, opened.open(f"{_FOLDER}/ratings.csv") as file:
                text = io.TextIOWrapper(file, encoding="utf-8-sig").read()
        except (zipfile.BadZipFile, KeyError, OSError, UnicodeDecodeError) as error:
            raise DataUnreadable(f"{archive} cannot be read: {error}", self._remedy()) from None
        return _parse(text, f"{archive}: {_FOLDER}/ratings.csv")

    def _download(self, archive: Path) -> None:
        partial = archive.with_name(f".{archive.name}.{os.getpid()}")
        try:
            archive.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(_URL, timeout=_DOWNLOAD_TIMEOUT_S) as answer:
                data = answer.read(_MAX_ARCHIVE_BYTES + 1)
            if len(data) > _MAX_ARCHIVE_BYTES:
                raise OSError(f"the server sent more than {_MAX_ARCHIVE_BYTES:,} bytes")
            partial.write_bytes(data)
            partial.replace(archive)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise DataMissing(
                f"MovieLens is not in {self.data_root}, and cannot be downloaded from {_URL}: {error}",
                self._remedy(),
            ) from None

    def _remedy(self) -> str:
        return (
            f"put {_ARCHIVE}, or its folder {_FOLDER}, into {self.data_root}, or set data_root (or MNBED_DATA) to "
            "where it is, or set task.on_missing: synthetic"
        )

    def _take(self, ratings: Ratings) -> None:
        self._ratings = ratings
        self._num_users = int(ratings.users.max()) + 1
        self._num_items = int(ratings.items.max()) + 1
        self._train, self._test = _split(ratings.users, self.settings.test_fraction, self.seed)
        # The mean of the model, the same on all nodes and not learned.
        self._mean = float(ratings.values[self._train].mean())

    @property
    def ratings(self) -> Ratings:
        """The loaded data. Raises RuntimeError before `load`."""
        if self._ratings is None:
            raise RuntimeError("load() comes first")
        return self._ratings

    @property
    def num_training(self) -> int:
        return len(self._train)

    @property
    def standin(self) -> bool:
        return self.ratings.standin

    @property
    def description(self) -> str:
        sizes = f"{self._num_users:,} users, {self._num_items:,} items"
        split = f"{len(self._train):,} training and {len(self._test):,} test ratings"
        return f"{self.ratings.description}, {sizes}, {split}"

    def partition(self, num_nodes: int) -> list[np.ndarray]:
        """Users dealt out in random order, with all their training ratings; indices into the training ratings."""
        if self._num_users < num_nodes:
            raise ValueError(f"{self._num_users} users cannot be dealt to {num_nodes} nodes")
        order = stream(self.seed, "partition").permutation(self._num_users)
        node_of = np.empty(self._num_users, np.int64)
        node_of[order] = np.arange(self._num_users) % num_nodes
        owner = node_of[self.ratings.users[self._train]]
        return [np.flatnonzero(owner == node) for node in range(num_nodes)]

    def partition_table(self, parts: Sequence[np.ndarray]) -> list[list[int]]:
        groups = -(-self._num_users // _USERS_PER_GROUP)
        users = self.ratings.users[self._train] // _USERS_PER_GROUP
        return [np.bincount(users[part], minlength=groups).tolist() for part in parts]

    def make_model(self) -> torch.nn.Module:
        import torch

        model = torch.nn.Module()
        for name, count in (("user", self._num_users), ("item", self._num_items)):
            drawn = stream(self.seed, "model", name).normal(0, 0.1, (count, self.settings.num_factors))
            vectors = torch.from_numpy(drawn.astype(np.float32))
            model.register_parameter(f"{name}_vectors", torch.nn.Parameter(vectors))
            model.register_parameter(f"{name}_biases", torch.nn.Parameter(torch.zeros(count)))
        return model

    def loss(self, model: torch.nn.Module, indices: np.ndarray) -> torch.Tensor:
        chosen = self._train[indices]
        predicted, touched = self._predict(model, chosen)
        actual = self._tensor(self.ratings.values[chosen])
        loss: torch.Tensor = ((predicted - actual) ** 2).mean() + self.settings.weight_decay * touched.mean()
        return loss

    def evaluate(self, model: torch.nn.Module, num_samples: int | None) -> dict[str, float]:
        """ "rmse": root mean squared error in stars, predictions kept within the scale; "loss": mean squared error."""
        import torch

        order = stream(self.seed, "evaluation").permutation(len(self._test))[:num_samples]
        chosen = self._test[order]
        values = self.ratings.values
        with torch.no_grad():
            predicted, _ = self._predict(model, chosen)
            predicted = predicted.clamp(float(values.min()), float(values.max()))
            error = float(((predicted - self._tensor(values[chosen])) ** 2).mean())
        return {"loss": error, "rmse": error**0.5}

    def _predict(self, model: Any, chosen: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """(predicted ratings, squared norm of all parameters that each prediction is made of)"""
        users, items = self._tensor(self.ratings.users[chosen]), self._tensor(self.ratings.items[chosen])
        p, q = model.user_vectors[users], model.item_vectors[items]
        b_user, b_item = model.user_biases[users], model.item_biases[items]
        predicted = self._mean + b_user + b_item + (p * q).sum(dim=1)
        return predicted, (p**2).sum(dim=1) + (q**2).sum(dim=1) + b_user**2 + b_item**2

    @staticmethod
    def _tensor(values: NDArray[Any]) -> torch.Tensor:
        import torch

        return torch.from_numpy(values)


def _parse(text: str, where: str) -> Ratings:
    """ratings.csv, with either line ending. Raises DataUnreadable with the line."""
    remedy = f"put an unchanged copy of {_ARCHIVE} there"
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, [])
    if tuple(header[:3]) != _COLUMNS:
        raise DataUnreadable(
            f"{where}: the first line is not {','.join(_COLUMNS)},...: {','.join(header)[:60]}", remedy
        )
    users, items, values = [], [], []
    for number, row in enumerate(reader, start=2):
        if not row:
            continue
        try:
            users.append(int(row[0]))
            items.append(int(row[1]))
            values.append(float(row[2]))
        except (ValueError, IndexError):
            raise DataUnreadable(
                f"{where}: line {number} is not a rating: {','.join(row)[:60]}", remedy
            ) from None
    if not users:
        raise DataUnreadable(f"{where}: it holds no ratings", remedy)
    # Numbered without gaps, in the order of the file's own numbers.
    return Ratings(
        users=np.unique(users, return_inverse=True)[1].astype(np.int64),
        items=np.unique(items, return_inverse=True)[1].astype(np.int64),
        values=np.asarray(values, np.float32),
        description="MovieLens (ml-latest-small)",
    )


def _split(
    users: NDArray[np.int64], test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training, test) ratings: of every user that share for testing, and at least one for training."""
    rng = stream(seed, "test-split")
    shuffled = rng.permutation(len(users))
    by_user = shuffled[np.argsort(users[shuffled], kind="stable")]
    counts = np.bincount(users)
    place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    num_test = np.minimum(np.round(counts * test_fraction), counts - 1)
    is_test = place < np.repeat(num_test, counts)
    return np.sort(by_user[~is_test]), np.sort(by_user[is_test])


def synthetic_ratings(seed: int) -> Ratings:
    """A stand-in of the same shape: few films with many ratings, many with few; tastes have four dimensions."""
    rng = stream(seed, "synthetic-ratings")
    popularity = 1 / np.arange(1, _ITEMS + 1) ** 0.8
    activity = 1 / np.arange(1, _USERS + 1) ** 0.6
    users = rng.choice(_USERS, 2 * _RATINGS, p=activity / activity.sum())
    items = rng.choice(_ITEMS, 2 * _RATINGS, p=popularity / popularity.sum())
    pairs = np.unique(users.astype(np.int64) * _ITEMS + items)
    # Every user and every item has a rating, as in the real data.
    every = np.arange(_ITEMS, dtype=np.int64)
    pairs = np.unique(
        np.concatenate([rng.permutation(pairs)[: _RATINGS - _ITEMS], (every % _USERS) * _ITEMS + every])
    )
    users, items = pairs // _ITEMS, pairs % _ITEMS
    tastes, traits = rng.normal(size=(_USERS, 4)), rng.normal(size=(_ITEMS, 4))
    stars = 3.5 + 0.4 * (tastes[users] * traits[items]).sum(axis=1) + 0.4 * rng.normal(size=_ITEMS)[items]
    stars += 0.5 * rng.normal(size=len(pairs))
    return Ratings(
        users=users,
        items=items,
        values=np.clip(np.round(2 * stars) / 2, 0.5, 5).astype(np.float32),
        description="STAND-IN: generated ratings of MovieLens's shape",
        standin=True,
    )
