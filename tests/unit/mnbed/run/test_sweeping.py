"""What a sweep's directory remembers of what has run; the runs themselves are tests/system's business."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnbed.cli import main
from mnbed.errors import MachineError
from mnbed.experiment.sweep import load_sweep
from mnbed.results.summary import COMPLETED
from mnbed.run.run_starter import LocalStarter
from mnbed.run.sweeping import SweepRunner, read_index


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("time: {duration: 20s, dilation: 1}\n")
    (tmp_path / "s.yaml").write_text("base: base.yaml\ngrid: {algorithm: [divshare, swift]}\n")
    return tmp_path / "s.yaml"


def runner(file: Path, *overrides: str, redo_degraded: bool = False) -> SweepRunner:
    sweep = load_sweep(file, overrides)
    return SweepRunner(
        sweep, file.parent / "out", lambda _: None, LocalStarter(), redo_degraded=redo_degraded
    )


def done(found: SweepRunner, verdict: str = "faithful") -> None:
    """As if all of it had run."""
    found.directory.mkdir(parents=True, exist_ok=True)
    found.entries = [
        replace(entry, status=COMPLETED, verdict=verdict, directory=f"{entry.label}-{entry.digest}")
        for entry in found.entries
    ]
    found._save()


def test_what_has_completed_is_not_repeated(file: Path) -> None:
    first = runner(file)
    assert first.todo == [0, 1]
    done(first)
    again = runner(file)
    assert again.todo == []
    assert again.entries == first.entries


def test_degraded_runs_are_repeated_where_that_is_asked_for(file: Path) -> None:
    done(runner(file), verdict="degraded")
    assert runner(file).todo == []
    assert runner(file, redo_degraded=True).todo == [0, 1]


def test_a_detour_costs_nothing_of_what_has_run(file: Path) -> None:
    """A quick look with a shorter duration, and back."""
    first = runner(file)
    done(first)
    detour = runner(file, "time.duration=5s")
    assert detour.todo == [0, 1]
    done(detour)
    back = runner(file)
    assert back.todo == []
    assert [entry.directory for entry in back.entries] == [entry.directory for entry in first.entries]
    done(back)
    assert runner(file, "time.duration=5s").todo == []
    assert len(read_index(back.directory)) == 4


def test_a_directory_that_cannot_be_made_is_the_machines_fault(file: Path) -> None:
    (file.parent / "out").write_text("in the way")
    with pytest.raises(MachineError, match="Not a directory") as error:
        runner(file).execute(lambda *_: None)
    assert "--out" in str(error.value)


def test_a_dry_run_says_which_runs_would_fail(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("base: base.yaml\ngrid: {network.stragglers.count: [0, 9]}\nseeds: 2\n")
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(file), "--dry-run"])
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out.endswith("4 runs\n")
    assert shown.err.splitlines()[1:] == [
        "    count=9: network.stragglers.count: got 9; the network has 8 hosts"
    ]
