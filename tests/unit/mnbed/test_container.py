"""In which container this is, and what is said of what it withholds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mnbed import container
from mnbed.machine import checks
from tests.unit.mnbed.test_machine import GOOD

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", 'engine="podman-4.3.1"\n', "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/environ", "TERM=linux\0container=lxc\0HOME=/", "lxc"),
        ("proc/1/environ", "container=lxc\0", "lxc"),
        ("proc/1/environ", "my_container=no\0", None),
        ("etc/hostname", "docker", None),
    ],
)
def test_kinds_are_told_apart(tmp_path: Path, file: str, text: str, kind: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert container.kind(tmp_path) == kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (None, "on the machine itself, or in a container with --privileged"),
        ("docker", "--security-opt systempaths=unconfined"),
        ("podman", "--security-opt unmask=ALL"),
        ("lxc", "start the lxc container"),
    ],
)
def test_the_remedy_is_the_containers_own(kind: str | None, words: str) -> None:
    facts = replace(GOOD, container=kind, namespaces=False, sysctl=False, missing_capabilities=("SYS_ADMIN",))
    missing = {check.name: check for check in checks(facts) if check.needed and check.ok is False}
    assert set(missing) == {"namespaces", "/proc/sys", "capabilities"}
    for check in missing.values():
        assert words in check.remedy
        assert "docs/container.md" in check.remedy
    assert "SYS_ADMIN (namespaces and mounts)" in missing["capabilities"].detail


def test_the_rights_are_those_of_the_page_and_of_ci() -> None:
    page = (ROOT / "docs" / "container.md").read_text().replace("\\\n", "")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    docker, podman = (
        container.remedy(kind).partition("or ")[2].removesuffix(" (docs/container.md)")
        for kind in ("docker", "podman")
    )
    assert f"docker run --rm {docker} mnbed" in " ".join(page.split())
    assert f"podman run --rm {podman} mnbed" in " ".join(page.split())
    assert docker in " ".join(workflow.split())


@pytest.mark.root
@pytest.mark.parametrize("name", ["NET_ADMIN", "SYS_ADMIN", "SETPCAP"])
def test_root_without_a_capability_is_told_which(name: str) -> None:
    code = "from mnbed.container import missing_capabilities; print(*missing_capabilities())"
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-{name.lower()}", "--inh-caps=-all", sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [name]


@pytest.mark.root
def test_doctor_tells_root_without_rights_that_runs_do_not_work() -> None:
    done = subprocess.run(
        [
            "setpriv",
            "--bounding-set=-sys_admin",
            "--inh-caps=-all",
            sys.executable,
            "-m",
            "mnbed.cli",
            "doctor",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    lines = {
        line.split()[1]: line.split()[0]
        for line in done.stdout.splitlines()
        if line.startswith(("ok", "missing"))
    }
    assert (lines["capabilities"], lines["namespaces"]) == ("missing", "missing")
    assert "Runs do not work here yet; missing: capabilities, namespaces" in done.stdout
