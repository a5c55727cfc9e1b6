"""Dockerfile, .dockerignore and devcontainer.json, as far as no engine is needed."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (install.sh --dev)")
    done = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_told_whether_it_works_and_runs_mnbed() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r'^HEALTHCHECK .*CMD \["mnbed", "doctor"\]$', text, re.MULTILINE)
    assert '\nENTRYPOINT ["mnbed"]\n' in text
    assert "/opt/mnbed/install.sh" in text


def test_nothing_that_is_in_git_is_left_out_of_the_image() -> None:
    """It would be missing, and the image would call its revision modified."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert patterns
    for file in listed.stdout.splitlines():
        places = [file, *(parent.as_posix() for parent in Path(file).parents)]
        for pattern in patterns:
            assert not any(ignores(pattern, place) for place in places), f"{pattern} leaves out {file}"


def ignores(pattern: str, place: str) -> bool:
    """As docker matches them: `**/` is any number of folders; * does not cross one."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(place.rpartition("/")[2], pattern.removeprefix("**/"))
    return place.count("/") == pattern.count("/") and fnmatch.fnmatch(place, pattern)


def test_a_pattern_that_leaves_out_too_much_would_be_found() -> None:
    assert ignores("**/*.egg-info", "x/mnbed.egg-info")
    assert ignores("docs", "docs")
    assert not ignores("runs", "x/runs")


def test_the_development_container_is_set_up_by_install_sh() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    settings = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert settings["privileged"] is True
    assert settings["postCreateCommand"] == "sudo ./install.sh --dev"
