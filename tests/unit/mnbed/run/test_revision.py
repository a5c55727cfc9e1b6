"""Which revision mnbed says that it is: its own checkout's or its package's, never that of a stranger's checkout."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from mnbed.run.revision import RECORD, git_revision, in_words


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{key}": "x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    # A user's own settings, such as signing, are none of this.
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "mnbed").mkdir(parents=True)
    (folder / "file").write_text("1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "x")
    return folder


def test_a_checkout_is_asked(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert git_revision(checkout) == head[:12]
    (checkout / "file").write_text("2\n")
    assert git_revision(checkout) == f"{head[:12]}+"


def test_a_tag_does_not_take_the_revisions_place(checkout: Path) -> None:
    git(checkout, "tag", "--annotate", "v1", "--message", "x")
    assert git_revision(checkout) == git(checkout, "rev-parse", "HEAD")[:12]


def test_a_packages_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "mnbed").mkdir()
    (tmp_path / RECORD).write_text("a1b2c3d4e5f6+\n")
    assert git_revision(tmp_path) == "a1b2c3d4e5f6+"


def test_a_package_in_somebody_elses_checkout_does_not_take_its_revision(checkout: Path) -> None:
    packages = checkout / ".venv" / "lib" / "site-packages"
    (packages / "mnbed").mkdir(parents=True)
    assert git_revision(packages) is None


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("a1b2c3d4e5f6", "0.1.0 (a1b2c3d4e5f6)"),
        ("a1b2c3d4e5f6+", "0.1.0 (a1b2c3d4e5f6, modified)"),
        (None, "0.1.0 (revision unknown)"),
    ],
)
def test_in_words(revision: str | None, words: str) -> None:
    assert in_words("0.1.0", revision) == words


def test_this_checkout_has_a_revision() -> None:
    revision = git_revision()
    if revision is None:
        pytest.skip("this is no checkout")
    assert re.fullmatch(r"[0-9a-f]{12}\+?", revision)
