"""Measures what a local step costs on this machine: alone, and beside as many others as in a run at its busiest.

Run as `python -m node_agent.measure` in the environment that agents get. Standard input holds one JSON object {"task",
"data_root", "seed", "cores"}; standard output gets one of

    measured   wall_s, cpu_s, busy_cpu_s, num_parameters, moment {spread, others_busy, stolen, load_average}
    error      message, remedy, exit_status, traceback

The data is generated if the task does not need its own for this. The process that starts this one has dropped root.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from node_agent.reports import report_of
from node_agent.streams import stream
from node_agent.tasks import Task, create_task

# The cheapest of several groups of steps counts: a busy moment of the machine makes steps more expensive, and nothing
# makes them cheaper. All groups together take two to three seconds, unless a single step takes long.
_GROUPS = 5
_GROUP_S = 0.3
_MIN_STEPS = 5
# In the busy measurement this many nodes share a core, and together they ask for 70 % of the cores, like a run whose
# dilation was chosen by `auto`. Between its steps, others use a node's caches. Measured on 2 cores with GN-LeNet, batch
# 8: 4.7 ms alone, 5.5 ms with 4 endless loops on each core, 6.2 ms with pauses, during which caches go cold.
_PROCESSES_PER_CORE = 4
_MAX_PROCESSES = 64
_BUSY_SHARE = 0.7


def trainer_of(task: Task, name: str | int) -> tuple[Callable[[], float], int]:
    """(one local step of a model of its own, number of parameters)."""
    from node_agent.training import FlatModel, Trainer

    model = FlatModel(task.make_model())
    rng = stream(task.seed, "measure", name)
    count = min(task.num_training, max(256, getattr(task.settings, "batch_size", 1)))
    part = np.sort(rng.choice(task.num_training, count, replace=False))
    return Trainer(task, model, part, rng).step, model.num_parameters


@dataclass(frozen=True, kw_only=True)
class CoreTimes:
    """Processor time of the cores that this process may use, since boot, in seconds."""

    all_s: float
    busy_s: float
    stolen_s: float
    own_s: float
    """Processor time of this process."""

    @classmethod
    def now(cls, stat: Path = Path("/proc/stat")) -> CoreTimes | None:
        """The times now; None if the kernel does not report them."""
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        wanted = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        try:
            lines = [line.split() for line in stat.read_text().splitlines()]
            rows = [
                [int(text) * tick_s for text in line[1:9]] for line in lines if line and line[0] in wanted
            ]
            totals = [sum(column) for column in zip(*rows, strict=True)]
            idle_s, stolen_s = totals[3] + totals[4], totals[7]
        except (OSError, ValueError, IndexError):
            return None
        busy_s = sum(totals) - idle_s - stolen_s
        return cls(all_s=sum(totals), busy_s=busy_s, stolen_s=stolen_s, own_s=time.process_time())


def moment(before: CoreTimes | None, after: CoreTimes | None, walls: list[float]) -> dict[str, float | None]:
    """What the machine did between the two times; `walls`: wall seconds of a step in each group."""
    activity: dict[str, float | None] = {
        "spread": max(walls) / min(walls) - 1,
        "others_busy": None,
        "stolen": None,
    }
    if before is not None and after is not None and after.all_s > before.all_s:
        total_s = after.all_s - before.all_s
        others_s = after.busy_s - before.busy_s - (after.own_s - before.own_s)
        activity["others_busy"] = min(1.0, max(0.0, others_s / total_s))
        activity["stolen"] = max(0.0, after.stolen_s - before.stolen_s) / total_s
    return activity


def time_alone(step: Callable[[], float]) -> tuple[float, float, list[float]]:
    """(wall, processor) seconds of one step, each the median of the cheapest group; wall seconds in each group."""
    walls, cpus = [], []
    for _ in range(_GROUPS):
        group = _group(step, 0.0)
        walls.append(statistics.median(wall for wall, _ in group))
        cpus.append(statistics.median(cpu for _, cpu in group))
    return min(walls), min(cpus), walls


def time_beside_others(task: Task, cores: int, step_wall_s: float) -> float:
    """Processor seconds of one step while several processes per core train and pause; the mean of the best group."""
    count = max(cores, min(_PROCESSES_PER_CORE * cores, _MAX_PROCESSES))
    period_s = step_wall_s * count / (cores * _BUSY_SHARE)
    pipes = [_fork(functools.partial(_paced_means, task, number, count, period_s)) for number in range(count)]
    rows = [json.loads(_read_all(pipe)) for pipe in pipes]
    for _ in rows:
        os.wait()
    means: list[float] = [statistics.mean(group) for group in zip(*rows, strict=True)]
    return min(means)


def _paced_means(task: Task, number: int, count: int, period_s: float) -> list[float]:
    """In a child: mean processor seconds of a step in each group."""
    step, _ = trainer_of(task, number)
    step()
    time.sleep(period_s * number / count)
    return [statistics.mean(cpu for _, cpu in _group(step, period_s)) for _ in range(_GROUPS)]


def _group(step: Callable[[], float], period_s: float) -> list[tuple[float, float]]:
    """(wall, processor) seconds of every step of a group; one begins each period."""
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(times) < _MIN_STEPS or time.perf_counter() < began + _GROUP_S:
        wall, cpu = time.perf_counter(), time.thread_time()
        step()
        cpu = time.thread_time() - cpu
        times.append((time.perf_counter() - wall, cpu))
        time.sleep(max(0.0, period_s - times[-1][0]))
    return times


def _fork(work: Callable[[], object]) -> int:
    """Do the work in a child; returns the reading end of a pipe that delivers its result as JSON."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    return reading


def _read_all(pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as file:
        return file.read()


def measure(orders: dict[str, Any]) -> dict[str, Any]:
    """Load, warm up, measure."""
    import torch

    from node_agent.training import warm_up

    torch.set_num_threads(1)
    task = create_task(orders["task"], Path(orders["data_root"]), orders["seed"])
    # Standard output is the controller's channel; what a library prints goes to the log.
    with contextlib.redirect_stdout(sys.stderr):
        task.load_for_timing()
    warm_up(task)
    step, num_parameters = trainer_of(task, "alone")
    load = os.getloadavg()[0] / orders["cores"]
    before = CoreTimes.now()
    wall_s, cpu_s, walls = time_alone(step)
    machine = moment(before, CoreTimes.now(), walls)
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "busy_cpu_s": max(cpu_s, time_beside_others(task, orders["cores"], wall_s)),
        "num_parameters": num_parameters,
        "moment": {**machine, "load_average": load},
    }


def main() -> int:
    """Read one object, write one."""
    orders = json.loads(sys.stdin.buffer.readline())
    try:
        result = {"kind": "measured", **measure(orders)}
    except Exception as error:
        result = {"kind": "error", **report_of(error)}
    print(json.dumps(result))
    return 0 if result["kind"] == "measured" else 1


if __name__ == "__main__":
    sys.exit(main())
