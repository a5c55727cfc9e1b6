"""MovieLens: files as published, damaged files, the split by user, and that training learns something."""

from __future__ import annotations

import os
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node_agent.streams import stream
from node_agent.tasks import DataMissing, DataUnreadable, create_task
from node_agent.tasks.movielens import MovieLens, synthetic_ratings
from node_agent.training import FlatModel, Trainer

HEADER = "userId,movieId,rating,timestamp"
# Users 7 and 9, films 10, 20 and 3000.
ROWS = [
    "7,10,4.0,964982703",
    "7,3000,0.5,964981247",
    "9,20,5.0,1",
    "9,10,3.5,2",
    "9,3000,2.0,3",
    "9,30,1.0,4",
]


def task(folder: Path, **settings: Any) -> MovieLens:
    movielens = create_task({"name": "movielens", **settings}, folder, 1)
    assert isinstance(movielens, MovieLens)
    return movielens


def put(folder: Path, text: str) -> Path:
    (folder / "ml-latest-small").mkdir()
    (folder / "ml-latest-small" / "ratings.csv").write_bytes(text.encode())
    return folder


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_either_line_ending_is_read(tmp_path: Path, ending: str) -> None:
    movielens = task(put(tmp_path, ending.join([HEADER, *ROWS]) + ending))
    movielens.load()
    ratings = movielens.ratings
    assert ratings.users.tolist() == [0, 0, 1, 1, 1, 1]
    assert ratings.items.tolist() == [0, 3, 1, 0, 3, 2]
    assert ratings.values.tolist() == [4.0, 0.5, 5.0, 3.5, 2.0, 1.0]
    assert not movielens.standin
    assert "2 users, 4 items, 4 training and 2 test ratings" in movielens.description


def test_the_archive_as_it_is_downloaded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-latest-small.zip", "w") as archive:
        archive.writestr("ml-latest-small/ratings.csv", "\n".join([HEADER, *ROWS]))
    movielens = task(tmp_path)
    movielens.load()
    assert len(movielens.ratings.values) == 6


def test_a_download_goes_to_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is a file: the code that downloads and stores is the real one."""
    with zipfile.ZipFile(tmp_path / "served.zip", "w") as archive:
        archive.writestr("ml-latest-small/ratings.csv", "\n".join([HEADER, *ROWS]))
    monkeypatch.setattr("node_agent.tasks.movielens._URL", (tmp_path / "served.zip").as_uri())
    movielens = task(tmp_path / "data")
    movielens.load()
    assert (tmp_path / "data" / "ml-latest-small.zip").exists()
    assert len(movielens.ratings.values) == 6


def test_missing_data_names_the_remedy_or_gives_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    with pytest.raises(DataMissing) as error:
        task(tmp_path).load()
    assert "no route to host" in str(error.value)
    assert "ml-latest-small.zip" in error.value.remedy
    assert list(tmp_path.iterdir()) == []
    movielens = task(tmp_path, on_missing="synthetic")
    movielens.load()
    assert movielens.standin


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the first line is not userId,movieId,rating"),
        ("a,b\n1,2\n", "the first line is not"),
        (f"{HEADER}\n", "it holds no ratings"),
        (f"{HEADER}\n1,2,x,3\n", "line 2 is not a rating: 1,2,x,3"),
        (f"{HEADER}\n1,2,3.0,4\n1\n", "line 3 is not a rating"),
    ],
)
def test_a_broken_file_is_reported_and_never_replaced(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataUnreadable) as error:
        task(put(tmp_path, text), on_missing="synthetic").load()
    assert words in str(error.value)


def test_a_broken_archive_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ml-latest-small.zip").write_bytes(b"not a zip")
    with pytest.raises(DataUnreadable, match="cannot be read"):
        task(tmp_path).load()


def test_every_users_ratings_are_split_and_stay_on_one_node(tmp_path: Path) -> None:
    movielens = task(tmp_path, on_missing="synthetic")
    movielens.load_for_timing()
    users = movielens.ratings.users
    assert len(set(movielens._train) & set(movielens._test)) == 0
    assert len(movielens._train) + len(movielens._test) == len(users)
    shares = np.bincount(users[movielens._test], minlength=610) / np.bincount(users)
    assert abs(float(shares.mean()) - 0.3) < 0.02
    assert np.bincount(users[movielens._train], minlength=610).min() >= 1
    parts = movielens.partition(7)
    owners = [set(users[movielens._train[part]]) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 610
    assert max(map(len, owners)) - min(map(len, owners)) <= 1
    table = np.array(movielens.partition_table(parts))
    assert table.shape == (7, 61)
    assert table.sum() == len(movielens._train)
    with pytest.raises(ValueError, match="610 users cannot be dealt to 611 nodes"):
        movielens.partition(611)


def test_the_stand_in_has_the_real_shape_and_follows_the_seed() -> None:
    first, same, other = synthetic_ratings(1), synthetic_ratings(1), synthetic_ratings(2)
    assert (first.users.max(), first.items.max()) == (609, 9723)
    assert abs(len(first.values) - 100_836) < 3000
    assert set(first.values.tolist()) <= {half / 2 for half in range(1, 11)}
    assert first.values.tobytes() == same.values.tobytes() != other.values.tobytes()


def test_the_model_predicts_by_its_formula(tmp_path: Path) -> None:
    import torch

    movielens = task(put(tmp_path, "\n".join([HEADER, *ROWS])), num_factors=2)
    movielens.load()
    model: Any = movielens.make_model()
    assert FlatModel(movielens.make_model()).num_parameters == (2 + 4) * 3
    with torch.no_grad():
        model.user_vectors[0] = torch.tensor([1.0, 2.0])
        model.item_vectors[3] = torch.tensor([3.0, 0.5])
        model.user_biases[0], model.item_biases[3] = 0.25, -0.5
        predicted, _ = movielens._predict(model, np.array([1]))
    mean = movielens.ratings.values[movielens._train].mean()
    assert float(predicted[0]) == pytest.approx(float(mean) + 0.25 - 0.5 + 1 * 3 + 2 * 0.5, abs=1e-5)


REAL = Path(os.environ.get("MNBED_TEST_RATINGS", Path(__file__).parents[4] / "shared/data"))


def test_real_ratings_are_learned() -> None:
    if not (REAL / "ml-latest-small").exists():
        pytest.skip(f"no real ratings in {REAL}; name their folder with MNBED_TEST_RATINGS")
    movielens = task(REAL)
    movielens.load()
    assert "610 users, 9,724 items" in movielens.description
    assert movielens.num_training + len(movielens._test) == 100_836
    model = FlatModel(movielens.make_model())
    assert model.num_parameters == 217_014
    before = movielens.evaluate(model.module, None)["rmse"]
    trainer = Trainer(movielens, model, np.arange(movielens.num_training), stream(1, "test"))
    for _ in range(1500):
        trainer.step()
    after = movielens.evaluate(model.module, None)["rmse"]
    # The global mean alone gives 1.04; biases and factors get to 0.89 in the end.
    assert 1.0 < before < 1.1
    assert after < 0.96
