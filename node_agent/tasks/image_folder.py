"""Any images, one folder per class: a folder or an archive with train/<class>/ and test/<class>/, or <class>/ alone.

Decoding tens of thousands of files takes longer than anything else at the start of a run, so it is done once: the
arrays are kept under data_root/cache, keyed by the source, and mapped into memory from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt, MinLen
from numpy.typing import NDArray

from node_agent.streams import stream
from node_agent.tasks._image_files import REMEDY, ImageFile, check_source, fingerprint, image_files
from node_agent.tasks._images import ImageData, ImageTask, ImageTaskSettings
from node_agent.tasks._interface import DataUnreadable, TaskSettings

# Increase this when the cache's layout changes, or what is read into it, so that older caches are rebuilt.
_CACHE_VERSION = 2
# Images are decoded in chunks of this size, and this many are read ahead: bounded memory, work for every core.
_CHUNK_BYTES = 1 << 18
_CHUNKS_AHEAD = 8


@dataclass(frozen=True, kw_only=True)
class ImageFolderSettings(ImageTaskSettings):
    """Settings of the image folder task."""

    name: str = "image_folder"
    """Which task."""
    path: Annotated[str, MinLen(1)]
    """A folder, or a .tar.gz (also .tar, .tar.xz, .zip), of images."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of each class kept for testing, drawn from the seed; only if there are no train and test folders."""
    image_size: Annotated[int, Ge(1)] | None = None
    """Scale every image to this many pixels each way; needed if images differ in size."""


class ImageFolder(ImageTask):
    """Images from `path`."""

    Settings: ClassVar[type[TaskSettings]] = ImageFolderSettings
    COST_SETTINGS: ClassVar[tuple[str, ...] | None] = ("model", "batch_size", "path", "image_size")

    def read_data(self) -> ImageData:
        source = Path(self.settings.path).expanduser()
        check_source(source)
        cache = self.data_root / "cache" / f"images-{self._key(source)}"
        arrays = _read_cache(cache)
        if arrays is None:
            arrays = _decode_all(source, self.settings.image_size)
            arrays = _write_cache(cache, arrays)
        return self._split(source, arrays)

    def _key(self, source: Path) -> str:
        """Changes with the source's path, with its content as far as sizes and times tell, and with the settings."""
        what = [_CACHE_VERSION, str(source.resolve()), self.settings.image_size, fingerprint(source)]
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
            raise DataUnreadable("task.path: too few images to keep some for testing", REMEDY)
        return chosen


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    """All images of a source, training images first."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    num_test: int
    """Test images at the end; -1 if the source has no train and test folders."""


# Decoding


def _decode_all(source: Path, size: int | None) -> _Arrays:
    paths: list[PurePosixPath] = []
    chunks: list[NDArray[np.uint8]] = []
    for names, images in _decoded(source, size):
        _check_sizes(source, [*chunks[:1], *images])
        paths += names
        chunks.append(np.stack(images))
    if not paths:
        raise DataUnreadable(f"task.path: no images in {source}", REMEDY)
    return _arrange(source, paths, chunks)


def _decoded(source: Path, size: int | None) -> Iterator[tuple[list[PurePosixPath], list[NDArray[np.uint8]]]]:
    """Names and pixels (height, width, 3), some images at a time; decoded by all cores while the next are read."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        pending: deque[tuple[list[PurePosixPath], Future[list[NDArray[np.uint8]]]]] = deque()
        for files in _in_chunks(image_files(source)):
            decoding = pool.submit(lambda files: [_decode(file, size) for file in files], files)
            pending.append(([file.path for file in files], decoding))
            if len(pending) > _CHUNKS_AHEAD:
                names, decoding = pending.popleft()
                yield names, decoding.result()
        for names, decoding in pending:
            yield names, decoding.result()


