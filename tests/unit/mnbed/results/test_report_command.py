"""`mnbed report` as a user runs it: what it prints, and its messages for wrong directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnbed import cli
from tests.unit.mnbed.results.builder import RunBuilder


def report(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_it_rebuilds_and_names_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = RunBuilder(path=tmp_path / "run", targets=(0.3, 0.99))
    run = builder.build()
    builder.evaluate(run)
    assert report(str(run.path)) == 0
    out = capsys.readouterr().out
    assert f"report: {run.report}" in out.replace("\n", "")
    for text in ("completed", "faithful", "41.5 % mean of nodes", "to 0.3", "not reached"):
        assert text in out
    assert run.report.exists()
    assert run.summary.exists()


def test_it_works_on_a_run_whose_controller_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunBuilder(path=tmp_path / "run", status=None, standin=True, num_nodes=2, duration_s=2).build()
    assert report(str(run.path)) == 0
    out = capsys.readouterr().out
    assert "failed" in out
    assert "STAND-IN" in out
    assert run.report.exists()


@pytest.mark.parametrize(
    ("name", "why"), [("nowhere", "no such directory"), ("empty", "is not a run directory")]
)
def test_a_path_without_a_run_is_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert report(str(tmp_path / name)) == 2
    assert why in capsys.readouterr().err


def test_a_folder_of_runs_lists_the_newest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "experiment.yaml").touch()
        os.utime(folder, (number, number))
    assert report(str(tmp_path)) == 2
    err = capsys.readouterr().err
    assert "contains 7" in err
    assert [number for number in range(7) if f"run{number}\n" in err] == [2, 3, 4, 5, 6]
    assert err.index("run6") < err.index("run2")
