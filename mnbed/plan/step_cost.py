"""The cost of a local step of an experiment's model on this machine; `run/step_measurement.py` measures it."""

from __future__ import annotations

from dataclasses import dataclass

from mnbed.experiment.fields import twelve_digits

# Above these limits the machine was too busy to measure. Measured on 2 cores with GN-LeNet: when others use 8 % of the
# cores, repetitions differ by 7 %; when they use 59 %, by 31 %, and a step seems 16 % more expensive.
MAX_OTHERS_BUSY = 0.2
MAX_STOLEN = 0.02
MAX_SPREAD = 0.25


@dataclass(frozen=True, kw_only=True)
class StepMoment:
    """The state of the machine while a step was timed. None: not available on this machine."""

    spread: float
    """How much slower the slowest repetition was than the fastest, as a fraction of the fastest."""
    others_busy: float | None = None
    """Share of the cores that other processes used meanwhile."""
    stolen: float | None = None
    """Share of the cores' time that the hypervisor gave to other machines."""
    load_average: float | None = None
    """Load average per core over the last minute, when timing began."""

    def complaint(self) -> str | None:
        """Why the measured cost may be too high; None if the machine was quiet enough."""
        reasons = []
        if self.others_busy is not None and self.others_busy > MAX_OTHERS_BUSY:
            reasons.append(f"other processes kept {self.others_busy:.0%} of the cores busy")
        if self.stolen is not None and self.stolen > MAX_STOLEN:
            reasons.append(f"the hypervisor took {self.stolen:.0%} of the cores' time")
        if self.spread > MAX_SPREAD:
            reasons.append(f"repetitions differed by {self.spread:.0%}")
        return ", ".join(reasons) or None


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The cost of a local step."""

    wall_s: float
    """Wall time on an otherwise idle machine."""
    cpu_s: float
    """CPU time of all threads on an otherwise idle machine."""
    num_parameters: int | None = None
    """Number of parameters of the model; None: unknown."""
    busy_cpu_s: float | None = None
    """CPU time while other agents keep 70 % of the cores busy; None: not measured, the same as alone."""
    moment: StepMoment | None = None
    """The machine meanwhile; None: unknown, for example if the user gave the cost."""

    @property
    def emulated_s(self) -> float:
        """The value of `step_time: measured`, rounded to the digits that an experiment file keeps."""
        return twelve_digits(self.wall_s)

    @property
    def demand_s(self) -> float:
        """CPU time of a step in a run, which plans assume."""
        return self.cpu_s if self.busy_cpu_s is None else self.busy_cpu_s


UNMEASURED = StepCost(wall_s=1e-3, cpu_s=1e-6)
"""A placeholder for experiments that are only being checked, so that no time is spent on measuring."""
