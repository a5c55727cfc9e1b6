"""Which revision of mnbed this is: asked of git in a checkout, recorded when a package was built of one."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[2]
RECORD = "mnbed/revision.txt"
"""Where a package has it, below the folder of the packages; setup.py writes it."""
# No tag's name matches the empty pattern, so that it is always a hash.
_AS_A_HASH = ("--always", "--match=", "--dirty=+", "--abbrev=12")


def git_revision(source: Path = _SOURCE) -> str | None:
    """The revision's first twelve digits, with + where the source was changed since; None where nobody knows.

    Not to be called as root: git runs programs that the checkout's owner configures.
    """
    # An installed package may lie inside of somebody else's checkout, such as in the .venv of a project.
    if not (source / ".git").exists():
        return _recorded(source)
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={source}", "describe", *_AS_A_HASH],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _recorded(source: Path) -> str | None:
    try:
        return (source / RECORD).read_text().strip() or None
    except OSError:
        return None


def in_words(version: str, revision: str | None) -> str:
    """What `mnbed --version` prints: 0.1.0 (a1b2c3d4e5f6, modified)."""
    if revision is None:
        return f"{version} (revision unknown)"
    return f"{version} ({revision.removesuffix('+')}{', modified' if revision.endswith('+') else ''})"
