"""The loaders, on real files: images made here, CIFAR-10 batches made here, scikit-learn's digits."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from node_agent.tasks import DataMissing, DataUnreadable, create_task
from node_agent.tasks._image_files import image_files
from node_agent.tasks._images import ImageTask
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


def load(path: Path, data_root: Path, **settings: Any) -> ImageTask:
    plain = {"name": "image_folder", "model": "mlp", "partition": IID, "path": str(path), **settings}
    task = create_task(plain, data_root, 1)
    assert isinstance(task, ImageTask)
    task.load()
    return task


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    write_image(folder / "train" / "ant" / "more.png", 99)
    task = load(folder, tmp_path)
    data = task.data
    assert data.classes == ("ant", "bee", "cat")
    assert data.train_images.shape == (16, 3, 4, 6)
    assert data.train_labels.tolist() == [0] * 6 + [1] * 5 + [2] * 5
    levels = [0, 1, 2, 3, 4, 99, *range(40, 45), *range(80, 85)]
    assert data.train_images[:, 0, 0, 0].tolist() == levels
    assert data.train_images[:, 2, 3, 5].tolist() == [255 - level for level in levels]
    assert data.test_images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, *range(40, 45), *range(80, 85)]
    assert "16 training and 15 test images of 6x4 pixels in 3 classes" in task.description
    assert not task.standin


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    unpacked = load(folder, tmp_path / "a").data
    packed = load(make_archive(folder, tmp_path / "images.tar.gz"), tmp_path / "b").data
    assert (unpacked.train_images == packed.train_images).all()
    assert (unpacked.test_images == packed.test_images).all()
    assert (unpacked.train_labels == packed.train_labels).all()


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


def test_a_broken_cache_is_rebuilt(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    expected = np.array(load(folder, tmp_path).data.train_images)
    (images,) = (tmp_path / "cache").glob("*/images.npy")
    meta = images.with_name("meta.json")
    for file, content in ((images, images.read_bytes()[:200]), (images, b""), (meta, b"[]"), (meta, b"{")):
        file.write_bytes(content)
        assert (load(folder, tmp_path).data.train_images == expected).all()
    assert not list((tmp_path / "cache").glob("tmp*"))


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnreadable, match="cannot be kept in") as error:
        load(make_folder(tmp_path / "images"), tmp_path / "file")
    assert "data_root" in error.value.remedy


def test_images_of_different_sizes_need_image_size(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    write_image(folder / "train" / "ant" / "odd.png", 1, (9, 9))
    with pytest.raises(DataUnreadable, match="differ in size, for example 6x4 and 9x9") as error:
        load(folder, tmp_path)
    assert "task.image_size" in error.value.remedy
    assert load(folder, tmp_path, image_size=8).data.train_images.shape == (16, 3, 8, 8)


def test_a_truncated_or_corrupt_archive_is_refused(tmp_path: Path) -> None:
    """Cut anywhere, even between two members; or with one byte changed, in a checksum as well as in a header."""
    folder = make_folder(tmp_path / "images", num=2)
    source = make_archive(folder, tmp_path / "packed.tar.gz")
    whole = list(image_files(source))
    packed = source.read_bytes()
    plain = gzip.decompress(packed)
    end = len(plain.rstrip(b"\0"))
    damaged = [packed[:length] for length in range(20, len(packed), 7)]
    damaged += [plain[:length] for length in range(512, end, 256)]
    # A header whose checksum no longer fits: tarfile would stop there, and lose all members after it.
    damaged += [change(plain, match.start()) for match in re.finditer(b"ustar", plain)]
    zipped = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder)).read_bytes()
    damaged += [zipped[:length] for length in range(20, len(zipped), 97)]
    for content in damaged:
        source.write_bytes(content)
        with pytest.raises(DataUnreadable, match="cannot be read as an archive"):
            list(image_files(source))
    # The same content may compress to other bytes: then nothing is lost.
    num_refused = 0
    for place in range(20, len(packed), 17):
        source.write_bytes(change(packed, place))
        try:
            assert list(image_files(source)) == whole
        except DataUnreadable:
            num_refused += 1
    assert num_refused > 0.8 * len(packed) / 17


def change(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


@pytest.mark.parametrize("form", ["tar", "gztar", "bztar", "xztar", "zip"])
def test_archives_of_every_kind_are_read(tmp_path: Path, form: str) -> None:
    folder = make_folder(tmp_path / "images", num=2)
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), form, folder))
    unpacked, packed = load(folder, tmp_path / "a").data, load(archive, tmp_path / "b").data
    assert (unpacked.train_images == packed.train_images).all()
    assert (unpacked.test_labels == packed.test_labels).all()


def test_images_behind_links_count(tmp_path: Path) -> None:
    """A class that is a link to a folder; a link back up must not be followed for ever."""
    folder = make_folder(tmp_path / "images", num=2)
    write_image(tmp_path / "elsewhere" / "0.png", 9)
    for group in ("train", "test"):
        (folder / group / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "back").symlink_to(folder)
    assert load(folder, tmp_path).data.classes == ("ant", "bee", "cat", "dog")


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", num=2)
    (folder / "train" / "ant" / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataUnreadable, match=r"cannot be read: No such file .*gone\.png"):
        load(folder, tmp_path)


def test_what_macos_keeps_beside_an_image_is_not_an_image(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", num=2)
    (folder / "train" / "ant" / "._0.png").write_bytes(b"Mac OS X")
    assert len(load(folder, tmp_path).data.train_labels) == 6


@pytest.mark.parametrize(
    "kind", ["absent", "empty", "one-class", "no-image", "not-an-archive", "mixed", "val", "half", "linked"]
)
def test_unusable_sources_are_reported_clearly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "images"
    if kind == "not-an-archive":
        path.write_bytes(b"nothing")
    elif kind != "absent":
        path.mkdir()
    if kind == "one-class":
        write_image(path / "only" / "0.png", 1)
    if kind in ("no-image", "mixed", "half", "linked"):
        make_folder(path)
    if kind == "val":
        make_folder(path, ("train", "val"))
    if kind == "no-image":
        (path / "train" / "ant" / "0.png").write_bytes(b"not an image")
    if kind == "mixed":
        write_image(path / "more" / "ant" / "0.png", 1)
    if kind == "linked":
        os.link(path / "train" / "ant" / "0.png", path / "train" / "ant" / "00.png")
        path = make_archive(path, tmp_path / "linked.tar.gz")
    if kind == "half":
        archive = make_archive(path, tmp_path / "whole.tar.gz")
        path = tmp_path / "half.tar.gz"
        path.write_bytes(archive.read_bytes()[:500])
    words = {
        "absent": "does not exist",
        "empty": "no images in",
        "one-class": "one class only, 'only'",
        "no-image": r"train/ant/0.png is not a readable image: not an image$",
        "not-an-archive": "cannot be read as an archive",
        "mixed": "class folders in 3 places, for example test/ and train/",
        "val": "class folders in 2 places, for example train/ and val/",
        "linked": r"00?\.png is a link to .*unpack it",
        "half": "cannot be read as an archive",
    }
    with pytest.raises(DataMissing, match=words[kind]) as error:
        load(path, tmp_path / "data")
    assert error.value.remedy


def test_an_archive_cannot_write_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        for name in ("../../x/a/0.png", "../../x/a/1.png", "../../x/b/0.png", "../../x/b/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            archive.addfile(member, io.BytesIO(content.getvalue()))
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert load(tmp_path / "evil.tar.gz", tmp_path / "data").num_training == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "evil.tar.gz", "one"]
    assert list(inner.iterdir()) == []


# CIFAR-10


def cifar(data_root: Path, **settings: Any) -> ImageTask:
    plain = {"name": "cifar10", "model": "mlp", "partition": IID, **settings}
    task = create_task(plain, data_root, 1)
    assert isinstance(task, ImageTask)
    return task


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in CIFAR-10's own format, and torchvision's expected checksums set to theirs."""
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


def test_a_broken_copy_is_not_replaced_by_a_standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    no_network(monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"broken")
    with pytest.raises(DataUnreadable, match="incomplete") as error:
        cifar(tmp_path, on_missing="synthetic").load()
    assert "remove" in error.value.remedy


# Real images


@pytest.mark.slow
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
