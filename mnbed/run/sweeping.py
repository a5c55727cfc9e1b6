"""Runs a sweep: one `mnbed run` after the other, each in its own process, so that a failure stops no other run.

    OUT/<sweep's name>/sweep.json       what has run, by cell and seed; read by `mnbed compare`
    OUT/<sweep's name>/<run directory>  one for each run
    OUT/<sweep's name>/logs/<run>.log   what `mnbed run` printed

A completed run of the same resolved experiment is not repeated.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mnbed.errors import InputError, Interrupted, MachineError
from mnbed.experiment.sweep import PlannedRun, Sweep
from mnbed.records.outcome import COMPLETED, FAILED, FAITHFUL, INTERRUPTED
from mnbed.records.sweep import SweepEntry, SweepRecord, is_sweep, read_sweep, write_sweep
from mnbed.results.summary import Summary, read_summary, task_score
from mnbed.run.run_starter import RunStarter, StartedRun
from mnbed.run.sweep_dilation import Planner, shared_dilations
from mnbed.run_directory import RunDirectory


class SweepRunner:
    """The sweep's directory and what is in it."""

    def __init__(
        self,
        sweep: Sweep,
        out: Path,
        say: Callable[[str], None],
        starter: RunStarter,
        *,
        redo_degraded: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        """Raises InputError if the directory holds something else.

        redo_degraded: whether to repeat runs whose emulation was not faithful.
        options: options for `mnbed run`.
        """
        self._options = options
        self._redo_degraded = redo_degraded
        self._sweep = sweep
        self._say = say
        self._starter = starter
        self.directory = out / sweep.name.replace(" ", "-")
        known: list[SweepEntry] = []
        if is_sweep(self.directory):
            record = read_sweep(self.directory, "remove it, or give another --out")
            known = [*record.runs, *record.former]
        by_key = {(entry.label, entry.seed, entry.digest): entry for entry in known}
        self.entries = [
            by_key.get((run.label, run.seed, run.digest))
            or SweepEntry(cell=dict(run.cell), label=run.label, seed=run.seed, digest=run.digest)
            for run in sweep.runs
        ]
        self._former = [entry for entry in known if entry.status == COMPLETED and entry not in self.entries]

    @property
    def todo(self) -> list[int]:
        """Indices of the runs that have not completed."""
        return [
            place
            for place, entry in enumerate(self.entries)
            if entry.status != COMPLETED or (self._redo_degraded and entry.verdict != FAITHFUL)
        ]

    def execute(self, progress: Callable[[int, int, str], None]) -> list[SweepEntry]:
        """Run what has not completed; returns the failed runs. Raises Interrupted after Ctrl-C; finished runs are kept.

        progress: called with (number of runs done, total number of runs, name of the current run).
        """
        try:
            (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"{error.filename}: {error.strerror}", "give another folder with --out"
            ) from None
        self._choose_dilations()
        self._save()
        todo = self.todo
        done = len(self.entries) - len(todo)
        for place in todo:
            run = self._sweep.runs[place]
            progress(done, len(self.entries), run.name)
            began = time.monotonic()
            with _interruptible():
                entry = self.entries[place] = self._run(run, self.entries[place])
            self._save()
            done += 1
            took = f"{time.monotonic() - began:.0f} s"
            self._say(f"[{done}/{len(self.entries)}] {run.name}: {self._describe(entry)} ({took})")
            if entry.status == INTERRUPTED:
                raise Interrupted(
                    f"interrupted; finished runs are in {self.directory}, and `mnbed sweep` with the same file "
                    "continues from here"
                )
        progress(done, len(self.entries), "")
        return [entry for entry in self.entries if entry.status != COMPLETED]

    def _choose_dilations(self) -> None:
        chosen = shared_dilations(
            self._sweep, self.todo, [entry.dilation for entry in self.entries], Planner(self._say)
        )
        for place, dilation in chosen.items():
            self.entries[place] = replace(self.entries[place], dilation=dilation)
        for dilation in sorted(set(chosen.values())):
            cells = {self.entries[place].label for place, value in chosen.items() if value == dilation}
            self._say(f"dilation {dilation:g} for all runs that are compared: {'; '.join(sorted(cells))}")

    def _run(self, run: PlannedRun, entry: SweepEntry) -> SweepEntry:
        log = self.directory / "logs" / f"{run.name}.log"
        before = set(self._run_directories())
        arguments = [str(self._sweep.base), "--out", str(self.directory), "--name", run.name, *self._options]
        for text in run.overrides:
            arguments += ["--set", text]
        if entry.dilation is not None:
            arguments += ["--set", f"time.dilation={entry.dilation!r}"]
        with log.open("w") as file:
            returncode, interrupted = _wait(self._starter.start(arguments, file))
        new = sorted(set(self._run_directories()) - before)
        directory = new[-1].name if new else None
        summary = _summary_of(new[-1]) if new else None
        status, message = summary.status if summary else None, None
        if interrupted or returncode == Interrupted.exit_status:
            status = INTERRUPTED
        elif returncode != 0 or status is None:
            status = FAILED if status in (None, COMPLETED) else status
            message = _last_words(log)
        verdict = summary.verdict if summary else None
        return replace(entry, directory=directory, status=status, verdict=verdict, message=message)

    def _run_directories(self) -> list[Path]:
        return [path.parent for path in self.directory.glob("*/experiment.yaml")]

    def _describe(self, entry: SweepEntry) -> str:
        if entry.status != COMPLETED or entry.directory is None:
            return f"{entry.status}: {entry.message}" if entry.message else str(entry.status)
        summary = _summary_of(self.directory / entry.directory)
        if summary is None:
            return f"{entry.status}, and its summary cannot be read"
        final = task_score(summary).final_mean
        verdict = f"{summary.verdict} ({summary.reasons[0]})" if summary.reasons else summary.verdict
        return f"{verdict}, {summary.metric} {'unknown' if final is None else f'{final:.4f}'}"

    def _save(self) -> None:
        record = SweepRecord(
            name=self._sweep.name,
            base=str(self._sweep.base),
            baseline=dict(self._sweep.baseline),
            runs=tuple(self.entries),
            former=tuple(self._former),
        )
        write_sweep(self.directory, record)


def _wait(run: StartedRun) -> tuple[int, bool]:
    """The run's exit status, and whether Ctrl-C or SIGTERM arrived, which are passed on to it; it needs time to end."""
    interrupted = False
    while True:
        try:
            return run.wait(), interrupted
        except KeyboardInterrupt:
            interrupted = True
            run.interrupt()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP act like Ctrl-C, even where SIGINT was ignored, as it is for background jobs."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _summary_of(run: Path) -> Summary | None:
    """The contents of summary.json; None if there is none."""
    try:
        return read_summary(RunDirectory(run).summary)
    except InputError:
        return None


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("mnbed: ")]
    return (errors or lines or ["it printed nothing"])[-1]
