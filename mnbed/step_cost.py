"""What one local step of an experiment's own model costs on this machine; `run/step_measurement.py` finds it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One local step."""

    wall_s: float
    """With the machine otherwise idle."""
    cpu_s: float
    """Processor time of all threads, with the machine otherwise idle."""
    num_parameters: int | None = None
    """Of the model; None: unknown."""
    busy_cpu_s: float | None = None
    """Processor time beside as many other agents as keep 70 % of the cores busy; None: not measured, as alone."""

    @property
    def demand_s(self) -> float:
        """Processor time of a step in a run: what plans reckon with."""
        return self.cpu_s if self.busy_cpu_s is None else self.busy_cpu_s


UNMEASURED = StepCost(wall_s=1e-3, cpu_s=1e-6)
"""Stands for the step of an experiment that is only being checked, before time is spent on measuring."""
