"""Every command that README, docs/ and experiments/ show: parsed, then run here, or shown by a test or a transcript.

A command that builds a network cannot run in a unit test: it has a transcript in tests/transcripts/, or is listed in
SHOWN_BY with the test that runs the like of it. A new command that is none of this fails here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from mnbed import cli
from mnbed.experiment.loading import load_experiment
from mnbed.experiment.ready_made import find
from mnbed.experiment.sweep import load_sweep
from mnbed.records.outcome import COMPLETED
from mnbed.records.sweep import SweepEntry, SweepRecord, write_sweep
from tests.unit.mnbed.results.builder import RunBuilder
from tests.unit.mnbed.results.comparing import ComparedRun
from tests.unit.shown_commands import (
    ROOT,
    Shown,
    is_extract,
    shown_commands,
    shown_files,
    transcripts,
)

SHOWN = shown_commands()
# What a change log names belongs to history: it need not work as it stands there.
COMMANDS = [shown for shown in SHOWN if shown.page != "CHANGELOG.md"]
TYPED = [shown for shown in COMMANDS if not shown.is_mention]
MNBED = [shown for shown in TYPED if shown.words[0] == "mnbed"]
# What a reader puts in for a word in capitals, by verb where it matters.
FILE, SWEEP, WHAT = "experiments/quickstart.yaml", "any_sweep.yaml", "star"
RUN, RUNS, SWEPT = "runs/one", ("runs/compared-1", "runs/compared-2"), "runs/swept"
RUN_HERE = ("plan", "doctor", "topo", "export", "logs", "compare", "report", "--help", "--version")
# mnbed's own options, without a verb.
OF_ITSELF = ("--help", "--version", "--install-completion", "--show-completion")
# Their output depends on nothing but the files, so that a page's output is compared with what they print here.
SAME_EVERYWHERE = ("topo", "export")
# Commands without a transcript that cannot run here, as they build networks, time steps or need further packages -> the
# test that runs the like of it.
SHOWN_BY = {
    "mnbed run FILE": "tests/system/test_run.py::test_a_run_gives_everything_the_contract_names",
    "mnbed run ...": "tests/system/test_run.py::test_a_run_gives_everything_the_contract_names",
    "mnbed run FILE --cli": "tests/system/test_prompt.py::test_a_run_with_a_prompt_at_its_end",
    "mnbed run experiments/cifar_stragglers.yaml": (
        "tests/system/test_run.py::test_a_run_gives_everything_the_contract_names"
    ),
    "mnbed run FILE --strict": "tests/system/test_verdict.py::test_too_small_a_dilation_is_noticed_and_strict_exits_1",
    "mnbed run RUN/experiment.yaml": (
        "tests/system/test_run.py::test_the_resolved_experiment_runs_again_with_the_same_choices"
    ),
    "mnbed run runs/<id>/experiment.yaml": (
        "tests/system/test_run.py::test_the_resolved_experiment_runs_again_with_the_same_choices"
    ),
    "mnbed run experiments/events_demo.yaml": (
        "tests/system/test_events.py::test_every_kind_of_event_is_applied_in_time"
    ),
    "mnbed run experiments/cifar_stragglers.yaml --set time.duration=30s --set network.topology.nodes=4": (
        "tests/system/test_run.py::test_a_run_gives_everything_the_contract_names"
    ),
    "mnbed run experiments/cifar_stragglers.yaml --set task.name=image_folder --set task.path=CIFAR-10-images.tar.gz": (
        "tests/system/test_run.py::test_real_images_decode_and_train"
    ),
    "mnbed cli FILE": "tests/system/test_prompt.py::test_mininets_verbs_work",
    "mnbed sweep FILE": "tests/system/test_sweep.py::test_a_sweep_of_all_algorithms",
    "mnbed sweep FILE [--set key=value] [--out runs] [--dry-run] [--redo-degraded]": (
        "tests/system/test_sweep.py::test_a_sweep_of_all_algorithms"
    ),
    "mnbed sweep FILE --redo-degraded": "tests/system/test_sweep.py::test_a_sweep_of_all_algorithms",
    "mnbed sweep experiments/reproduction/cifar_small_sweep.yaml": (
        "tests/system/test_sweep.py::test_a_sweep_of_all_algorithms"
    ),
    "mnbed sweep reproduction/cifar_small_sweep": "tests/system/test_sweep.py::test_a_sweep_of_all_algorithms",
    "mnbed sweep my/divshare_sweep.yaml": "tests/system/test_sweep.py::test_a_sweep_of_all_algorithms",
    "mnbed plan FILE --measure": ("tests/unit/mnbed/run/test_step_measurement.py::test_again_means_again"),
    "mnbed report RUN --tensorboard": (
        "tests/unit/mnbed/results/test_exchange.py::test_tensorboard_files_hold_the_curves_or_the_remedy_is_named"
    ),
    "mnbed --show-completion": "tests/unit/mnbed/test_completion.py::test_each_shell_gets_a_script",
    "mnbed --install-completion": (
        "tests/unit/mnbed/test_completion.py::test_under_sudo_root_sets_up_nothing_of_its_own"
    ),
    "mnbed clean": (
        "tests/system/test_leftovers.py::test_clean_ends_all_that_a_killed_run_left_and_nothing_else"
    ),
}
# Other programs: what shows that the command is right, or why nothing can.
OTHERS = {
    "./install.sh": "tests/unit/test_install.py",
    ".venv/bin/ruff": ".ci/run",
    ".venv/bin/hadolint": ".ci/run",
    ".venv/bin/mypy": ".ci/run",
    ".venv/bin/pytest": ".ci/run",
    ".venv/bin/pre-commit": ".pre-commit-config.yaml",
    ".venv/bin/python": "tests/guest/uml.py",
    "vagrant": "vagrant/Vagrantfile",
    "cd": "vagrant",
    "mkdir": "docs/tutorial.md",
    "rm": "install.sh",
    "jq": "docs/run-directory.md",
    "wsl": "docs/faq.md",
    "xdg-open": "docs/tutorial.md",
    "apt-get": "install.sh",
}


def name_of(shown: Shown) -> str:
    return f"{shown.page}: {shown.text}"


def runs_here(shown: Shown) -> bool:
    return shown.words[1] in RUN_HERE and shown.text not in SHOWN_BY


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: the checkout's experiments, the files of all pages, and runs that are over."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    for name, text in shown_files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(ROOT / FILE, folder / "experiment.yaml")
    (folder / "any_sweep.yaml").write_text(f"name: any\nbase: {FILE}\nseeds: 2\n")
    run = RunBuilder(path=folder / "runs" / "one")
    run.evaluate(run.build())
    for path, algorithm in zip(RUNS, ("divshare", "ad-psgd"), strict=True):
        ComparedRun(algorithm=algorithm).write(folder / path)
    (folder / SWEPT).mkdir()
    write_sweep(folder / SWEPT, SweepRecord(name="swept", base="base.yaml", runs=swept()))
    return folder


def swept() -> tuple[SweepEntry, ...]:
    """A sweep's finished runs, one of each algorithm."""
    return tuple(
        SweepEntry(
            cell={"algorithm": algorithm},
            label=algorithm,
            seed=1,
            digest="d",
            status=COMPLETED,
            directory=f"../{Path(path).name}",
        )
        for path, algorithm in zip(RUNS, ("divshare", "ad-psgd"), strict=True)
    )