def _in_chunks(files: Iterator[ImageFile]) -> Iterator[list[ImageFile]]:
    chunk: list[ImageFile] = []
    num_bytes = 0
    for file in files:
        chunk.append(file)
        num_bytes += len(file.data)
        if num_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def _check_sizes(source: Path, images: list[NDArray[np.uint8]]) -> None:
    shapes = sorted({image.shape[-3:] for image in images})
    if len(shapes) > 1:
        raise DataUnreadable(
            f"task.path: images in {source} differ in size, for example "
            f"{' and '.join(f'{width}x{height}' for height, width, _ in shapes[:2])}",
            "task.image_size scales them all to one size",
        )


def _decode(file: ImageFile, size: int | None) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(file.data)) as opened:
            image = opened.convert("RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's message names the buffer in memory, which helps nobody.
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise DataUnreadable(f"task.path: {file.path} is not a readable image: {reason}", REMEDY) from error


def _arrange(source: Path, paths: list[PurePosixPath], chunks: list[NDArray[np.uint8]]) -> _Arrays:
    """Labels from folder names; training images first. Empties `chunks`, so that memory holds the images once."""
    names = [path.parent.name for path in paths]
    if any(not name for name in names):
        raise DataUnreadable(f"task.path: {source} has images outside a class folder", REMEDY)
    has_groups = _has_groups(source, paths)
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise DataUnreadable(f"task.path: {source} has one class only, {classes[0]!r}", REMEDY)
    is_test = [has_groups and path.parent.parent.name == "test" for path in paths]
    missing = set(classes) - {name for name, tested in zip(names, is_test, strict=True) if not tested}
    if missing:
        raise DataUnreadable(
            f"task.path: classes without training images: {', '.join(sorted(missing))}", REMEDY
        )
    # By name within each part, so that a folder and an archive of it give the same arrays.
    order = sorted(range(len(paths)), key=lambda row: (is_test[row], str(paths[row])))
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return _Arrays(
        images=_gather(chunks, np.argsort(order)),
        labels=labels[order],
        classes=classes,
        num_test=sum(is_test) if has_groups else -1,
    )


def _has_groups(source: Path, paths: list[PurePosixPath]) -> bool:
    """Whether the class folders lie in train and test; they may also all lie in one place, and nowhere else."""
    places = sorted({path.parent.parent for path in paths})
    if len(places) == 1:
        return False
    if [place.name for place in places] == ["test", "train"] and places[0].parent == places[1].parent:
        return True
    raise DataUnreadable(
        f"task.path: {source} has class folders in {len(places)} places, for example "
        f"{' and '.join(f'{place}/' for place in places[-2:])}",
        REMEDY,
    )


def _gather(chunks: list[NDArray[np.uint8]], targets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(samples, channels, height, width): row i of the chunks goes to row targets[i]."""
    height, width, channels = chunks[0].shape[1:]
    images = np.empty((len(targets), channels, height, width), dtype=np.uint8)
    chunks.reverse()
    begin = 0
    while chunks:
        chunk = chunks.pop()
        images[targets[begin : begin + len(chunk)]] = chunk.transpose(0, 3, 1, 2)
        begin += len(chunk)
    return images


# Cache


def _read_cache(cache: Path) -> _Arrays | None:
    """The cached arrays, mapped into memory; None if there are none, or if they are incomplete."""
    try:
        meta: dict[str, Any] = json.loads((cache / "meta.json").read_text())
        images = np.load(cache / "images.npy", mmap_mode="r")
        labels = np.load(cache / "labels.npy")
        if list(images.shape) != meta["shape"] or len(labels) != len(images):
            return None
        return _Arrays(
            images=images, labels=labels, classes=tuple(meta["classes"]), num_test=meta["num_test"]
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
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
            if cache.exists():  # a broken one, or it would have been read
                os.replace(cache, Path(folder) / "broken")
            os.replace(fresh, cache)
    except OSError as error:
        raise DataUnreadable(
            f"decoded images cannot be kept in {cache.parent}: {error.strerror or error}",
            "data_root (or MNBED_DATA): a folder you may write to, with room",
        ) from error
    return _read_cache(cache) or arrays
