"""Runs install.sh and the scripts in vagrant/ for their tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def run_script(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Without standard input; `environment` is added to this process's."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )


def run_where(prepare: str, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a mount namespace of its own, after the shell line `prepare`; skips the test where there are none."""
    if run_script("unshare", "--mount", "true").returncode != 0:
        pytest.skip("no mount namespaces here (a chroot, or a container without privileges)")
    line = f'{prepare} && exec "$@"'
    return run_script("unshare", "--mount", "sh", "-c", line, "sh", *command, **environment)
