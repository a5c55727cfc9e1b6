"""What one local step of an experiment's own model costs on this machine, measured alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One local step, with the machine otherwise idle."""

    wall_s: float
    cpu_s: float
    """Processor time of all threads."""
    num_parameters: int
