"""Writes result files so that nobody ever reads half a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_agent.full_disk import naming


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces `path` at the end, or is removed if writing fails."""
    partial = path.with_name(path.name + ".partial")
    # What is there may be a link to elsewhere; the new file must not be opened through it.
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        with naming(partial):
            yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
