"""install.sh, .ci/run and the Vagrantfile, as far as they can be tested without network and changes to this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
_INSTALL = _CHECKOUT / "install.sh"
_SCRIPTS = [_INSTALL, _CHECKOUT / ".ci" / "run", _CHECKOUT / "tests" / "guest" / "init.sh"]


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )


def _install_where(prepare: str, *options: str) -> subprocess.CompletedProcess[str]:
    """install.sh in its own mount namespace, after the shell line `prepare`.

    `apt-get` does nothing there but fail: a check that is missed must not install anything.
    """
    if _run("unshare", "--mount", "true").returncode != 0:
        pytest.skip("no mount namespaces here (a chroot, or a container without privileges)")
    line = f'mount --bind /bin/false "$(command -v apt-get)" && {prepare} && exec "$@"'
    return _run("unshare", "--mount", "sh", "-c", line, "sh", _INSTALL, *options)


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_free_of_what_shellcheck_finds(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (install.sh --dev)")
    checked = _run("shellcheck", script)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", _SCRIPTS[:2], ids=lambda path: path.name)
def test_scripts_a_user_starts_are_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)


def test_help_names_every_option() -> None:
    shown = _run(_INSTALL, "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in ("--dev", "--newest", "--force", "--help"))


def test_unknown_option_is_refused() -> None:
    refused = _run(_INSTALL, "--developer")
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
    script = _run(
        "bash", "-c", f"{function[0]}\ncompletion_script zsh", VENV=str(environment)
    ).stdout.rstrip()
    assert script.splitlines()[0] == "#compdef mnbed"
    last = script.splitlines()[-1]
    assert last.startswith("if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _mnbed_completion ")
    assert last.endswith("else compdef _mnbed_completion mnbed; fi")


def test_ci_runs_the_commands_readme_gives() -> None:
    readme = (_CHECKOUT / "README.md").read_text()
    given = re.search(r"^ *sudo (\./install\.sh --dev) && (.*pytest.*?) *(?:#.*)?$", readme, re.MULTILINE)
    assert given, "README gives no line `sudo ./install.sh --dev && ...pytest`"
    assert set(given.groups()) <= set((_CHECKOUT / ".ci" / "run").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"MNBED_CPUS": "4", "MNBED_DATA": "/tmp", "MNBED_DEV": "1"}])
def test_vagrantfile_is_valid(settings: dict[str, str], tmp_path: Path) -> None:
    _need_vagrant()
    checked = _validate(tmp_path, settings)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MNBED_CPUS", "two", "MNBED_CPUS=two is not a whole number"),
        ("MNBED_MEMORY", "512", "MNBED_MEMORY=512: at least 2048"),
        ("MNBED_DATA", "/nowhere", "MNBED_DATA=/nowhere is not a folder"),
    ],
)
def test_vagrantfile_refuses_a_wrong_setting(name: str, value: str, message: str, tmp_path: Path) -> None:
    _need_vagrant()
    refused = _validate(tmp_path, {name: value})
    assert refused.returncode != 0
    assert message in refused.stderr


def _need_vagrant() -> None:
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed (apt-get install vagrant vagrant-libvirt)")


def _validate(folder: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Without a provider, so that none needs to be installed to check the file."""
    places = {"VAGRANT_HOME": f"{folder}/home", "VAGRANT_DOTFILE_PATH": f"{folder}/machine"}
    environment = places | {"VAGRANT_CWD": str(_CHECKOUT / "vagrant"), "VAGRANT_NO_PLUGINS": "1"} | settings
    return _run("vagrant", "validate", "--ignore-provider", **environment)
