"""Measures what a local step costs on this machine, in a separate process, and remembers the result.

Call it as the user, never as root on their behalf: it reads their data and writes to their cache.

Results are kept as small files, one per machine and model, in the invoking user's cache. If a file is damaged, foreign
or not writable, that costs the five seconds of a measurement and nothing else. A result measured while the machine was
busy (or whose repetitions differed) is kept with that remark, and measured again if it is needed some minutes later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mnbed.errors import MachineError, error_from
from mnbed.experiment.sections import Experiment
from mnbed.machine import torch_version
from mnbed.plan.step_cost import StepCost, StepMoment
from mnbed.programs import our_program
from mnbed.run.launch import agent_environment
from mnbed.run.user import User, cache_root, data_root
from node_agent.failures import end_in_words
from node_agent.tasks import task_class

# Increased when what is measured, or how, changes.
_VERSION = 2
# torch takes some seconds to import on a slow disk, a large model a minute for its steps.
_PATIENCE_S = 600
# How long a result measured at a bad moment is used: the cause rarely goes away sooner, and a sweep asks many times.
_BAD_RESULT_LASTS = timedelta(minutes=5)
_REMEDY = "give the time yourself: mnbed plan --step-cpu TIME, and a number for time.dilation in the file"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A step's cost, and where the value comes from."""

    step: StepCost
    at: datetime
    """When it was measured, local time."""
    remembered: bool
    """Whether it comes from an earlier measurement."""
    tried: datetime | None = None
    """When a better measurement was last attempted; None: when this one was made."""

    def text(self) -> str:
        """One line for the user."""
        alone, busy = self.step.wall_s * 1e3, self.step.demand_s * 1e3
        source = f"remembered from {self.at:%Y-%m-%d %H:%M}" if self.remembered else "measured now"
        text = f"local step: {alone:.3g} ms on an idle machine, {busy:.3g} ms of CPU time on a busy one ({source})"
        return (
            text if self.complaint is None else f"{text}; timed while the machine was busy: {self.complaint}"
        )

    @property
    def complaint(self) -> str | None:
        """Why the value may be too high; None: no reason to doubt it."""
        return None if self.step.moment is None else self.step.moment.complaint()


def needs_step(experiment: Experiment) -> bool:
    """Whether the plan depends on what a step costs here."""
    return experiment.time.dilation == "auto" or experiment.compute.step_time == "measured"


def step_cost(
    experiment: Experiment, user: User, *, again: bool = False, say: Callable[[str], None] = lambda _: None
) -> Measured:
    """What a local step of the experiment's model costs on this machine; measured unless remembered from a good moment.

    `again`: measure in any case. `say` is called before a measurement, which takes a while. Raises InputError if model
    and data do not fit, MachineError if this machine cannot train the model.
    """
    key = _key(experiment)
    path = cache_root(user) / "steps" / f"{_digest(key)}.json"
    known = None if again else _recall(path, key)
    if known is not None and (
        known.complaint is None or abs(datetime.now() - (known.tried or known.at)) < _BAD_RESULT_LASTS
    ):
        return known
    why = "" if known is None else f" once more, because at {known.at:%Y-%m-%d %H:%M} {known.complaint}"
    say(f"timing a local step of this model on this machine{why}; this takes some seconds")
    best = _better(Measured(step=_measure(experiment, user), at=datetime.now(), remembered=False), known)
    _remember(path, key, best)
    return best


def _better(fresh: Measured, known: Measured | None) -> Measured:
    """The lower of two results from bad moments: a busy machine can only make a step look more expensive."""
    if known is None or fresh.complaint is None or fresh.step.demand_s <= known.step.demand_s:
        return fresh
    return replace(known, tried=fresh.at)


def _key(experiment: Experiment) -> dict[str, Any]:
    """Everything that affects a step's cost, as plain JSON."""
    settings = asdict(experiment.task)
    names = task_class(settings["name"]).COST_SETTINGS
    key = {
        "version": _VERSION,
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch_version() or "none",
        "task": settings["name"],
        "settings": settings if names is None else {name: settings[name] for name in names},
    }
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def processor_name() -> str:
    """Its name in /proc/cpuinfo, e.g. "AMD EPYC 7B13"; if there is none, the architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "cpu model") and value.strip():
                return value.strip()
    return platform.machine()


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def _measure(experiment: Experiment, user: User) -> StepCost:
    orders = {
        "task": asdict(experiment.task),
        "data_root": str(data_root(experiment.data_root, user)),
        "seed": experiment.seed,
        "cores": len(os.sched_getaffinity(0)),
    }
    try:
        done = subprocess.run(
            our_program("node_agent.measure"),
            input=json.dumps(orders) + "\n",
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            env=agent_environment(),
            check=False,
        )
        message: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise MachineError(f"timing a local step took longer than {_PATIENCE_S} s", _REMEDY) from None
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"its process {end_in_words(done.returncode)}"]
        raise MachineError(f"timing a local step failed: {last[0]}", _REMEDY) from None
    if message.pop("kind") == "error":
        text = f"timing a local step failed: {message['message']}"
        raise error_from(message["exit_status"], text, message["remedy"], message["traceback"])
    return _step_of(message)


def _step_of(plain: dict[str, Any]) -> StepCost:
    """Raises KeyError or TypeError if that is not a step."""
    return StepCost(**{**plain, "moment": StepMoment(**plain["moment"])})


def _recall(path: Path, key: dict[str, Any]) -> Measured | None:
    """The content of the file; None if it is missing, damaged or for another key."""
    try:
        content = json.loads(path.read_text())
        step = _step_of(content["step"])
        numbers = [step.wall_s, step.cpu_s, step.num_parameters or 0, step.demand_s]
        if content["key"] != key or not all(math.isfinite(number) and number > 0 for number in numbers):
            return None
        assert step.moment is not None
        step.moment.complaint()  # raises TypeError now, rather than later, if the moment is damaged
        tried = datetime.fromisoformat(content["tried"]) if content["tried"] else None
        return Measured(step=step, at=datetime.fromisoformat(content["at"]), remembered=True, tried=tried)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, key: dict[str, Any], measured: Measured) -> None:
    content = {
        "key": key,
        "at": measured.at.isoformat(timespec="seconds"),
        "tried": None if measured.tried is None else measured.tried.isoformat(timespec="seconds"),
        "step": asdict(measured.step),
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fresh = Path(folder) / path.name
            fresh.write_text(json.dumps(content, indent=1) + "\n")
            os.replace(fresh, path)
