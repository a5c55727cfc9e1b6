"""The FAQ against the source: every reason for `degraded` is explained, and what it quotes is printed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mnbed.commands import doctor
from mnbed.machine import MachineFacts
from mnbed.results.evidence import Evidence
from mnbed.results.fidelity import REASONS
from tests.unit.shown_commands import is_extract

ROOT = Path(__file__).parents[2]
FAQ = (ROOT / "docs" / "faq.md").read_text()


def explained() -> set[str]:
    """What the first column of the table of reasons quotes."""
    table = FAQ.partition("## Why is my run degraded?")[2]
    cells = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    return {text for cell in cells for text in re.findall(r"`([^`]+)`", cell)}


def texts_of(source: str) -> str:
    """Source with strings that are written one below the other joined, as they are printed."""
    return re.sub(r'"\n +f?"', "", source)


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.__name__)
def test_every_reason_is_explained(reason: Callable[[Evidence], str | None]) -> None:
    source = texts_of(inspect.getsource(reason))
    assert [text for text in explained() if text in source] != []


def test_every_quoted_sentence_is_printed() -> None:
    sources = texts_of("\n".join(path.read_text() for path in (ROOT / "mnbed" / "results").rglob("*.py")))
    assert len(explained()) > 20
    assert {text for text in explained() if text not in sources} == set()


def test_what_doctor_says_without_netem_is_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = MachineFacts(root=True, netem=False, nfqueue=True)
    monkeypatch.setattr("mnbed.machine.probe", lambda: facts)
    doctor.main()
    printed = capsys.readouterr().out.splitlines()
    section = FAQ.partition("## My kernel has no netem")[2].partition("\n## ")[0]
    shown = re.findall(r"^(?:ok|absent) .*$", section, re.MULTILINE)
    assert len(shown) == 2
    assert [line for line in shown if not any(is_extract([line], [said]) for said in printed)] == []
