"""Evaluates every snapshot and the averaged model of each instant, on all cores, after the network is down.

    python -m mnbed.results.evaluate RUNDIR [--workers N]

is a separate process: it loads the task once, forks workers that share it, prints {"done": k, "total": n} on standard
output after each model and appends each score to evaluation.jsonl, so that a second run only does what is left.
`run_evaluation` starts it and follows its progress.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnbed.errors import MachineError, MnbedError, RunError
from mnbed.programs import our_program
from mnbed.results.collect import read_environment, read_experiment
from mnbed.results.scores import EvaluationJob, Score, pending_jobs, remove_snapshots, snapshot_jobs
from mnbed.run_directory import RunDirectory
from node_agent import full_disk
from node_agent.failures import end_in_words

if TYPE_CHECKING:
    from node_agent.tasks import Task
    from node_agent.training import FlatModel

__all__ = ["remove_snapshots", "run_evaluation"]

# Of a failed process's error output: what it printed last explains the failure.
_LAST_LINES = 5
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
# The workers already fill the cores; more threads would only wait for each other.
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class BadSnapshot(Exception):
    """A snapshot that cannot be evaluated; the report shows the text."""


# --- the controller's side ---


def run_evaluation(run: RunDirectory, progress: Callable[[int, int], None]) -> None:
    """Evaluate whatever is not evaluated yet; `progress(done, total)` is called for every model.

    Blocks. On any exception, Ctrl-C included, the process and its workers are ended before it propagates. Raises
    RunError with the last lines that the process printed if it fails; MachineError if the disk is full.
    """
    if not pending_jobs(run):
        return
    command = our_program("mnbed.results.evaluate", str(run.path))
    with tempfile.TemporaryFile("w+") as errors:
        # A session of its own: the caller handles Ctrl-C, and the whole process group can be killed together.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, **_SINGLE_THREADED},
        )
        with _killed_on_exit(process):
            assert process.stdout is not None
            for line in process.stdout:
                state = json.loads(line)
                progress(state["done"], state["total"])
            status = process.wait()
        if status == errno.ENOSPC:
            raise MachineError(
                f"evaluation: {_last_lines(errors)}",
                f"make room on the disk that holds {run.path}; then `mnbed report` evaluates the rest",
            )
        if status != 0:
            raise RunError(f"evaluation failed (its process {end_in_words(status)}): {_last_lines(errors)}")


@contextlib.contextmanager
def _killed_on_exit(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _last_lines(file: IO[str]) -> str:
    file.seek(0)
    lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]) or "no error output"


# --- the process ---


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line above; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mnbed.results.evaluate", description="Evaluate a run's snapshots."
    )
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--workers", type=int, default=_cores(), help="processes (default: all cores)")
    given = parser.parse_args(arguments)
    try:
        _evaluate(RunDirectory(given.run), max(1, given.workers))
    except MnbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The process that followed the progress has ended, so nobody needs the result.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        if not full_disk.is_full(error):
            raise
        print(full_disk.in_words(error, given.run), file=sys.stderr)
        return errno.ENOSPC
    return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _evaluate(run: RunDirectory, workers: int) -> None:
    experiment = read_experiment(run)
    total = len(snapshot_jobs(run))
    jobs = pending_jobs(run)
    done = total - len(jobs)
    _say(done, total)
    if not jobs:
        return
    task = _load_task(experiment, _data_root(run))
    num_samples = experiment["evaluate"]["samples"]
    with _appending(run.evaluation) as file:
        for score in _scores(task, num_samples, jobs, min(workers, len(jobs))):
            file.write(json.dumps(score) + "\n")
            file.flush()
            done += 1
            _say(done, total)


def _say(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), flush=True)


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[IO[str]]:
    """Open for appending, after completing a line that an earlier process left truncated."""
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")
    with path.open("a") as text:
        yield text


def _load_task(experiment: dict[str, Any], data_root: Path) -> Task:
    import torch

    from node_agent.tasks import create_task
    from node_agent.tasks._interface import DataMissing

    torch.set_num_threads(1)
    task = create_task(experiment["task"], data_root, experiment["seed"])
    try:
        task.load()
    except DataMissing as error:
        raise RunError(f"the test data is not available: {error}", error.remedy) from None
    return task


def _data_root(run: RunDirectory) -> Path:
    """Where the run's agents found the data."""
    problems: list[str] = []
    data_root = read_environment(run, problems).get("data_root")
    if not isinstance(data_root, str):
        why = problems[0] if problems else "environment.json has no data_root"
        raise RunError(
            f"the location of the data is unknown: {why}", f'write {{"data_root": PATH}} to {run.environment}'
        )
    return Path(data_root)


