"""install.sh, .ci/run and other scripts, as far as that needs neither network nor a change of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.scripts import run_script, run_where

_CHECKOUT = Path(__file__).parents[2]
_INSTALL = _CHECKOUT / "install.sh"
_STARTED = [_INSTALL, _CHECKOUT / ".ci" / "run", *sorted((_CHECKOUT / "vagrant").glob("*.sh"))]
_SCRIPTS = [*_STARTED, _CHECKOUT / "tests" / "guest" / "init.sh"]


def _install_where(prepare: str, *options: str) -> subprocess.CompletedProcess[str]:
    """install.sh in its own mount namespace, after the shell line `prepare`.

    `apt-get` does nothing there but fail: a check that is missed must not install anything.
    """
    return run_where(f'mount --bind /bin/false "$(command -v apt-get)" && {prepare}', _INSTALL, *options)


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_free_of_what_shellcheck_finds(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (install.sh --dev)")
    checked = run_script("shellcheck", script)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", _STARTED, ids=lambda path: path.name)
def test_scripts_a_user_starts_are_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)


def test_help_names_every_option() -> None:
    shown = run_script(_INSTALL, "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in ("--dev", "--newest", "--force", "--help"))


def test_unknown_option_is_refused() -> None:
    refused = run_script(_INSTALL, "--developer")
    assert refused.returncode == 2
    assert "unknown option --developer" in refused.stderr


@pytest.mark.root
def test_without_root_the_message_says_sudo() -> None:
    # Through standard input, because another user need not be able to read this checkout.
    with _INSTALL.open() as script:
        refused = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "bash",
                "-s",
                "--",
                "--dev",
                "--force",
            ],
            stdin=script,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert refused.returncode == 3
    assert "sudo ./install.sh --dev" in refused.stderr


@pytest.mark.root
def test_other_system_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "release").write_text("ID=fedora\nVERSION_ID=43\n")
    refused = _install_where(f"mount --bind '{tmp_path}/release' /etc/os-release")
    assert refused.returncode == 3
    assert "fedora 43" in refused.stderr
    assert "--force" in refused.stderr


@pytest.mark.root
def test_foreign_command_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mnbed").write_text("somebody's own\n")
    refused = _install_where(f"mount --bind '{tmp_path}' /usr/local/bin", "--force")
    assert refused.returncode == 3
    assert "/usr/local/bin/mnbed exists and is not from mnbed" in refused.stderr
    assert (tmp_path / "mnbed").read_text() == "somebody's own\n"


@pytest.mark.root
def test_failing_step_shows_the_end_of_its_output(tmp_path: Path) -> None:
    """dpkg knows no package and apt-get fails: the message names what is not available, or quotes apt for the step."""
    for folder in ("bin", "log", "lock"):
        (tmp_path / folder).mkdir()
    prepare = (
        f"mount --bind /bin/false /usr/bin/dpkg-query && mount --bind '{tmp_path}/bin' /usr/local/bin"
        f" && mount --bind '{tmp_path}/log' /var/log && mount --bind '{tmp_path}/lock' /run/lock"
    )
    failed = _install_where(prepare, "--force")
    assert failed.returncode == 3
    assert "this step failed: installing: mininet" in failed.stderr or "cannot be had" in failed.stderr
    assert "/var/log/mnbed-install.log" in failed.stderr
    assert "apt-get update failed" in (tmp_path / "log" / "mnbed-install.log").read_text()


def test_zsh_completes_on_the_first_press_of_the_key() -> None:
    """It loads the file then: its mark must be on the first line, and what the file defines must answer at once."""
    environment = Path(sys.executable).parents[1]
    if not (environment / "bin" / "mnbed").exists():
        pytest.skip(f"mnbed is not installed in {environment}")
    function = re.search(r"^completion_script\(\) .*?^}$", _INSTALL.read_text(), re.MULTILINE | re.DOTALL)
    assert function
    script = run_script(
        "bash", "-c", f"{function[0]}\ncompletion_script zsh", VENV=str(environment)
    ).stdout.rstrip()
    assert script.splitlines()[0] == "#compdef mnbed"
    last = script.splitlines()[-1]
    assert last.startswith("if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _mnbed_completion ")
    assert last.endswith("else compdef _mnbed_completion mnbed; fi")


@pytest.mark.root
@pytest.mark.parametrize(("architecture", "goes_on"), [("arm64", True), ("amd64", False)])
def test_user_mode_linux_is_demanded_only_where_debian_has_it(
    architecture: str, goes_on: bool, tmp_path: Path
) -> None:
    """On a kernel without netem, with a source for every package but that one."""
    commands = {
        "dpkg": f"echo {architecture}",
        "apt-cache": 'shift; for name; do echo "$name:"; [ "$name" = user-mode-linux ] || echo "  Candidate: 1"; done',
        "tc": "exit 1",
    }
    prepare = "true"
    for name, line in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
        prepare += f" && mount --bind '{tmp_path}/{name}' \"$(command -v {name})\""
    for folder in ("bin", "log", "lock"):
        (tmp_path / folder).mkdir()
    prepare += (
        f" && mount --bind /bin/false /usr/bin/dpkg-query && mount --bind '{tmp_path}/bin' /usr/local/bin"
        f" && mount --bind '{tmp_path}/log' /var/log && mount --bind '{tmp_path}/lock' /run/lock"
    )
    refused = _install_where(prepare, "--force", "--dev")
    assert refused.returncode == 3
    assert ("not needed on this machine: user-mode-linux" in refused.stdout) is goes_on
    assert ("user-mode-linux cannot be had" in refused.stderr) is not goes_on


def test_ci_runs_the_commands_readme_gives() -> None:
    readme = (_CHECKOUT / "README.md").read_text()
    given = re.search(r"^ *sudo (\./install\.sh --dev) && (.*pytest.*?) *(?:#.*)?$", readme, re.MULTILINE)
    assert given, "README gives no line `sudo ./install.sh --dev && ...pytest`"
    assert set(given.groups()) <= set((_CHECKOUT / ".ci" / "run").read_text().splitlines())