# --- what is named exists ---


@pytest.mark.parametrize("shown", SHOWN, ids=name_of)
def test_what_a_command_names_exists(shown: Shown) -> None:
    assert list(problems(shown.text)) == []


# The first is installed by whoever wants it; of the second there are builds for x86-64 and arm64 only.
OPTIONAL_TOOLS = (".venv/bin/pre-commit", ".venv/bin/hadolint")


def problems(command: str) -> Iterator[str]:
    program, *words = (word.rstrip(",;.") for word in command.split() if word not in "[]")
    words = [word.strip("[]") for word in words]
    if program == "mnbed":
        yield from problems_of_verb(words)
    elif "/" in program and not (ROOT / program).exists() and program not in OPTIONAL_TOOLS:
        yield f"no program {program}"
    for word in words:
        if re.match(r"(experiments|bench|tests)/[\w/.]+$", word) and not (ROOT / word).exists():
            yield f"no file {word}"


def problems_of_verb(words: list[str]) -> Iterator[str]:
    verb: Any = typer.main.get_command(cli.make_app())
    while hasattr(verb, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in verb.commands:
            yield f"no command {name}"
            return
        verb = verb.commands[name]
    options = {option for parameter in verb.params for option in parameter.opts} | {"--help", "--debug"}
    yield from (f"no option {word}" for word in words if word.startswith("--") and word not in options)


@pytest.mark.parametrize(
    "command",
    ["mnbed runs x.yaml", "mnbed plan --schemas", "mnbed run experiments/none.yaml", "mnbed topo sho x"],
)
def test_a_wrong_command_would_be_found(command: str) -> None:
    assert list(problems(command)) != []


# --- what is typed can be typed ---


@pytest.mark.parametrize("shown", [shown for shown in MNBED if shown.words[1] not in OF_ITSELF], ids=name_of)
def test_a_shown_command_has_a_verb_and_options_that_exist(shown: Shown) -> None:
    parse(words_of(shown))


def words_of(shown: Shown) -> list[str]:
    """After `mnbed`, with a reader's files in the place of words in capitals."""
    verb, *rest = shown.words[1:]
    file = SWEEP if verb == "sweep" else FILE
    several = rest.count("RUN") > 1 or "RUN..." in rest
    words = [verb]
    for word in rest:
        if several and word in ("RUN", "RUN..."):
            words += [run for run in RUNS if run not in words]
        elif word != "..." or words == ["run"]:
            word = re.sub(r"^(RUN|runs/<[^>]*>)(?=/|$)", RUN, word)
            if verb == "compare" and word.startswith("runs/"):
                word = SWEPT  # what the page's own sweep would have left
            words.append({"FILE": file, "...": file, "WHAT": WHAT}.get(word, word))
    return words


def parse(words: list[str]) -> dict[str, Any]:
    """The arguments as the verb would get them. Raises click's UsageError."""
    command: Any = typer.main.get_command(cli.make_app())
    words = [word for word in words if word != "--debug"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    with command.make_context("mnbed", words, resilient_parsing=False) as context:
        return dict(context.params)


@pytest.mark.parametrize("words", ["run", "plan x.yaml --sets a=1", "topo show", "compare"])
def test_a_command_that_cannot_be_typed_would_be_found(words: str) -> None:
    with pytest.raises(Exception, match=r"Missing parameter|Missing argument|No such option"):
        parse(words.split())


EXISTING = [shown for shown in MNBED if shown.words[1] in ("run", "cli", "sweep") and "RUN" not in shown.text]


@pytest.mark.parametrize("shown", EXISTING, ids=name_of)
def test_the_experiment_and_its_keys_are_right(
    shown: Shown, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are there, and what --set changes is a key that takes that value."""
    monkeypatch.chdir(sandbox)
    given = parse(words_of(shown))
    file = find(Path(given["file"]))
    if not file.exists():
        assert "<id>" in shown.text or "runs/" in shown.text, f"no file {file}"
        return
    load: Any = load_sweep if shown.words[1] == "sweep" else load_experiment
    load(file, [text for text in given["set_"] or [] if text != "key=value"])


# --- what needs no network runs here ---


@pytest.mark.parametrize(
    "command", sorted({tuple(words_of(shown)) for shown in MNBED if runs_here(shown)}), ids=" ".join
)
def test_a_command_without_a_network_does_what_it_says(
    command: tuple[str, ...],
    sandbox: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sandbox)
    words = list(command)
    if words[0] == "plan" and not {"--schema", "--step-cpu", "--measure"} & set(words):
        words += ["--step-cpu", "7ms"]  # timing a step is not what is shown
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    captured = capsys.readouterr()
    same = [shown for shown in MNBED if tuple(words_of(shown)) == command]
    outputs = [shown.output for shown in same if shown.output is not None]
    refused = any(is_refusal(output) for output in outputs)
    assert (end.value.code or 0) == (2 if refused else 0), captured.err
    if refused or words[0] in SAME_EVERYWHERE:
        printed = [*captured.err.splitlines(), *captured.out.splitlines()]
        assert [output for output in outputs if not is_extract(output, printed)] == [], printed


def is_refusal(output: Sequence[str]) -> bool:
    return bool(output) and output[0].startswith("mnbed: error")


# --- what builds a network is shown elsewhere ---


@pytest.mark.parametrize("shown", [shown for shown in MNBED if not runs_here(shown)], ids=name_of)
def test_a_command_that_builds_a_network_is_shown_by_a_test_or_a_transcript(shown: Shown) -> None:
    assert shown.text in transcripts() or shown.text in SHOWN_BY, (
        f"{shown.page}: {shown.text}: add a transcript to tests/transcripts/, or a test to SHOWN_BY"
    )


def test_no_command_is_listed_that_is_shown_nowhere() -> None:
    assert set(SHOWN_BY) - {shown.text for shown in MNBED} == set()


@pytest.mark.parametrize("test", sorted(set(SHOWN_BY.values())))
def test_the_tests_that_are_named_exist(test: str) -> None:
    file, _, function = test.partition("::")
    assert f"def {function}(" in (ROOT / file).read_text()


@pytest.mark.parametrize(
    "shown",
    [
        shown
        for shown in COMMANDS
        if shown.output is not None and shown.words[1] not in SAME_EVERYWHERE and not is_refusal(shown.output)
    ],
    ids=name_of,
)
def test_output_on_a_page_is_that_of_a_transcript(shown: Shown) -> None:
    recorded = transcripts()
    assert shown.text in recorded, f"{shown.page} shows output of {shown.text!r}, which has no transcript"
    assert is_extract(shown.output or (), recorded[shown.text])


def test_extracts_leave_out_only_where_they_say_so() -> None:
    lines = ["one", "two words", "three"]
    assert is_extract(["one", "[...]", "three"], lines)
    assert is_extract(["one", "two [...]", "three"], lines)
    assert not is_extract(["one", "three"], lines)
    assert not is_extract(["one", "[...]", "four"], lines)


def test_transcripts_are_all_shown() -> None:
    texts = {shown.text for shown in COMMANDS}
    assert [command for command in transcripts() if command not in texts] == []


# --- other programs ---


def others() -> Iterator[Shown]:
    yield from (shown for shown in TYPED if shown.words[0] != "mnbed")


@pytest.mark.parametrize("shown", list(others()), ids=name_of)
def test_other_programs_are_known_here(shown: Shown) -> None:
    assert (ROOT / OTHERS[shown.words[0]]).exists()
