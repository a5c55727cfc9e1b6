"""Every image file of a folder or an archive, as name and bytes; knows nothing of classes and pixels.

Members of archives are read, never unpacked. What cannot be read to its end is an error: an archive that was
truncated or corrupted must not be mistaken for a smaller data set.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import TarError
from zipfile import BadZipFile

from node_agent.tasks._interface import DataMissing, DataUnreadable

REMEDY = (
    "task.path: a folder, .tar.gz, .tar or .zip with train/<class>/ and test/<class>/, or with <class>/ alone"
)
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
# First bytes of archives and of compressed files.
_ZIP, _GZIP, _BZIP2, _XZ = b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
# A tar archive is made of such blocks and ends in two of zeros (POSIX.1-2017, pax, "ustar Interchange Format").
_TAR_BLOCK = 512
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class ImageFile:
    """One image: its path inside the source, and its encoded bytes."""

    path: PurePosixPath
    data: bytes


def check_source(source: Path) -> None:
    """Raises DataMissing if there is nothing at that path, DataUnreadable if it may not be examined."""
    try:
        source.stat()
    except FileNotFoundError:
        raise DataMissing(f"task.path: {source} does not exist", REMEDY) from None
    except OSError as error:
        raise _unreadable(source, error) from error


def image_files(source: Path) -> Iterator[ImageFile]:
    """Every image file: of a folder by name, of an archive in its own order. Raises DataUnreadable."""
    if source.is_dir():
        return _of_folder(source)
    return _of_archive(source)


def fingerprint(source: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of change (ns) of the archive or of every image: differs when the source does."""
    try:
        files = _walk(source) if source.is_dir() else [source]
        return [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Path, error: Exception) -> DataUnreadable:
    what = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return DataUnreadable(f"task.path: {source} cannot be read: {reason}{what}", REMEDY)


def _is_image(path: PurePosixPath | Path) -> bool:
    # "._x.png" is what macOS keeps beside x.png on foreign file systems and in archives: not an image.
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith("._")


# Folders


def _of_folder(source: Path) -> Iterator[ImageFile]:
    try:
        for file in _walk(source):
            yield ImageFile(PurePosixPath(file.relative_to(source).as_posix()), file.read_bytes())
    except OSError as error:
        raise _unreadable(source, error) from error


def _walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> list[Path]:
    """Sorted. Links to folders are followed, since subsets are often made of them; a link that leads back up is not."""
    stat = folder.stat()
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return []
    images: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir():
                images += _walk(path, above | {here})
            elif _is_image(path):
                images.append(path)
    return sorted(images)


# Archives


def _of_archive(source: Path) -> Iterator[ImageFile]:
    try:
        yield from _of_zip(source) if _start(source).startswith(_ZIP) else _of_tar(source)
    # RuntimeError is zipfile's, for a member with a password or packed in a way it does not know.
    except (OSError, EOFError, RuntimeError, TarError, BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise _not_whole(source, error) from error


def _start(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(8)


def _not_whole(source: Path, reason: object) -> DataUnreadable:
    return DataUnreadable(f"task.path: {source} cannot be read as an archive: {reason}", REMEDY)


def _of_zip(source: Path) -> Iterator[ImageFile]:
    """zipfile compares each member's checksum, and finds no directory in a file that was cut short."""
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if not member.is_dir() and _is_image(path):
                yield ImageFile(path, archive.read(member))


def _of_tar(source: Path) -> Iterator[ImageFile]:
    """tarfile stops silently at a broken header or if the file ends inside one: both are checked for here."""
    end, last = 0, "its beginning"
    with _decompressed(source) as stream:
        extent = _Extent(stream)
        with tarfile.open(fileobj=extent, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                num_blocks = -(-member.size // _TAR_BLOCK) if member.isreg() else 0
                end, last = member.offset_data + num_blocks * _TAR_BLOCK, member.name
                path = PurePosixPath(member.name)
                if not _is_image(path):
                    continue
                if member.islnk() or member.issym():
                    raise _not_whole(
                        source, f"{path} is a link to {member.linkname}; unpack it into a folder"
                    )
                content = archive.extractfile(member)
                if content is not None:
                    yield ImageFile(path, content.read())
        # To the very end, where compressed files have their checksums.
        while extent.read(_READ_BYTES):
            pass
    if extent.num_bytes < end + _TAR_BLOCK:
        raise _not_whole(source, f"it ends after {last}, without an end-of-archive mark")
    if extent.num_used > end:
        raise _not_whole(source, f"it is damaged after {last}")


class _Extent:
    """A stream that knows how much of it was read, and how much of that precedes the zeros at the end."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.num_bytes = 0
        self.num_used = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        used = len(data.rstrip(b"\0"))
        if used:
            self.num_used = self.num_bytes + used
        self.num_bytes += len(data)
        return data


def _decompressed(source: Path) -> io.BufferedIOBase:
    """Opens the file by its first bytes, whatever its name says."""
    start = _start(source)
    if start.startswith(_GZIP):
        return gzip.open(source)
    if start.startswith(_BZIP2):
        return bz2.open(source)
    if start.startswith(_XZ):
        return lzma.open(source)
    return source.open("rb")
