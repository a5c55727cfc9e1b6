"""The revision of mnbed's source."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision() -> str | None:
    """The source's revision, with a + if it was changed since; None outside a checkout.

    Not to be called as root: git runs programs that the checkout's owner configures.
    """
    source = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={source}", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
