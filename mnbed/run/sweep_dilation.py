"""One dilation for all runs of a sweep that are compared with each other, if the experiment says `auto`.

On its own, each run would get the smallest dilation at which it fits this machine, and an algorithm that sends more
would get a larger one than its rival: the two would see different networks, and steps timed at different moments.
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
        """`say` is called before a step is timed."""
        self._say = say
        self._facts = probe()

    def __call__(self, experiment: Experiment) -> float:
        """Raises MnbedError if the experiment cannot be run."""
        step = step_cost(experiment, invoking_user(), say=self._say).step
        return make_plan(experiment, self._facts, step).dilation


def shared_dilations(
    sweep: Sweep,
    todo: Iterable[int],
    known: Sequence[float | None],
    plan: Callable[[Experiment], float],
) -> dict[int, float]:
    """Index of each run to do that leaves its dilation to the machine -> the largest that any run of its setting needs.

    known: by index, what was chosen before; a setting of which some runs have been done keeps its dilation. A run that
    cannot be planned is ignored: it will fail by itself, and say why.
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
        dilation = max((value for place in places if (value := known[place]) is not None), default=None)
        if dilation is None:
            dilation = max(_needed(sweep, places, plan), default=None)
        if dilation is not None:
            chosen |= dict.fromkeys(missing, dilation)
    return chosen


def _needed(sweep: Sweep, places: Sequence[int], plan: Callable[[Experiment], float]) -> list[float]:
    """The dilations needed by one seed of each cell: other seeds change little, and there may be thousands."""
    first = {run.label: run for place in reversed(places) if (run := sweep.runs[place])}
    needed = []
    for run in first.values():
        with contextlib.suppress(MnbedError):
            needed.append(plan(run.experiment))
    return needed
