"""Any images, one folder per class: a folder or an archive with train/<class>/ and test/<class>/, or <class>/ alone.

Decoding tens of thousands of files takes longer than anything else at the start of a run, so it is done once: the
arrays are kept under data_root/cache, by what the source was, and mapped into memory from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt, MinLen
from numpy.typing import NDArray

from node_agent.streams import stream
from node_agent.tasks._images import ImageData, ImageTask, ImageTaskSettings
from node_agent.tasks._interface import DataMissing, DataUnreadable, TaskSettings

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
# Raised with the cache's layout, so that an older one is made anew.
_CACHE_VERSION = 1
# Archives are read in pieces of this many images: bounded memory, and work for every core.
_CHUNK = 2000
_REMEDY = "task.path: a folder or .tar.gz with train/<class>/ and test/<class>/, or <class>/ alone"


@dataclass(frozen=True, kw_only=True)
class ImageFolderSettings(ImageTaskSettings):
    """Settings of the image folder task."""

    name: str = "image_folder"
    """Which task."""
    path: Annotated[str, MinLen(1)]
    """A folder, or a .tar, .tar.gz or .tgz, of images."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of each class kept for testing, drawn from the seed; only where there are no train and test folders."""
    image_size: Annotated[int, Ge(1)] | None = None
    """Scale every image to this many pixels each way; needed where images differ in size."""


@dataclass(frozen=True)
class _Entry:
    """One image: where it was found, and its encoded bytes."""

    path: PurePosixPath
    data: bytes


