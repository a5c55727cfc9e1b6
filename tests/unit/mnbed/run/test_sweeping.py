"""What a sweep's directory records about its runs; the runs themselves are tested in tests/system."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import pytest

from mnbed.cli import main
from mnbed.errors import Interrupted, MachineError
from mnbed.experiment.sweep import load_sweep
from mnbed.records.outcome import COMPLETED
from mnbed.records.sweep import read_sweep
from mnbed.results import make_results
from mnbed.results.summary import write_summary
from mnbed.run.run_starter import LocalStarter, StartedRun
from mnbed.run.sweeping import SweepRunner
from tests.unit.mnbed.results.builder import RunBuilder
from tests.unit.mnbed.results.comparing import ComparedRun


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
    """A sweep's directory as if all its runs had completed."""
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
    record = read_sweep(back.directory)
    assert len(record.runs) + len(record.former) == 4


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


def test_a_run_is_described_by_the_score_in_its_summary(file: Path) -> None:
    found = runner(file)
    found.directory.mkdir(parents=True)
    run = RunBuilder(path=found.directory / "run").build()
    entry = replace(found.entries[0], status=COMPLETED, directory="run")
    assert found._describe(entry) == "completed, and its summary cannot be read"
    summary = make_results(run, report=False)
    assert found._describe(entry) == f"{summary.verdict}, accuracy unknown"
    write_summary(run.summary, replace(summary, accuracy=replace(summary.accuracy, final_mean=0.5)))
    assert found._describe(entry) == f"{summary.verdict}, accuracy 0.5000"
    assert found._describe(replace(entry, status="failed", message="no")) == "failed: no"


# --- runs whose ends a fake starter decides ---


@dataclass
class FakeRun:
    """Ends with that status, after `waits` waits that Ctrl-C interrupts."""

    status: int
    waits: int = 0
    interrupted: int = 0

    def wait(self) -> int:
        if self.waits:
            self.waits -= 1
            raise KeyboardInterrupt
        return self.status

    def interrupt(self) -> None:
        self.interrupted += 1


@dataclass
class FakeStarter:
    """Leaves behind what `mnbed run` would: a run directory with a summary, and what it printed."""

    runs: list[FakeRun]
    summaries: list[ComparedRun | None]
    printed: str = "mnbed: no luck\n"
    commands: list[list[str]] = field(default_factory=list)

    def start(self, arguments: Sequence[str], output: IO[str]) -> StartedRun:
        number = len(self.commands)
        self.commands.append(list(arguments))
        output.write(self.printed)
        output.flush()
        summary = self.summaries[number]
        if summary is not None:
            out = Path(arguments[arguments.index("--out") + 1])
            run = out / f"20260101-00000{len(list(out.iterdir()))}-run"
            run.mkdir()
            (run / "experiment.yaml").write_text("")
            write_summary(run / "summary.json", summary.summary(run.name))
        return self.runs[number]


GOOD = ComparedRun()
"""Its final accuracy is 0.7."""
INTERRUPTED = replace(GOOD, status="interrupted")


def swept(file: Path, starter: FakeStarter, lines: list[str]) -> SweepRunner:
    return SweepRunner(load_sweep(file, ()), file.parent / "out", lines.append, starter)


def test_runs_follow_each_other_and_a_failure_stops_none(file: Path) -> None:
    failed = replace(GOOD, status="failed", verdict="degraded")
    starter = FakeStarter([FakeRun(1), FakeRun(0)], [failed, GOOD])
    lines: list[str] = []
    steps: list[Any] = []
    sweep = swept(file, starter, lines)
    (entry,) = sweep.execute(lambda *step: steps.append(step))
    assert (entry.label, entry.status, entry.message) == ("divshare", "failed", "mnbed: no luck")
    assert [done.status for done in sweep.entries] == ["failed", "completed"]
    assert [step[:2] for step in steps] == [(0, 2), (1, 2), (2, 2)]
    assert "failed: mnbed: no luck" in lines[0]
    assert "faithful, accuracy 0.7000" in lines[1]
    assert 'algorithm.name="divshare"' in " ".join(starter.commands[0])
    assert 'algorithm.name="swift"' in " ".join(starter.commands[1])
    again = FakeStarter([FakeRun(0)], [GOOD])
    swept(file, again, []).execute(lambda *_: None)
    assert len(again.commands) == 1, "only what has failed"
    assert again.commands == starter.commands[:1]


@pytest.mark.parametrize(
    ("status", "summary", "expected"),
    [
        (0, GOOD, "completed"),
        (0, None, "failed"),  # it reported success, but left nothing
        (1, GOOD, "failed"),  # its results could not be written
        (1, None, "failed"),
        (130, INTERRUPTED, "interrupted"),
    ],
)
def test_a_run_is_what_its_summary_and_its_exit_status_say(
    file: Path, status: int, summary: ComparedRun | None, expected: str
) -> None:
    sweep = swept(file, FakeStarter([FakeRun(status), FakeRun(0)], [summary, GOOD]), [])
    with contextlib.suppress(Interrupted):
        sweep.execute(lambda *_: None)
    assert sweep.entries[0].status == expected
    assert read_sweep(sweep.directory).runs[0].status == expected, "kept at once"


def test_a_run_that_was_interrupted_ends_the_sweep_and_keeps_what_is_done(file: Path) -> None:
    second = FakeRun(130, waits=2)
    starter = FakeStarter([FakeRun(0), second], [GOOD, INTERRUPTED])
    sweep = swept(file, starter, [])
    with pytest.raises(Interrupted, match="continues from here"):
        sweep.execute(lambda *_: None)
    assert second.interrupted == 2, "each is passed on, and the run is waited for"
    assert [entry.status for entry in read_sweep(sweep.directory).runs] == ["completed", "interrupted"]


def test_a_run_that_printed_nothing_still_gets_a_message(file: Path) -> None:
    starter = FakeStarter([FakeRun(1), FakeRun(1)], [None, None], printed="")
    entries = swept(file, starter, []).execute(lambda *_: None)
    assert {entry.message for entry in entries} == {"it printed nothing"}
