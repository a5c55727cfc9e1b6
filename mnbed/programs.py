"""How mnbed starts its own programs, so that no other code can run in their place."""

from __future__ import annotations

import sys
from pathlib import Path

_START = Path(__file__).resolve().with_name("start.py")


def our_program(module: str, *arguments: str) -> list[str]:
    """The command line; nothing is imported from the working directory or from the user's site packages (-s)."""
    return [sys.executable, "-s", str(_START), module, *arguments]
