"""From an experiment file to a plan for this machine: the first step of every command that builds a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnbed.experiment.loading import naming
from mnbed.machine import MachineFacts, probe
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan
from mnbed.run.user_side import UserSide


def plan_run(side: UserSide, file: Path, overrides: Sequence[str], facts: MachineFacts | None = None) -> Plan:
    """The plan, with a step of the experiment's model timed on this machine if the plan depends on it.

    The user's process reads the file and everything that it names, and runs the user's code; this one makes the plan
    again from the checked data. Raises InputError if the file is wrong, before any time is spent; MachineError if this
    machine cannot do it.
    """
    facts = facts or probe()
    loaded = side.load(file, overrides, facts)
    with naming(file):
        return make_plan(loaded.experiment, facts, loaded.step)
