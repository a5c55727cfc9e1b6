"""Test scores of every snapshot and of each instant's averaged model, on all cores, after the network is down.

    python -m mnbed.results.evaluate RUNDIR [--workers N]

is a process of its own: it loads the task once, forks workers that share it, prints {"done": k, "total": n} on standard
output after each model and appends to evaluation.jsonl as it goes, so that a second start only does what is left.
`run_evaluation` starts it and follows it.
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
from mnbed.results.scores import Job, Score, pending_jobs, remove_snapshots, snapshot_jobs
from mnbed.run_directory import RunDirectory
from node_agent import full_disk

if TYPE_CHECKING:
    from node_agent.tasks import Task
    from node_agent.training import FlatModel

__all__ = ["remove_snapshots", "run_evaluation"]

# One line of progress may end a Ctrl-C's wait; what a failed process said last is what explains it.
_LAST_LINES = 5
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
# The workers fill the cores; threads of several processes on one core only wait for each other.
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class BadSnapshot(Exception):
    """A snapshot that cannot be evaluated; the text is for the report."""


# --- the controller's side ---


def run_evaluation(run: RunDirectory, progress: Callable[[int, int], None]) -> None:
    """Evaluate what is not evaluated yet; `progress(done, total)` is called for every model.

    Blocks. On any exception in here, Ctrl-C included, the process and its workers are gone before it travels on.
    Raises RunError with the last lines the process wrote, where it failed; MachineError where the disk is full.
    """
    if not pending_jobs(run):
        return
    command = our_program("mnbed.results.evaluate", str(run.path))
    with tempfile.TemporaryFile("w+") as errors:
        # A session of its own: Ctrl-C is the caller's to handle, and the whole group can be ended at once.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, **_SINGLE_THREADED},
        )
        with _ended_at_last(process):
            assert process.stdout is not None
            for line in process.stdout:
                state = json.loads(line)
                progress(state["done"], state["total"])
            status = process.wait()
        if status == errno.ENOSPC:
            raise MachineError(
                f"evaluation: {_last_lines(errors)}",
                f"make room on the disk that holds {run.path}; then `mnbed report` on it evaluates the rest",
            )
        if status != 0:
            raise RunError(f"evaluation failed ({_cause(status)}): {_last_lines(errors)}")


@contextlib.contextmanager
def _ended_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _cause(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _last_lines(file: IO[str]) -> str:
    file.seek(0)
    lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]) or "it said nothing"


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
        # Whoever followed the progress is gone, and with it the wish for a result.
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
    """Open for appending, after a line that an earlier process left torn."""
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
        raise RunError(f"the test data cannot be had: {error}", error.remedy) from None
    return task


def _data_root(run: RunDirectory) -> Path:
    """Where the run's own agents found the data."""
    problems: list[str] = []
    found = read_environment(run, problems).get("data_root")
    if not isinstance(found, str):
        why = problems[0] if problems else "environment.json has no data_root"
        raise RunError(
            f"where the data is, is not known: {why}", f'write {{"data_root": PATH}} to {run.environment}'
        )
    return Path(found)


def _scores(task: Task, num_samples: int | None, jobs: Sequence[Job], workers: int) -> Iterator[Score]:
    """Every job's score, as they come."""
    # What the workers share with this process is there by the fork: nothing of the task is sent to them.
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
    """What a worker has from its parent, and makes once."""

    task: Task
    num_samples: int | None
    model: FlatModel


def _begin_worker(parent: int) -> None:
    from node_agent.training import FlatModel

    # A parent ended by SIGKILL cannot end its workers; the kernel does, and it may have happened already.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    _Worker.model = FlatModel(_Worker.task.make_model())


def _score(job: Job) -> Score:
    import torch

    score: Score = {"node": job.node, "instant": job.instant, "t": job.t}
    try:
        _Worker.model.values[:] = mean_parameters(job.files, _Worker.model.num_parameters)
    except BadSnapshot as error:
        return {**score, "error": str(error)}
    with torch.no_grad():
        found = _Worker.task.evaluate(_Worker.model.module, _Worker.num_samples)
    # JSON has no NaN; a model may be finite and its loss not.
    numbers = {key: float(value) if math.isfinite(value) else None for key, value in found.items()}
    return {**score, **numbers}


def mean_parameters(files: Sequence[Path], num_parameters: int) -> NDArray[np.float64]:
    """The mean of those snapshots, shape (num_parameters,); what cannot be read does not count.

    Raises BadSnapshot, saying what is wrong with the first, where none can be.
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
            # Not np.load: it takes archives and pickles, too.
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
