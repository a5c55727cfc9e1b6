"""The manual page: every verb and option of the help texts is in it, and roff finds nothing wrong with it."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mnbed import __version__, cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> str:
    made: str = runpy.run_path(str(ROOT / "docs" / "make_manual.py"))["manual"]()
    return made


def verbs(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, verb in command.commands.items():
        if hasattr(verb, "commands"):
            yield from verbs(verb, f"{path} {name}")
        else:
            yield f"{path} {name}", verb


def plain(page: str) -> str:
    return page.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def test_every_verb_has_a_section_with_its_help_and_options(page: str) -> None:
    command: Any = typer.main.get_command(cli.make_app())
    sections = dict(re.findall(r'^\.SS "(.*)"\n((?:(?!\.S[SH]).*\n)*)', plain(page), re.MULTILINE))
    wanted = dict(verbs(command, "mnbed"))
    assert set(sections) == set(wanted)
    for name, verb in wanted.items():
        assert " ".join(verb.help.split("\n\n")[0].split()) in sections[name]
        for parameter in verb.params:
            assert " ".join(parameter.help.split()) in sections[name]
            assert parameter.param_type_name == "argument" or f"{parameter.opts[0]}" in sections[name]


def test_the_frame_is_in_it(page: str) -> None:
    text = plain(page)
    assert text.startswith(".TH MNBED 1")
    assert f'"mnbed {__version__}"' in text
    for words in (
        ".B --version",
        ".B --install-completion",
        ".B 130",
        "MNBED_DATA",
        "sudo mnbed run quickstart",
    ):
        assert words in text


def test_groff_finds_nothing_wrong(page: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=100n"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "mnbed" in done.stdout


def test_mandoc_finds_nothing_wrong(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_day_that_is_given_makes_the_page_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    made = runpy.run_path(str(ROOT / "docs" / "make_manual.py"))["manual"]()
    assert '"2001-09-09"' in made