class ImageFolder(ImageTask):
    """Images from `path`."""

    Settings: ClassVar[type[TaskSettings]] = ImageFolderSettings

    def read_data(self) -> ImageData:
        source = Path(self.settings.path).expanduser()
        if not source.exists():
            raise DataMissing(f"task.path: {source} does not exist", _REMEDY)
        cache = self.data_root / "cache" / f"images-{self._key(source)}"
        arrays = _read_cache(cache)
        if arrays is None:
            arrays = _decode_all(source, self.settings.image_size)
            arrays = _write_cache(cache, arrays)
        return self._split(source, arrays)

    def _key(self, source: Path) -> str:
        """Changes with the source's place, content as far as sizes and times tell, and with the settings."""
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        stats = [
            (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()
        ]
        what = [_CACHE_VERSION, str(source.resolve()), self.settings.image_size, stats]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:20]

    def _split(self, source: Path, arrays: _Arrays) -> ImageData:
        labels, images = arrays.labels, arrays.images
        if arrays.num_test >= 0:
            train = slice(0, len(labels) - arrays.num_test)
            test = slice(len(labels) - arrays.num_test, None)
            train_images, test_images = images[train], images[test]
            train_labels, test_labels = labels[train], labels[test]
        else:
            chosen = self._draw_test(labels)
            train_images, test_images = images[~chosen], images[chosen]
            train_labels, test_labels = labels[~chosen], labels[chosen]
        height, width = images.shape[2:]
        return ImageData(
            train_images=train_images,
            train_labels=train_labels,
            test_images=test_images,
            test_labels=test_labels,
            classes=arrays.classes,
            description=f"{source.name}, {len(train_labels):,} training and {len(test_labels):,} test images of "
            f"{width}x{height} pixels in {len(arrays.classes)} classes",
        )

    def _draw_test(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        rng = stream(self.seed, "test-split")
        chosen = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            chosen[members[: max(1, round(self.settings.test_fraction * len(members)))]] = True
        if chosen.all():
            raise DataUnreadable("task.path: too few images to keep some for testing", _REMEDY)
        return chosen


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    """All images of a source, training images first."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    num_test: int
    """Test images at the end; -1 where the source has no train and test folders."""


# Decoding


def _entries(source: Path) -> Iterator[_Entry]:
    """Every image file of the source, in the order of names in a folder and of members in an archive."""
    if source.is_dir():
        for file in sorted(source.rglob("*")):
            if file.suffix.lower() in _SUFFIXES and file.is_file():
                yield _Entry(PurePosixPath(file.relative_to(source).as_posix()), file.read_bytes())
        return
    try:
        # Members are read, never unpacked: a name such as ../../etc/passwd does nothing.
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if member.isfile() and path.suffix.lower() in _SUFFIXES:
                    content = archive.extractfile(member)
                    assert content is not None
                    yield _Entry(path, content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataUnreadable(f"task.path: {source} cannot be read as an archive: {error}", _REMEDY) from error


def _decode_all(source: Path, size: int | None) -> _Arrays:
    paths: list[PurePosixPath] = []
    pixels: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for chunk in _chunks(_entries(source)):
            paths += [entry.path for entry in chunk]
            pixels += pool.map(lambda entry: _decode(entry, size), chunk)
    if not paths:
        raise DataUnreadable(f"task.path: no images in {source}", _REMEDY)
    shapes = {image.shape for image in pixels}
    if len(shapes) > 1:
        raise DataUnreadable(
            f"task.path: images in {source} have {len(shapes)} different shapes, for example "
            f"{' and '.join(f'{w}x{h}' for h, w, _ in sorted(shapes)[:2])}",
            "task.image_size scales them all to one size",
        )
    return _arrange(source, paths, np.stack(pixels).transpose(0, 3, 1, 2))


def _chunks(entries: Iterator[_Entry]) -> Iterator[list[_Entry]]:
    chunk: list[_Entry] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    yield chunk


def _decode(entry: _Entry, size: int | None) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(entry.data)) as file:
            image = file.convert("RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataUnreadable(f"task.path: {entry.path} is no readable image: {error}", _REMEDY) from error


def _arrange(source: Path, paths: list[PurePosixPath], images: NDArray[np.uint8]) -> _Arrays:
    """Labels from folder names; training images first."""
    names = [path.parent.name for path in paths]
    groups = [path.parent.parent.name for path in paths]
    if any(not name for name in names):
        raise DataUnreadable(f"task.path: {source} has images outside a class folder", _REMEDY)
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise DataUnreadable(f"task.path: {source} has one class only, {classes[0]!r}", _REMEDY)
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    # By name within each part, so that a folder and an archive of it give the same arrays.
    order = sorted(range(len(paths)), key=lambda row: (groups[row] == "test", str(paths[row])))
    if not {"train", "test"} <= set(groups):
        order, num_test = sorted(range(len(paths)), key=lambda row: str(paths[row])), -1
    elif set(groups) != {"train", "test"}:
        odd = next(path for path, group in zip(paths, groups, strict=True) if group not in ("train", "test"))
        raise DataUnreadable(f"task.path: {source} has train and test folders, but also {odd}", _REMEDY)
    else:
        num_test = groups.count("test")
        missing = set(names) - {name for name, group in zip(names, groups, strict=True) if group == "train"}
        if missing:
            raise DataUnreadable(
                f"task.path: classes without training images: {', '.join(sorted(missing))}", _REMEDY
            )
    return _Arrays(
        images=np.ascontiguousarray(images[order]), labels=labels[order], classes=classes, num_test=num_test
    )


# Cache


def _read_cache(cache: Path) -> _Arrays | None:
    """The cached arrays, mapped into memory; None where there are none, or none that are whole."""
    try:
        meta: dict[str, Any] = json.loads((cache / "meta.json").read_text())
        images = np.load(cache / "images.npy", mmap_mode="r")
        labels = np.load(cache / "labels.npy")
        if list(images.shape) != meta["shape"] or len(labels) != len(images):
            return None
        return _Arrays(
            images=images, labels=labels, classes=tuple(meta["classes"]), num_test=meta["num_test"]
        )
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _write_cache(cache: Path, arrays: _Arrays) -> _Arrays:
    """Write to a temporary folder and rename it: a reader never sees half a cache. Returns the mapped arrays."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            fresh = Path(folder) / "cache"
            fresh.mkdir()
            np.save(fresh / "images.npy", arrays.images)
            np.save(fresh / "labels.npy", arrays.labels)
            meta = {"shape": arrays.images.shape, "classes": arrays.classes, "num_test": arrays.num_test}
            (fresh / "meta.json").write_text(json.dumps(meta))
            if cache.exists():  # a broken one, else it had been read
                os.replace(cache, Path(folder) / "broken")
            os.replace(fresh, cache)
    except OSError as error:
        raise DataUnreadable(
            f"decoded images cannot be kept in {cache.parent}: {error.strerror or error}",
            "data_root (or MNBED_DATA): a folder you may write to, with room",
        ) from error
    return _read_cache(cache) or arrays
