"""The experiments that come with mnbed, which are called by name from anywhere: `mnbed run quickstart`.

A checkout has them in experiments/, an installed package in a folder of its own.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# setup.py puts them there when it builds a package.
_INSTALLED = _PACKAGE / "ready_made"
_IN_CHECKOUT = _PACKAGE.parent / "experiments"


def ready_made() -> dict[str, Path]:
    """Name -> file, sorted; a name is the path below the folder without its ending: reproduction/cifar_small."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _IN_CHECKOUT
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def find(path: Path) -> Path:
    """The ready-made experiment of that name; otherwise `path` as it is. Hyphens and underscores are alike.

    Only what cannot be meant as a file is a name: it has no ending, and nothing but perhaps a folder is there.
    """
    # Of os.path, because Path's own questions fail for names that are too long.
    if path.suffix or path.is_absolute() or (os.path.lexists(path) and not os.path.isdir(path)):
        return path
    return ready_made().get(_canonical(path), path)


def similar(path: Path) -> list[str]:
    """Names that may have been meant by one that does not exist."""
    return difflib.get_close_matches(_canonical(path.with_suffix("")), ready_made(), n=3)


def _canonical(path: Path) -> str:
    return path.as_posix().replace("-", "_")
