"""Reads files that users name and shows values that users wrote, trusting neither: size, time and text are bounded."""

from __future__ import annotations

import os
import reprlib
import stat
from pathlib import Path
from typing import Any

_MAX_SHOWN = 60
_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxstring, _repr.maxother, _repr.maxlong = 3, _MAX_SHOWN, _MAX_SHOWN, _MAX_SHOWN
_KINDS = {
    stat.S_ISDIR: "a directory",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def brief(value: Any) -> str:
    """Any value for a message, on one short line, however large the value is."""
    try:
        text = _repr.repr(value)
    except ValueError:  # a whole number that Python refuses to write out
        return "a number with thousands of digits"
    return text if len(text) <= 2 * _MAX_SHOWN else text[: 2 * _MAX_SHOWN - 3] + "..."


def read_text(path: Path, max_bytes: int) -> str:
    """A text file in UTF-8, with or without a byte order mark. Never waits for a pipe, never reads without end.

    Raises ValueError that begins with the path; FileNotFoundError if there is none.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            for is_kind, words in _KINDS.items():
                if is_kind(mode):
                    raise ValueError(f"{path}: {words}, not a file")
            raw = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise ValueError(f"{path}: a directory, not a file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{brief(str(path))}: cannot be read: {error}") from None
    if len(raw) > max_bytes:
        raise ValueError(f"{path}: more than {max_bytes:,} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path}: a binary file")
    return text
