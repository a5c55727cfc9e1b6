"""The loaders, on real files: images made here, CIFAR-10 batches made here, scikit-learn's digits."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from node_agent.tasks import DataMissing, DataUnreadable, Task, create_task
from node_agent.torchvision_shim import import_torchvision_datasets

IID = {"kind": "iid"}


def write_image(path: Path, level: int, size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 255 - level)).save(path)


def make_folder(root: Path, groups: tuple[str, ...] = ("train", "test"), num: int = 5) -> Path:
    for group in groups:
        for label, name in enumerate(("ant", "bee", "cat")):
            for number in range(num):
                write_image(root / group / name / f"{number}.png", 40 * label + number)
    return root


def make_archive(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "top")
    return path


def load(path: Path, data_root: Path, **settings: Any) -> Task:
    plain = {"name": "image_folder", "model": "mlp", "partition": IID, "path": str(path), **settings}
    task = create_task(plain, data_root, 1)
    task.load()
    return task


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    task = load(make_folder(tmp_path / "images"), tmp_path)
    data = task.data
    assert data.classes == ("ant", "bee", "cat")
    assert data.train_images.shape == (15, 3, 4, 6)
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert data.train_images[6, :, 0, 0].tolist() == [41, 0, 214]
    assert data.test_images.shape == (15, 3, 4, 6)
    assert "15 training and 15 test images of 6x4 pixels in 3 classes" in task.description
    assert not task.standin


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    one = load(folder, tmp_path / "a").data
    two = load(make_archive(folder, tmp_path / "images.tar.gz"), tmp_path / "b").data
    assert (one.train_images == two.train_images).all()
    assert (one.test_images == two.test_images).all()
    assert (one.train_labels == two.train_labels).all()


def test_without_a_test_folder_some_of_each_class_are_kept(tmp_path: Path) -> None:
    data = load(make_folder(tmp_path / "images", ("",), num=10), tmp_path, test_fraction=0.3).data
    assert np.bincount(data.test_labels).tolist() == [3, 3, 3]
    assert np.bincount(data.train_labels).tolist() == [7, 7, 7]


def test_the_cache_is_used_and_follows_its_source(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    first = load(folder, tmp_path).data
    (images,) = (tmp_path / "cache").glob("*/images.npy")
    stamp = images.stat().st_mtime_ns
    assert isinstance(load(folder, tmp_path).data.train_images, np.memmap)
    assert images.stat().st_mtime_ns == stamp
    write_image(folder / "train" / "ant" / "0.png", 200)
    os.utime(folder / "train" / "ant" / "0.png", ns=(stamp + 10**9, stamp + 10**9))
    assert (load(folder, tmp_path).data.train_images[0] != first.train_images[0]).any()


def test_a_broken_cache_is_made_anew(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    expected = np.array(load(folder, tmp_path).data.train_images)
    (images,) = (tmp_path / "cache").glob("*/images.npy")
    images.write_bytes(images.read_bytes()[:200])
    assert (load(folder, tmp_path).data.train_images == expected).all()
    assert not list((tmp_path / "cache").glob("tmp*"))


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnreadable, match="cannot be kept in") as error:
        load(make_folder(tmp_path / "images"), tmp_path / "file")
    assert "data_root" in error.value.remedy


def test_images_of_different_sizes_need_image_size(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    write_image(folder / "train" / "ant" / "odd.png", 1, (9, 9))
    with pytest.raises(DataUnreadable, match="2 different shapes, for example 6x4 and 9x9") as error:
        load(folder, tmp_path)
    assert "task.image_size" in error.value.remedy
    assert load(folder, tmp_path, image_size=8).data.train_images.shape == (16, 3, 8, 8)


@pytest.mark.parametrize(
    "kind", ["absent", "empty", "one-class", "no-image", "not-an-archive", "mixed", "half"]
)
def test_unusable_sources_are_said_clearly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "images"
    if kind == "not-an-archive":
        path.write_bytes(b"nothing")
    elif kind != "absent":
        path.mkdir()
    if kind == "one-class":
        write_image(path / "only" / "0.png", 1)
    if kind in ("no-image", "mixed", "half"):
        make_folder(path)
    if kind == "no-image":
        (path / "train" / "ant" / "0.png").write_bytes(b"not an image")
    if kind == "mixed":
        write_image(path / "more" / "ant" / "0.png", 1)
    if kind == "half":
        archive = make_archive(path, tmp_path / "whole.tar.gz")
        path = tmp_path / "half.tar.gz"
        path.write_bytes(archive.read_bytes()[:500])
    words = {
        "absent": "does not exist",
        "empty": "no images in",
        "one-class": "one class only, 'only'",
        "no-image": r"train/ant/0.png is no readable image",
        "not-an-archive": "cannot be read as an archive",
        "mixed": "also more/ant/0.png",
        "half": "cannot be read as an archive",
    }
    with pytest.raises(DataMissing, match=words[kind]) as error:
        load(path, tmp_path / "data")
    assert error.value.remedy


def test_an_archive_cannot_write_anywhere(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        for name in ("../../outside/a/0.png", "../../outside/b/0.png", "x/a/1.png", "x/b/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            archive.addfile(member, io.BytesIO(content.getvalue()))
    load(tmp_path / "evil.tar.gz", tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "evil.tar.gz"]


# CIFAR-10


def cifar(data_root: Path, **settings: Any) -> Task:
    plain = {"name": "cifar10", "model": "mlp", "partition": IID, **settings}
    return create_task(plain, data_root, 1)


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in CIFAR-10's own format, with the checksums that torchvision compares set to theirs."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    sums = {}
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        batch = {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(20)],
        }
        (folder / name).write_bytes(pickle.dumps(batch))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    meta = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    loader = import_torchvision_datasets().CIFAR10
    monkeypatch.setattr(
        loader, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
    )
    monkeypatch.setattr(loader, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(loader, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta})


def test_cifar10_is_read_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    task = cifar(tmp_path)
    task.load()
    assert task.data.train_images.shape == (100, 3, 32, 32)
    assert task.data.test_images.shape == (20, 3, 32, 32)
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "data_batch_1").read_bytes())
    assert (task.data.train_images[:20].reshape(20, -1) == raw["data"]).all()
    assert task.description == "CIFAR-10, 100 training and 20 test images"
    assert not task.standin


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)


def test_missing_cifar10_names_file_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    with pytest.raises(DataMissing, match=r"not in .* and cannot be downloaded") as error:
        cifar(tmp_path).load()
    assert f"put cifar-10-python.tar.gz into {tmp_path}" in error.value.remedy


def test_a_standin_says_so_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    task = cifar(tmp_path, on_missing="synthetic")
    task.load()
    assert task.standin
    assert task.description.startswith("STAND-IN for CIFAR-10")
    assert task.data.train_images.shape[1:] == (3, 32, 32)
    assert np.bincount(task.data.train_labels).min() == 1000


def test_a_broken_copy_is_no_reason_for_a_standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    no_network(monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"broken")
    with pytest.raises(DataUnreadable, match="not whole") as error:
        cifar(tmp_path, on_missing="synthetic").load()
    assert "remove" in error.value.remedy


# Real images


def test_real_images(tmp_path: Path) -> None:
    default = Path(__file__).resolve().parents[4] / "shared/data/cifar-10-jpeg/CIFAR-10-images.tar.gz"
    archive = Path(os.environ.get("MNBED_TEST_IMAGES", default))
    if not archive.exists():
        pytest.skip(f"no real images at {archive}; name some with MNBED_TEST_IMAGES")
    first = load(archive, tmp_path, partition={"kind": "kshard", "shards": 5})
    began = time.monotonic()
    task = load(archive, tmp_path, partition={"kind": "kshard", "shards": 5})
    assert time.monotonic() - began < 5  # mapped, not decoded: about 0.1 s
    assert task.data.train_images.shape == (50_000, 3, 32, 32)
    assert np.bincount(task.data.test_labels).tolist() == [1000] * 10
    assert (task.data.train_images[::5000] == first.data.train_images[::5000]).all()
    table = task.partition_table(task.partition(8))
    assert all(sum(row) == 6250 for row in table)
    assert max(sum(count > 0 for count in row) for row in table) <= 6
