"""One dilation for all runs of a sweep that are compared with each other, where the experiment says `auto`.

Each run by itself would get the smallest at which it fits this machine, and an algorithm that sends more a larger one
than its rival: another network on the wire, and another moment's luck in timing a step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from mnbed.errors import MnbedError
from mnbed.experiment.sections import Experiment
from mnbed.experiment.sweep import Sweep
from mnbed.machine import probe
from mnbed.plan.make import make_plan
from mnbed.run.step_measurement import step_cost
from mnbed.run.user import invoking_user


class Planner:
    """Works out the dilation that `auto` means on this machine."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` is called before a step has to be timed."""
        self._say = say
        self._facts = probe()

    def __call__(self, experiment: Experiment) -> float:
        """Raises MnbedError where the experiment cannot be run."""
        step = step_cost(experiment, invoking_user(), say=self._say).step
        return make_plan(experiment, self._facts, step).dilation


def shared_dilations(
    sweep: Sweep,
    todo: Iterable[int],
    known: Sequence[float | None],
    plan: Callable[[Experiment], float],
) -> dict[int, float]:
    """Place of each run to do that leaves its dilation to the machine -> the largest that any in its setting needs.

    known: by place, what was chosen before; a setting of which some runs have been done keeps it. A run that cannot be
    planned has no say: it will fail by itself, and say why.
    """
    settings: dict[object, list[int]] = {}
    for place, run in enumerate(sweep.runs):
        if run.experiment.time.dilation == "auto":
            settings.setdefault(sweep.setting(run), []).append(place)
    wanted = set(todo)
    chosen: dict[int, float] = {}
    for places in settings.values():
        missing = [place for place in places if place in wanted and known[place] is None]
        if not missing:
            continue
        dilation = max((found for place in places if (found := known[place]) is not None), default=None)
        if dilation is None:
            dilation = max(_needed(sweep, places, plan), default=None)
        if dilation is not None:
            chosen |= dict.fromkeys(missing, dilation)
    return chosen


def _needed(sweep: Sweep, places: Sequence[int], plan: Callable[[Experiment], float]) -> list[float]:
    """For one seed of each cell: other seeds change little, and there may be thousands."""
    first = {run.label: run for place in reversed(places) if (run := sweep.runs[place])}
    found = []
    for run in first.values():
        with contextlib.suppress(MnbedError):
            found.append(plan(run.experiment))
    return found
