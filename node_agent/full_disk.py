"""Disk errors in terms that help the user: which file, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError of a write, which does not know its file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def is_full(error: BaseException) -> bool:
    """Whether a disk, or the user's quota on it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def in_words(error: OSError, unknown: Path | str = "") -> str:
    """ "No space left on device: FILE"; `unknown` is used if the error names no file."""
    where = str(error.filename or unknown)
    return f"{error.strerror or error}{f': {where}' if where else ''}"


def remedy(error: OSError, unknown: Path | str = "") -> str | None:
    """What the user can do; None if the disk is not full."""
    if not is_full(error):
        return None
    where = Path(str(error.filename or unknown)).parent if error.filename else Path(unknown)
    return f"make room on the disk that holds {where}, or give another --out"
