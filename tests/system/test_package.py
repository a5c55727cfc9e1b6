"""mnbed as a package: built as a wheel, installed into an environment of its own, and used far from any checkout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.conftest import CHECKOUT, SHORT, sets

_NOT_SOURCE = (
    ".git",
    ".venv",
    "runs",
    "build",
    "dist",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    ".vagrant",
)


class Package(NamedTuple):
    wheel: Path
    revision: str
    environment: Path
    elsewhere: Path
    """A folder that is no checkout."""

    def __call__(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment, started elsewhere."""
        # Neither the checkout's packages nor git may help.
        variables = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GIT_"))
        }
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            cwd=self.elsewhere,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """Built from a copy of the source, without a network; what mnbed needs is this environment's own."""
    for needed in ("setuptools", "pip"):
        # Not by looking for the module: setuptools objects where distutils was imported before.
        if not [*importlib.metadata.Distribution.discover(name=needed)]:
            pytest.skip(f"{needed} is not installed, and the network is not asked for it")
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(*_NOT_SOURCE))
    revision = _commit(source)
    # As an earlier build of a module that is gone would leave it.
    stale = source / "build" / "lib" / "mnbed" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    _succeed(*build, "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("mnbed-*.whl")
    environment = folder / "environment"
    _succeed(sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(environment))
    (packages,) = environment.glob("lib/python*/site-packages")
    # Behind the environment's own; and a folder that a .pth file adds has none of its own .pth files read, so that
    # nothing of the checkout comes with it.
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "others.pth").write_text("".join(f"{path}\n" for path in others))
    python = str(environment / "bin" / "python")
    _succeed(
        python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--ignore-installed", str(wheel)
    )
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    yield Package(wheel, revision, environment, elsewhere)
    shutil.rmtree(folder)


def _succeed(*command: str, cwd: Path | None = None, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def _commit(source: Path) -> str:
    """Makes a repository of it; its revision. `*.py` is enough of it, and quick."""
    who = {f"GIT_{role}_{key}": "x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    alone = {**who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (["init", "--quiet"], ["add", "mnbed"], ["commit", "--quiet", "--message", "x"]):
        _succeed("git", *arguments, cwd=source, **alone)
    return _succeed("git", "rev-parse", "--short=12", "HEAD", cwd=source, **alone)


def test_the_wheel_has_all_that_is_in_the_packages(package: Package) -> None:
    names = set(zipfile.ZipFile(package.wheel).namelist())
    source = {
        path.relative_to(CHECKOUT).as_posix()
        for folder in ("mnbed", "node_agent", "topologies")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert source - names == set(), "missing: see package-data in pyproject.toml"
    experiments = {
        path.relative_to(CHECKOUT / "experiments") for path in (CHECKOUT / "experiments").rglob("*.yaml")
    }
    assert {f"mnbed/ready_made/{path.as_posix()}" for path in experiments} <= names
    assert any(name.endswith("share/man/man1/mnbed.1") for name in names)
    others = {name for name in names - source if ".data/" not in name and ".dist-info/" not in name}
    assert {name for name in others if not name.startswith("mnbed/ready_made/")} == {"mnbed/revision.txt"}


def test_the_build_leaves_the_source_as_it_was(package: Package) -> None:
    source = package.wheel.parent / "source"
    assert _succeed("git", "status", "--porcelain", "--", "mnbed", cwd=source) == ""


def test_version_and_revision(package: Package) -> None:
    done = package("mnbed", "--version")
    assert done.stderr == ""
    assert done.stdout.endswith(f"({package.revision})\n")


def test_nothing_of_it_comes_from_the_checkout(package: Package) -> None:
    code = (
        "import mnbed, node_agent, topologies; print(*(m.__file__ for m in (mnbed, node_agent, topologies)))"
    )
    for path in package("python", "-c", code).stdout.split():
        assert path.startswith(str(package.environment))


@pytest.mark.root
def test_doctor_finds_all_that_the_checkout_does(package: Package) -> None:
    done = package("mnbed", "doctor")
    here = subprocess.run(
        [sys.executable, "-m", "mnbed.cli", "doctor"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == here.returncode
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        line.split()[:2] for line in here.stdout.splitlines()
    ]


@pytest.mark.root
def test_the_quickstart_runs(package: Package) -> None:
    done = package("mnbed", "run", "quickstart", *sets(*SHORT))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (package.elsewhere / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["status"] == "completed"
    assert json.loads((run / "environment.json").read_text())["git_revision"] == package.revision
    assert (run / "report.html").stat().st_size > 10_000
