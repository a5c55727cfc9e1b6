"""The command line: verbs, help, exit statuses, messages instead of tracebacks; and the verbs `plan` and `doctor`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mnbed import __version__, cli
from mnbed.errors import InputError, Interrupted, MachineError, RunError

GOLDEN = Path(__file__).parent / "golden"
EXPERIMENTS = Path(__file__).parents[3] / "experiments"
HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "mininet",
    "matplotlib",
    "pydantic",
    "networkx",
    "rich",
    "yaml",
    "jinja2",
}


def run(*arguments: str) -> int:
    """`mnbed ARGUMENTS` in this process; its exit status."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    code = end.value.code
    assert code is None or isinstance(code, int), code
    return code or 0


class Verb:
    """A verb for tests, as a command module would be: raises or returns its outcome."""

    outcome: object = None

    def main(self, word: str = "") -> object:
        print(f"word {word}")
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Stands as `mnbed try`."""
    verb = Verb()
    monkeypatch.setattr(cli, "verbs", lambda: {"try": verb, "other": verb})
    return verb


# --- help and start ---


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["doctor", "--help"]], ids="-".join)
def test_help_reads_as_agreed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed text is looked at, then accepted with MNBED_ACCEPT_HELP=1."""
    monkeypatch.setenv("COLUMNS", "100")
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    golden = GOLDEN / ("-".join(word.strip("-") for word in arguments) + ".txt")
    if os.environ.get("MNBED_ACCEPT_HELP"):
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_start_imports_nothing_heavy() -> None:
    """What keeps `mnbed --help` under 0.3 s."""
    code = (
        "import json, sys\nfrom mnbed import cli\n"
        "try:\n    cli.main(['--help'])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr)}
    assert "plan" in done.stdout
    assert loaded & HEAVY == set()


def test_every_verb_has_a_help_that_fits_the_list() -> None:
    verbs = cli.verbs()
    assert {"plan", "doctor"} <= set(verbs)
    for name, module in verbs.items():
        assert module.__doc__, f"{name} has no docstring"
        assert all(map(callable, getattr(module, "VERBS", {}).values() or [module.main]))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert re.fullmatch(rf"mnbed {re.escape(__version__)} \(.+\)\n", capsys.readouterr().out)


# --- exit statuses ---


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (RunError("it failed"), 1, "mnbed: error: it failed\n"),
        (InputError("x: wrong", "write y"), 2, "mnbed: error: x: wrong\n  remedy: write y\n"),
        (MachineError("no netem"), 3, "mnbed: error: no netem\n"),
        (Interrupted("stopped; all is kept"), 130, "mnbed: error: stopped; all is kept\n"),
        (KeyboardInterrupt(), 130, "mnbed: interrupted\n"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "mnbed: internal error: ZeroDivisionError: division by zero; run with --debug for the traceback\n",
        ),
    ],
)
def test_outcomes(
    verb: Verb, capsys: pytest.CaptureFixture[str], outcome: object, status: int, message: str
) -> None:
    verb.outcome = outcome
    assert run("try", "--word", "x") == status
    shown = capsys.readouterr()
    assert shown.out == "word x\n"
    assert shown.err == message


@pytest.mark.parametrize("arguments", [["--debug", "try"], ["try", "--debug"]])
def test_debug_shows_the_traceback(
    verb: Verb, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    verb.outcome = InputError("x: wrong")
    assert run(*arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("mnbed: error: x: wrong\n")


def test_without_debug_the_last_run_is_forgotten(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    verb.outcome = InputError("x")
    run("try", "--debug")
    capsys.readouterr()
    run("try")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["plan", "--nonsense"], "No such option: --nonsense"),
        (["plan", "a", "b"], "unexpected extra argument(s) (b)"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_wrong_usage_is_exit_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert words in shown.err


def test_a_reader_that_stops_early_is_not_an_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m mnbed.cli plan --schema | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.startswith("Every key has a default")
    assert done.stderr == ""


# --- plan and doctor ---


def test_plan_shows_experiment_addresses_links_and_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", str(EXPERIMENTS / "quickstart.yaml"), "--step-cpu", "1ms", "--set", "seed=5") == 0
    shown = capsys.readouterr().out
    for expected in (
        "seed: 5",
        "10.0.0.6",
        "straggler",
        "h6-eth0 <-> s1-eth6",
        "600 steps of 1.3 ms",
        "CPU s per emulated s",
        "auto: the smallest, at least 1",
        "wall time",
    ):
        assert expected in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan"], "Give a YAML file"),
        (["plan", "missing.yaml"], "missing.yaml: no such file"),
        (["plan", str(EXPERIMENTS / "quickstart.yaml"), "--step-cpu", "7"], "--step-cpu 7: time"),
        (
            ["plan", str(EXPERIMENTS / "quickstart.yaml"), "--step-cpu", "0ms"],
            "--step-cpu 0ms: it must be above",
        ),
        (
            ["plan", str(EXPERIMENTS / "quickstart.yaml"), "--step-cpu", "7ms", "--measure"],
            "give only one of them",
        ),
        (["plan", str(EXPERIMENTS / "quickstart.yaml"), "--set", "seed=x"], "--set seed=x: seed: got x"),
        (
            ["plan", str(EXPERIMENTS / "quickstart.yaml"), "--set", "network.stragglers.count=9"],
            "quickstart.yaml: network.stragglers.count: got 9; the network has 6 hosts",
        ),
    ],
)
def test_plan_refuses_with_status_2(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("mnbed: error: ")
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_doctor_has_a_line_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    status = run("doctor")
    shown = capsys.readouterr().out
    for expected in (
        "root",
        "mnexec",
        "Mininet",
        "tc htb",
        "tc netem",
        "NFQUEUE",
        "cores",
        "memory",
        "open files",
    ):
        assert f" {expected} " in shown
    assert status == (3 if "\nmissing " in f"\n{shown}" else 0)


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_file_in_place_of_the_output_folder_is_refused_immediately(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base.yaml").write_text("name: x\n")
    (tmp_path / "sweep.yaml").write_text("base: base.yaml\n")
    file = tmp_path / {"run": "base.yaml", "sweep": "sweep.yaml"}[verb]
    for out in (file, file / "below"):
        assert run(verb, str(file), "--out", str(out)) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert f"--out {out}: {file} is a file" in shown.err
