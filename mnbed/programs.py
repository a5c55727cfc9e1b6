"""How a program of ours is started, so that it is ours and nobody else's that runs."""

from __future__ import annotations

import sys
from pathlib import Path

_START = Path(__file__).resolve().with_name("start.py")


def our_program(module: str, *arguments: str) -> list[str]:
    """The command line; nothing is imported from the folder that the user stands in, or from his home (-s)."""
    return [sys.executable, "-s", str(_START), module, *arguments]
