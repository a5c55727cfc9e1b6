"""Where commands print to: a terminal as wide as it is; a pipe in whole lines, without blanks at their ends."""

from __future__ import annotations

import io
import re
import sys
from typing import Any, TextIO

from rich.console import Console

# rich wants a width. No line of ours is as long.
_UNLIMITED = 100_000
_BLANKS = re.compile(r"[ \t]+(?=\n)")


def make_console(**options: Any) -> Console:
    """A console on standard output, as rich's own where that is a terminal. `options` are rich's."""
    if sys.stdout.isatty():
        return Console(**options)
    return Console(**options, file=_Trimmed(sys.stdout), width=_UNLIMITED)


class _Trimmed(io.StringIO):
    """A text file without blanks at the ends of lines: rich fills a table's last column up with them."""

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
    def encoding(self) -> str:  # type: ignore[override]  # rich draws with what it can hold
        return self._file.encoding
