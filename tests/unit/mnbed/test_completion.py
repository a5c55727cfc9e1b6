"""What the shell offers on TAB: as bash, zsh and fish ask for it, and once in a real bash with a key pressed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from mnbed import cli
from tests.unit.mnbed.test_cli import HEAVY

COMMAND = Path(sys.executable).with_name("mnbed")
RUN = "20261120-213000-cifar"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder, with experiments and runs."""
    for run in (f"runs/{RUN}", "runs/20261121-080000-digits", "kept/one"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "experiment.yaml").write_text("name: x\n")
    for file in ("mine.yaml", "quick.yml", "notes.txt", "more/own.yaml", "net.graphml", ".hidden.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("name: x\n")
    monkeypatch.chdir(tmp_path)


Offered = Callable[..., list[str]]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offered:
    """What bash is offered for the last of the words; "" for none begun."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_MNBED_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["mnbed", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as end:
            cli.main([])
        assert end.value.code in (None, 0)
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out.split()

    return ask


def test_verbs_and_options(offered: Offered) -> None:
    assert {"run", "plan", "doctor", "topo"} <= set(offered(""))
    assert offered("to") == ["topo"]
    assert set(offered("topo", "")) == {"list", "show", "draw", "convert"}
    assert {"--set", "--out", "--strict"} <= set(offered("run", "--"))


def test_experiments(offered: Offered) -> None:
    found = offered("run", "")
    assert {"quickstart", "cifar_stragglers", "reproduction/cifar_small", "mine.yaml", "quick.yml"} <= set(
        found
    )
    assert {"more/", "runs/"} <= set(found), "folders may hold more"
    assert not {"notes.txt", ".hidden.yaml", "reproduction/cifar_small_sweep"} & set(found)
    assert set(offered("run", "quick")) == {"quickstart", "quick.yml"}
    assert offered("run", "mor") == ["more/own.yaml"], "an only folder is opened"
    assert offered("plan", "quicks") == ["quickstart"]
    assert offered("run", "gone/") == []


def test_sweeps(offered: Offered) -> None:
    assert "reproduction/cifar_small_sweep" in offered("sweep", "repro")
    assert "reproduction/cifar_small" not in offered("sweep", "repro")


def test_runs(offered: Offered) -> None:
    assert offered("report", "") == ["runs/20261120-213000-cifar", "runs/20261121-080000-digits"]
    assert offered("logs", "runs/20261121") == ["runs/20261121-080000-digits"]
    assert offered("compare", f"runs/{RUN}", "ke") == ["kept/one"]


def test_runs_in_the_home_folder(offered: Offered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.getcwd())
    assert offered("report", "~/ke") == ["~/kept/one"]


def test_networks(offered: Offered) -> None:
    assert {"star", "quickstart", "net.graphml"} <= set(offered("topo", "show", ""))
    assert "fat_tree" in offered("topo", "draw", "fat")


@pytest.mark.parametrize("words", ["mnbed run quick", "mnbed report ", "mnbed topo show st"])
def test_nothing_heavy_is_imported(words: str) -> None:
    """What keeps the key from being slow. networkx knows the topology generators; typer asks pydantic for types."""
    code = (
        "import json, sys\nfrom mnbed import cli\n"
        "try:\n    cli.main([])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    asked = {"_MNBED_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip()
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr)}
    allowed = {"pydantic"} | ({"networkx", "yaml"} if "topo" in words else set())
    assert loaded & HEAVY <= allowed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mnbed.cli"],
        env={
            **os.environ,
            "_MNBED_COMPLETE": f"source_{shell}",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mnbed" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=done.stdout, text=True, check=True)


def test_a_key_pressed_in_bash() -> None:
    if not COMMAND.exists():
        pytest.skip(f"mnbed is not installed beside {sys.executable}")
    environment = {
        **os.environ,
        "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
        "TERM": "dumb",
        "PS1": "> ",
    }
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env=environment,
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 200),
    )
    try:
        shell.sendline('eval "$(_MNBED_COMPLETE=source_bash mnbed)"; echo rea""dy')
        shell.expect("ready")
        shell.send("echo; mnbed run quicks\t")
        shell.expect("quickstart ")
        shell.send("--stri\t")
        shell.expect("--strict ")
        shell.sendcontrol("c")
        shell.sendline("exit")
        shell.expect(pexpect.EOF)
    finally:
        shell.close(force=True)


@pytest.mark.root
def test_under_sudo_root_sets_up_nothing_of_its_own(tmp_path: Path) -> None:
    """Completion is set up as the user, in the user's home; nobody has none, which is told without a traceback."""
    asked = {"SUDO_UID": "65534", "SUDO_GID": "65534", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "mnbed.cli", "--install-completion", "bash"],
        env={
            **os.environ,
            **asked,
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("mnbed: error: --install-completion: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".bashrc").exists()
