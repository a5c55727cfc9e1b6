"""Errors of a disk, as its user has to read them: which file, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of a write, which knows no file, leaves with that path as its file name."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def is_full(error: BaseException) -> bool:
    """Whether a disk, or a user's share of it, has no room left."""
    return isinstance(error, OSError) and error.errno in _FULL


def in_words(error: OSError, unknown: Path | str = "") -> str:
    """ "No space left on device: FILE"; `unknown` stands in where the error knows no file."""
    where = str(error.filename or unknown)
    return f"{error.strerror or error}{f': {where}' if where else ''}"


def remedy(error: OSError, unknown: Path | str = "") -> str | None:
    """What to do about it; None where it is no full disk."""
    if not is_full(error):
        return None
    where = Path(str(error.filename or unknown)).parent if error.filename else Path(unknown)
    return f"make room on the disk that holds {where}, or give another --out"
