"""From an experiment file to the plan of a run on this machine: how every command that builds a network begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnbed.loading import load_experiment, naming
from mnbed.machine import MachineFacts, probe, require
from mnbed.plan import Plan, make_plan
from mnbed.run.step_measurement import needs_step, step_cost
from mnbed.run.user import invoking_user
from mnbed.step_cost import UNMEASURED, StepCost


def plan_run(file: Path, overrides: Sequence[str], facts: MachineFacts | None = None) -> Plan:
    """The plan, with a step of the experiment's model timed on this machine where the plan depends on it.

    Raises InputError where the file is wrong, before any time is spent; MachineError where this machine cannot do it.
    """
    experiment = load_experiment(file, overrides)
    facts = facts or probe()
    with naming(file):
        make_plan(experiment, facts, UNMEASURED)
        require(facts)
        step: StepCost | None = None
        if needs_step(experiment):
            measured = step_cost(experiment, invoking_user(), say=print)
            step = measured.step
            if measured.complaint is not None:
                print(measured.text())
        return make_plan(experiment, facts, step)
