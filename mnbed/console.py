"""The console that commands print to: as wide as the terminal; to a pipe unwrapped, without trailing blanks."""

from __future__ import annotations

import io
import re
import sys
from typing import Any, TextIO

from rich.console import Console

# rich needs a width; no line is this long.
_UNLIMITED = 100_000
_BLANKS = re.compile(r"[ \t]+(?=\n)")


def make_console(**options: Any) -> Console:
    """A console on standard output; `options` are those of rich's Console."""
    if sys.stdout.isatty():
        return Console(**options)
    return Console(**options, file=_Trimmed(sys.stdout), width=_UNLIMITED)


class _Trimmed(io.StringIO):
    """A text file that drops blanks at the ends of lines: rich pads the last column of a table with them."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def write(self, text: str, /) -> int:
        self._file.write(_BLANKS.sub("", text))
        return len(text)

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # rich draws only with characters that it can encode
        return self._file.encoding
