"""Writing result files so that nobody ever reads half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_agent.full_disk import naming


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; takes its place at the end, or goes away where writing failed."""
    partial = path.with_name(path.name + ".partial")
    # What lies there may be a link to elsewhere; the new file is never opened through it.
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        with naming(partial):
            yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
