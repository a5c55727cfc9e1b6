"""How mnbed starts its own programs, so that no other code can run in their place, and how it is sure of their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_START = Path(__file__).resolve().with_name("start.py")


def our_program(module: str, *arguments: str) -> list[str]:
    """The command line; nothing is imported from the working directory or from the user's site packages (-s)."""
    return [sys.executable, "-s", str(_START), module, *arguments]


def wait_or_kill(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Until a program that knows that it is to end has ended; it is killed after `patience_s` seconds."""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
