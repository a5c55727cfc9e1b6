"""The experiment as kept in a run directory, so that running it again is the same run.

An experiment may leave choices to the machine (`auto`, `measured`, null). The kept experiment contains the plan's
choices, so that another machine, or this one at another time, does not choose again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnbed.experiment.sections import Experiment
from mnbed.plan.model import Plan

# With at most this many nodes the ledger is kept, unless the experiment says otherwise.
_LEDGER_MAX_NODES = 64


def keeps_ledger(plan: Plan) -> bool:
    """Whether each fragment's life is recorded: as the experiment says, by default on small networks."""
    asked = plan.experiment.agents.ledger
    return len(plan.hosts) <= _LEDGER_MAX_NODES if asked is None else asked


def left_to_machine(experiment: Experiment) -> dict[str, Any]:
    """Key -> the value, such as auto, with which the experiment leaves the choice to the machine."""
    asked = {
        "compute.step_time": experiment.compute.step_time,
        "network.delay_backend": experiment.network.delay_backend,
        "time.dilation": experiment.time.dilation,
    }
    return {key: value for key, value in asked.items() if value in ("auto", "measured")}


def rerunnable(plan: Plan, *, real_data: bool = False) -> Experiment:
    """The plan's experiment with every choice written out: any machine that can run it plans the same run.

    real_data: the run used real data, so no stand-in may replace it the next time.
    """
    experiment = plan.experiment
    task = experiment.task
    if real_data and getattr(task, "on_missing", None) == "synthetic":
        task = replace(task, on_missing="fail")  # type: ignore[call-arg]
    network, compute = experiment.network, experiment.compute
    if plan.delay_backend != "none":
        network = replace(network, delay_backend=plan.delay_backend)  # type: ignore[arg-type]
    if compute.step_time == "measured":
        assert plan.step is not None
        compute = replace(compute, step_time=plan.step.emulated_s)
    return replace(
        experiment,
        network=network,
        task=task,
        compute=compute,
        time=replace(experiment.time, dilation=plan.dilation),
        agents=replace(experiment.agents, ledger=keeps_ledger(plan)),
    )
