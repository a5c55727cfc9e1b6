"""The last line of a test session: what was skipped, and why. Seen on whole sessions with our conftest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
_TESTS = """
import pytest

def test_that_passes(): pass

@pytest.mark.parametrize("one", [1, 2])
def test_of_data(one): pytest.skip("no real ratings in /data")

@pytest.mark.skipif(True, reason="no vagrant here")
def test_of_vagrant(): pass

@pytest.mark.root
def test_of_root(): pass
"""


def session(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A pytest session of its own, over a folder with one test file and our conftest."""
    (folder / "test_these.py").write_text(_TESTS)
    (folder / "conftest.py").write_bytes((_CHECKOUT / "tests/conftest.py").read_bytes())
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        str(_CHECKOUT / "pyproject.toml"),
    ]
    return subprocess.run(
        [*before, *command, "--rootdir", str(folder), *arguments, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        # Our conftest imports its neighbour.
        env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        timeout=60,
    )


@pytest.mark.parametrize("how", ["-v", "-q", "-qq"])
def test_the_last_line_says_what_was_skipped_and_why(how: str, tmp_path: Path) -> None:
    done = session(tmp_path, how, "-m", "not root")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == (
        "NOT TESTED HERE, 3 skipped: 2 because: no real ratings in /data; 1 because: no vagrant here"
    )


def test_a_session_without_skips_ends_as_ever(tmp_path: Path) -> None:
    done = session(tmp_path, "-k", "passes")
    assert "1 passed" in done.stdout.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo .venv/bin/pytest")
@pytest.mark.parametrize("lost", ["sys_admin", "net_admin"])
def test_root_without_the_right_to_make_networks_skips_root_tests(lost: str, tmp_path: Path) -> None:
    drop = ("setpriv", f"--bounding-set=-{lost}", f"--inh-caps=-{lost}")
    done = session(tmp_path, "-k", "of_root", before=drop)
    assert done.returncode == 0, done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("NOT TESTED HERE, 1 skipped: 1 because: no network namespaces here ("), last
    assert "not permitted" in last
    assert "--privileged" in last
