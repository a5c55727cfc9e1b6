"""The locks against what they lock: pyproject.toml, requirements.in, torch's own needs; and against each other."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
# Those of the systems that install.sh supports, and what lies between.
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
# install.sh pins this pair, and takes builds of it that no index of packages has.
_OF_INSTALL_SH = {"torch", "torchvision"}


def entries(lock: str) -> list[Requirement]:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line.split(" --hash=")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def versions(lock: str, environment: dict[str, str]) -> dict[str, Version]:
    """Package -> the one version that is installed there."""
    found: dict[str, list[Version]] = defaultdict(list)
    for entry in entries(lock):
        if entry.marker is None or entry.marker.evaluate(environment):
            (pin,) = entry.specifier
            assert pin.operator == "==", entry
            found[canonicalize_name(entry.name)].append(Version(pin.version))
    assert {name: pins for name, pins in found.items() if len(pins) > 1} == {}
    return {name: pin for name, (pin,) in found.items()}


def environments() -> list[dict[str, str]]:
    here = {key: str(value) for key, value in default_environment().items()}
    of_linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}
    return [
        {
            **here,
            **of_linux,
            "python_version": python,
            "python_full_version": f"{python}.4",
            "platform_machine": machine,
        }
        for python in PYTHONS
        for machine in MACHINES
    ]


each_environment = pytest.mark.parametrize(
    "environment", environments(), ids=lambda one: f"{one['python_version']}-{one['platform_machine']}"
)


def wanted(lock: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    texts += [
        line for line in (ROOT / "requirements.in").read_text().splitlines() if not line.startswith("#")
    ]
    if lock == "requirements-dev.lock":
        texts += project["project"]["optional-dependencies"]["dev"]
    return [Requirement(text) for text in texts if text]


@pytest.mark.parametrize("lock", LOCKS)
@each_environment
def test_a_lock_has_each_dependency_within_its_bounds(lock: str, environment: dict[str, str]) -> None:
    locked = versions(lock, environment)
    for requirement in wanted(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name in locked, f"{lock} has no {requirement.name}: renew it (CONTRIBUTING.md)"
            assert locked[name] in requirement.specifier, (
                f"{lock} has {name} {locked[name]}: renew it (CONTRIBUTING.md)"
            )
    assert not _OF_INSTALL_SH & set(locked)


@each_environment
def test_with_the_test_tools_nothing_else_changes(environment: dict[str, str]) -> None:
    plain, dev = (versions(lock, environment) for lock in LOCKS)
    assert {name: dev.get(name) for name in plain} == plain


@pytest.mark.parametrize("lock", LOCKS)
def test_every_file_is_known_by_its_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    for block in re.findall(r"^\S+==(?:.*\\\n)*.*", text, re.MULTILINE):
        assert "--hash=sha256:" in block, block


def test_what_torch_needs_is_locked() -> None:
    """Else install.sh would take the newest of the day for it."""
    try:
        needs = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("torch is not installed")
    locked = versions("requirements.lock", environments()[0])
    for requirement in map(Requirement, needs):
        # Builds with CUDA name each of their packages in one version.
        exact = any(pin.operator == "==" for pin in requirement.specifier)
        if not exact and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement
