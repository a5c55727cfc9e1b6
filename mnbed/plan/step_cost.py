"""What one local step of an experiment's own model costs on this machine; `run/step_measurement.py` finds it out."""

from __future__ import annotations

from dataclasses import dataclass

from mnbed.experiment.fields import twelve_digits

# Above these a figure is of a bad moment. Measured on 2 cores with GN-LeNet: with 8 % of the cores taken by others the
# repetitions differ by 7 %; with 59 %, by 31 %, and a step seems 16 % dearer.
MAX_OTHERS_BUSY = 0.2
MAX_STOLEN = 0.02
MAX_SPREAD = 0.25


@dataclass(frozen=True, kw_only=True)
class StepMoment:
    """The machine while a step was timed. None: this machine does not tell."""

    spread: float
    """How much dearer the dearest repetition was than the cheapest, as a fraction of that."""
    others_busy: float | None = None
    """Share of the cores that other processes kept busy meanwhile."""
    stolen: float | None = None
    """Share of the cores' time that the hypervisor gave to others."""
    load_average: float | None = None
    """Of the last minute, when timing began, for each core."""

    def complaint(self) -> str | None:
        """Why a step timed then may look dearer than it is; None: a good moment."""
        found = []
        if self.others_busy is not None and self.others_busy > MAX_OTHERS_BUSY:
            found.append(f"other processes kept {self.others_busy:.0%} of the cores busy")
        if self.stolen is not None and self.stolen > MAX_STOLEN:
            found.append(f"the hypervisor took {self.stolen:.0%} of the cores' time")
        if self.spread > MAX_SPREAD:
            found.append(f"repetitions differed by {self.spread:.0%}")
        return ", ".join(found) or None


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
    moment: StepMoment | None = None
    """What the machine did meanwhile; None: not known, as for a figure that the user gave."""

    @property
    def emulated_s(self) -> float:
        """What `step_time: measured` makes of it, in digits that an experiment file keeps."""
        return twelve_digits(self.wall_s)

    @property
    def demand_s(self) -> float:
        """Processor time of a step in a run: what plans reckon with."""
        return self.cpu_s if self.busy_cpu_s is None else self.busy_cpu_s


UNMEASURED = StepCost(wall_s=1e-3, cpu_s=1e-6)
"""Stands for the step of an experiment that is only being checked, before time is spent on measuring."""
