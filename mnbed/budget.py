"""What a plan costs: processor, memory, disk, wall time; and the dilation at which the processor suffices.

Estimates from measured constants, for `mnbed plan` and for the run's first line; the verdict of a run
measures anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnbed.feasible import memory_bytes
from mnbed.machine import MachineFacts
from mnbed.step_cost import StepCost

if TYPE_CHECKING:
    from mnbed.plan import Plan

# Beyond this share of the cores, steps and timers begin to come late.
COMFORTABLE_SHARE = 0.7
# Processor time to carry one bit from agent to agent: sockets, two HTB queues, bridge (0.4 ns), and the
# NFQUEUE process (0.24 ns: 0.4 core at 1.7 Gbit/s).
_CPU_S_PER_BIT = 0.4e-9
_CPU_S_PER_BIT_NFQUEUE = 0.24e-9
# GN-LeNet, where the model's size is not known.
_USUAL_PARAMETERS = 89_834
_STARTUP_S = 4.0
_STARTUP_S_PER_HOST = 0.1
_REPORT_S = 4.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Estimates for one run. `None`: unknown without the time of a step, or the size of the model."""

    cores: int
    steps_per_wall_s: float
    """Local steps of all nodes together, each wall second."""
    network_cores: float
    """Cores busy with packets."""
    demand_cores: float | None
    """Cores busy in all."""
    fitting_dilation: float | None
    """The smallest dilation, rounded up, at which the demand fits 70 % of the cores."""
    step_cpu_limit_s: float
    """The most processor time a local step may take for the demand to fit 70 % of the cores at this dilation."""
    memory_bytes: float
    snapshots: int
    """Of all nodes together."""
    disk_bytes: int | None
    wall_s: float
    """From start to report, evaluation included where the step's time is known."""

    def warning(self) -> str | None:
        """Plain words where the processor will not do, else None."""
        if self.demand_cores is None or self.demand_cores <= COMFORTABLE_SHARE * self.cores:
            return None
        excess = "more than" if self.demand_cores > self.cores else "nearly all of"
        return (
            f"the run needs {self.demand_cores:.1f} cores, {excess} this machine's {self.cores}: steps will come late "
            f"and the emulation will not be faithful; time.dilation {self.fitting_dilation:g} would fit "
            f"{COMFORTABLE_SHARE:.0%} of the cores"
        )


def budget(
    plan: Plan, facts: MachineFacts, step_cpu_s: float | None, num_parameters: int | None = None
) -> Budget:
    """`step_cpu_s`: processor time of one local step, run alone."""
    experiment = plan.experiment
    steps = sum(1 / (host.step_time_s * plan.dilation) for host in plan.hosts)
    network = _network_cores(plan, num_parameters or _USUAL_PARAMETERS)
    room = COMFORTABLE_SHARE * facts.cores
    demand = None if step_cpu_s is None else steps * step_cpu_s + network
    snapshots = len(plan.hosts) * (math.floor(experiment.time.duration / experiment.evaluate.every) + 1)
    num_peers = max(len(host.peers) for host in plan.hosts)
    return Budget(
        cores=facts.cores,
        steps_per_wall_s=steps,
        network_cores=network,
        demand_cores=demand,
        # Steps and bits per wall second both go with 1 / dilation.
        fitting_dilation=None if demand is None else _round_up(demand * plan.dilation / room),
        step_cpu_limit_s=max(0.0, (room - network) / steps),
        memory_bytes=memory_bytes(experiment, len(plan.hosts), len(plan.switches), num_peers),
        snapshots=snapshots,
        disk_bytes=None if num_parameters is None else snapshots * num_parameters * 4,
        wall_s=_STARTUP_S
        + _STARTUP_S_PER_HOST * len(plan.hosts)
        + experiment.time.duration * plan.dilation
        + _evaluation_s(plan, facts, step_cpu_s, snapshots)
        + _REPORT_S,
    )


def fitting_dilation(plan: Plan, facts: MachineFacts, step: StepCost) -> float:
    """The smallest dilation, rounded up, at which the plan's demand fits 70 % of the cores."""
    fitting = budget(plan, facts, step.cpu_s, step.num_parameters).fitting_dilation
    assert fitting is not None
    return fitting


def _network_cores(plan: Plan, num_parameters: int) -> float:
    """Every node sends whole models to as many peers as its algorithm may in each round, as far as its link lets it."""
    per_bit = _CPU_S_PER_BIT + (_CPU_S_PER_BIT_NFQUEUE if plan.delay_backend == "nfqueue" else 0.0)
    local_steps = getattr(plan.experiment.task, "local_steps", 1)
    access = {link.a: link.forward.wire.bandwidth_bps for link in plan.links}
    bits_per_s = 0.0
    for host in plan.hosts:
        copies = min(len(host.peers), getattr(plan.experiment.algorithm, "degree", len(host.peers)))
        round_wall_s = local_steps * host.step_time_s * plan.dilation
        bits_per_s += min(access[host.name], copies * num_parameters * 32 / round_wall_s)
    return bits_per_s * per_bit


def _evaluation_s(plan: Plan, facts: MachineFacts, step_cpu_s: float | None, snapshots: int) -> float:
    """A step is forward and backward over a batch; evaluating is forward alone, a third, over the samples."""
    if step_cpu_s is None:
        return 0.0
    batch_size = getattr(plan.experiment.task, "batch_size", 1)
    samples = plan.experiment.evaluate.samples or 10_000
    return snapshots * samples / batch_size * step_cpu_s / 3 / facts.cores


def _round_up(value: float) -> float:
    """To two significant digits, at least 0.01: a dilation a person would write."""
    value = max(value, 0.01)
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    # 12 digits first, or 2.3 / 0.1 = 23.000000000000004 would become 24.
    return float(f"{math.ceil(float(f'{value / scale:.12g}')) * scale:.12g}")