def _scores(
    task: Task, num_samples: int | None, jobs: Sequence[EvaluationJob], workers: int
) -> Iterator[Score]:
    """The score of every job, in the order in which they finish."""
    # The workers inherit the task by fork; nothing of it is sent to them.
    _Worker.task, _Worker.num_samples = task, num_samples
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin_worker, initargs=(os.getpid(),)
    ) as pool:
        waiting: set[Future[Score]] = {pool.submit(_score, job) for job in jobs}
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()


# --- in a worker ---


class _Worker:
    """What a worker inherits from its parent or builds once."""

    task: Task
    num_samples: int | None
    model: FlatModel


def _begin_worker(parent: int) -> None:
    from node_agent.training import FlatModel

    # A parent killed by SIGKILL cannot end its workers, so the kernel does; it may already have been killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    _Worker.model = FlatModel(_Worker.task.make_model())


def _score(job: EvaluationJob) -> Score:
    import torch

    score: Score = {"node": job.node, "instant": job.instant, "t": job.t}
    try:
        _Worker.model.values[:] = mean_parameters(job.files, _Worker.model.num_parameters)
    except BadSnapshot as error:
        return {**score, "error": str(error)}
    with torch.no_grad():
        scores = _Worker.task.evaluate(_Worker.model.module, _Worker.num_samples)
    # JSON has no NaN; the loss of a finite model may still not be finite.
    numbers = {key: float(value) if math.isfinite(value) else None for key, value in scores.items()}
    return {**score, **numbers}


def mean_parameters(files: Sequence[Path], num_parameters: int) -> NDArray[np.float64]:
    """The mean of those snapshots, shape (num_parameters,); unreadable ones are left out.

    Raises BadSnapshot, with the problem of the first, if none can be read.
    """
    total, num_good = np.zeros(num_parameters), 0
    first: BadSnapshot | None = None
    for file in files:
        try:
            total += read_snapshot(file, num_parameters)
            num_good += 1
        except BadSnapshot as error:
            first = first or error
    if num_good == 0:
        raise first or BadSnapshot("no snapshots")
    return total / num_good


def read_snapshot(file: Path, num_parameters: int) -> NDArray[np.float32]:
    """The flat parameters in that file. Raises BadSnapshot."""
    try:
        with file.open("rb") as opened:
            # Not np.load, which also accepts archives and pickles.
            values = np.lib.format.read_array(opened, allow_pickle=False)
    except OSError as error:
        raise BadSnapshot(f"{file.name}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise BadSnapshot(f"{file.name} is damaged: {error}") from None
    if values.dtype != np.float32 or values.shape != (num_parameters,):
        raise BadSnapshot(f"{file.name} holds {values.dtype} {values.shape}, not float32 ({num_parameters},)")
    if not np.isfinite(values).all():
        raise BadSnapshot(
            f"{file.name} holds {np.count_nonzero(~np.isfinite(values))} values that are not finite"
        )
    return values


if __name__ == "__main__":
    for key, value in _SINGLE_THREADED.items():
        os.environ.setdefault(key, value)
    sys.exit(main())
