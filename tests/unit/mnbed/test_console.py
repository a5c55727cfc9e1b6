"""What a pipe gets: unwrapped lines without trailing blanks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from mnbed.console import make_console
from tests.unit.mnbed.results.builder import RunBuilder

ROOT = Path(__file__).parents[3]


def output(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mnbed.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "40", "PATH": "/usr/bin:/bin"},
        timeout=100,
    )
    return done.stdout


def test_long_cells_stay_whole_and_short_ones_are_not_padded(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("verdict", "degraded " * 40 + "end")
    table.add_row("x", "short")
    console = make_console(highlight=False)
    console.print(table)
    console.print("word " * 60)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("degraded end")
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("topo", "show", "experiments/cifar_stragglers.yaml"),
        ("topo", "show", "regions", "--set", "matrix=aws"),
        ("topo", "list"),
        ("plan", "experiments/quickstart.yaml", "--step-cpu", "5ms"),
        ("doctor",),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_commands_print_whole_lines(arguments: tuple[str, ...]) -> None:
    printed = output(*arguments) if arguments != ("doctor",) else _doctor()
    assert [line for line in printed.splitlines() if line != line.rstrip()] == []
    assert max(map(len, printed.splitlines())) > 40


def _doctor() -> str:
    return subprocess.run(
        [sys.executable, "-m", "mnbed.cli", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


def test_reasons_and_paths_of_a_report_stay_on_their_lines(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / ("a-long-name-of-a-run-directory-" * 4)).build()
    run.node_journal("h3").unlink()
    printed = output("report", str(run.path))
    assert f"report: {run.path}/report.html\n" in printed
    assert "no journal of h3: never started, or lost\n" in printed
    assert [line for line in printed.splitlines() if line != line.rstrip()] == []
