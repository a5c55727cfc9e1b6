"""What a plan costs: CPU, memory, disk, wall time; and the dilation at which the CPU suffices.

Estimates from a measured step and from the constants below, each with its source; a run's verdict measures again.
Demand is counted in CPU seconds per emulated second, so that dilation divides it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mnbed.experiment.foreign import planned_sends
from mnbed.plan.feasible import memory_bytes
from mnbed.plan.model import HostPlan, Plan
from mnbed.plan.properties import FRAME_BYTES
from mnbed.plan.step_cost import StepCost

# Beyond this share of the cores, steps and timers begin to come late.
COMFORTABLE_SHARE = 0.7

# The following was measured on two cores of an AMD EPYC (Zen 5) at 2.6 GHz, over whole runs of 5 to 10 emulated seconds
# with 6 and 8 nodes, at dilations 1 and 4: the agents' own CPU time, with and without exchange.
#
# The cost of a step in a run relative to when it is timed alone: the agent's other thread takes turns with it,
# interrupts and packets are processed in its time, caches go cold. GN-LeNet, 8 nodes, dilation 3: 7.7 ms, not 6.0 ms.
STEP_FACTOR_IN_RUN = 1.3
# The rest of an agent per step: clock, snapshots, status, and caches that went cold between steps.
AGENT_CPU_S_PER_STEP = 0.3e-3
AGENT_CPU_S_PER_ROUND = 0.5e-3
# Cut, encode, queue, send or drop, decode at the other end, aggregate, journal.
AGENT_CPU_S_PER_FRAGMENT = 20e-6
# bench/round_cost.py: 1.3 ms for 4.3 MB in and out.
AGENT_CPU_S_PER_BYTE = 0.5e-9
# A full-size packet and its share of acknowledgements from socket to socket, including wake-ups of both agents: 21 us
# over two links at 10 Mbit/s per connection. Faster connections carry larger segments and need down to half of it.
PACKET_CPU_S = 14e-6
PACKET_CPU_S_PER_LINK = 3.5e-6
# The delay process: 5 us for large segments, 15 to 40 us for single packets; 30 us in that run.
NFQUEUE_CPU_S_PER_PACKET = 30e-6
# Messages of agents twice a second, counters of links once a second.
CONTROLLER_CPU_S_PER_WALL_S = 0.01
CONTROLLER_CPU_S_PER_HOST_WALL_S = 0.002
# Copy, write, and the kernel's page cache.
SNAPSHOT_CPU_S_PER_BYTE = 2e-9

# GN-LeNet; assumed if the model's size is unknown.
_USUAL_PARAMETERS = 89_834
_PARAMETER_BYTES = 4
_STARTUP_S = 4.0
_STARTUP_S_PER_HOST = 0.1
_REPORT_S = 4.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """A line of the budget: a use of the CPU, and its cost."""

    name: str
    amount: str
    """How much of it, as text: "400 steps of 6.1 ms"."""
    cpu_s: float
    """CPU seconds per emulated second."""
    cpu_s_per_wall_s: float = 0.0
    """CPU seconds per wall second, whatever the dilation."""

    def cores(self, dilation: float) -> float:
        """Number of cores that it keeps busy."""
        return self.cpu_s / dilation + self.cpu_s_per_wall_s


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Estimates for a run. `None`: unknown without the cost of a step."""

    cores: int
    dilation: float
    sources: tuple[Source, ...]
    """Every use of the CPU; without training if the cost of a step is unknown."""
    demand_cores: float | None
    """Total number of busy cores, at this dilation."""
    fitting_dilation: float | None
    """The smallest dilation, rounded up, at which the demand fits 70 % of the cores."""
    step_cpu_limit_s: float
    """The most CPU time that a local step may take for the demand to fit 70 % of the cores at this dilation."""
    traffic_bps: float
    """Upper limit of the payload and headers that all hosts together send, emulated."""
    memory_bytes: float
    snapshots: int
    """Number of snapshots of all nodes."""
    disk_bytes: int
    """Size of snapshots and journals during the run."""
    evaluation_s: float | None
    wall_s: float
    """From start to report, including the evaluation if the cost of a step is known."""

    def warning(self) -> str | None:
        """A warning if the CPU does not suffice; otherwise None."""
        if self.demand_cores is None or self.demand_cores <= COMFORTABLE_SHARE * self.cores:
            return None
        excess = "more than" if self.demand_cores > self.cores else "nearly all of"
        return (
            f"the run needs {self.demand_cores:.1f} cores, {excess} this machine's {self.cores}: steps will be late "
            f"and the emulation will not be faithful; time.dilation {self.fitting_dilation:g} would fit "
            f"{COMFORTABLE_SHARE:.0%} of the cores"
        )


def budget(plan: Plan, cores: int, step: StepCost | None) -> Budget:
    """The budget of a plan. `step`: the cost of a local step here; None: unknown."""
    experiment = plan.experiment
    num_parameters = (step and step.num_parameters) or _USUAL_PARAMETERS
    others = tuple(_other_sources(plan, num_parameters))
    steps = sum(1 / host.step_time_s for host in plan.hosts)
    training = () if step is None else (_training(steps, step),)
    sources = (*training, *others)
    room = COMFORTABLE_SHARE * cores
    taken = sum(source.cores(plan.dilation) for source in others)
    snapshots = len(plan.hosts) * (math.floor(experiment.time.duration / experiment.evaluate.every) + 1)
    evaluation_s = None if step is None else _evaluation_s(plan, cores, step, snapshots)
    return Budget(
        cores=cores,
        dilation=plan.dilation,
        sources=sources,
        demand_cores=None if step is None else sum(source.cores(plan.dilation) for source in sources),
        fitting_dilation=None if step is None else _fitting(sources, room),
        step_cpu_limit_s=max(0.0, (room - taken) * plan.dilation / steps / STEP_FACTOR_IN_RUN),
        traffic_bps=sum(_sent_bps(plan, num_parameters).values()),
        memory_bytes=memory_bytes(
            experiment, len(plan.hosts), len(plan.switches), max(len(host.peers) for host in plan.hosts)
        ),
        snapshots=snapshots,
        disk_bytes=snapshots * num_parameters * _PARAMETER_BYTES,
        evaluation_s=evaluation_s,
        wall_s=_STARTUP_S
        + _STARTUP_S_PER_HOST * len(plan.hosts)
        + experiment.time.duration * plan.dilation
        + (evaluation_s or 0.0)
        + _REPORT_S,
    )


def fitting_dilation(plan: Plan, cores: int, step: StepCost) -> float:
    """The smallest dilation, rounded up, at which the plan's demand fits 70 % of the cores; may be below 1."""
    fitting = budget(plan, cores, step).fitting_dilation
    assert fitting is not None
    return fitting


def _fitting(sources: tuple[Source, ...], room: float) -> float:
    always = sum(source.cpu_s_per_wall_s for source in sources)
    demand = sum(source.cpu_s for source in sources)
    return math.inf if always >= room else _round_up(demand / (room - always))


def _training(steps: float, step: StepCost) -> Source:
    cpu_s = step.demand_s * STEP_FACTOR_IN_RUN
    return Source(name="training", amount=f"{steps:.4g} steps of {cpu_s * 1e3:.3g} ms", cpu_s=steps * cpu_s)


def _other_sources(plan: Plan, num_parameters: int) -> Iterator[Source]:
    experiment, hosts = plan.experiment, plan.hosts
    rounds = {host.name: 1 / (_local_steps(plan) * host.step_time_s) for host in hosts}
    sent = _sent_bps(plan, num_parameters)
    fragments = sum(rounds[host.name] * math.prod(_planned_sends(plan, host)) for host in hosts)
    sent_bytes = sum(sent.values()) / 8
    packets = sent_bytes / FRAME_BYTES
    yield Source(
        name="agents",
        amount=f"{sum(rounds.values()):.3g} rounds, {fragments:.4g} fragments, {sent_bytes / 1e6:.3g} MB",
        cpu_s=sum(1 / host.step_time_s for host in hosts) * AGENT_CPU_S_PER_STEP
        + sum(rounds.values()) * AGENT_CPU_S_PER_ROUND
        + fragments * AGENT_CPU_S_PER_FRAGMENT
        + sent_bytes * AGENT_CPU_S_PER_BYTE,
    )
    hops = _mean_hops(plan)
    yield Source(
        name="packets",
        amount=f"{packets:.4g} packets over {hops:.3g} links",
        cpu_s=packets * (PACKET_CPU_S + hops * PACKET_CPU_S_PER_LINK),
    )
    if plan.delay_backend == "nfqueue":
        yield Source(
            name="delay process", amount=f"{packets:.4g} packets", cpu_s=packets * NFQUEUE_CPU_S_PER_PACKET
        )
    yield Source(
        name="snapshots",
        amount=f"{len(hosts) / experiment.evaluate.every:.3g} of {num_parameters:,} parameters",
        cpu_s=len(hosts)
        / experiment.evaluate.every
        * num_parameters
        * _PARAMETER_BYTES
        * SNAPSHOT_CPU_S_PER_BYTE,
    )
    yield Source(
        name="controller",
        amount=f"{len(hosts)} agents, {len(plan.links)} links",
        cpu_s=0.0,
        cpu_s_per_wall_s=CONTROLLER_CPU_S_PER_WALL_S + len(hosts) * CONTROLLER_CPU_S_PER_HOST_WALL_S,
    )


def _sent_bps(plan: Plan, num_parameters: int) -> dict[str, float]:
    """Host -> its traffic, emulated: whole models to as many peers as its algorithm may send to per round, limited by
    its own link and those of its peers. Links between switches are assumed to be fast enough.
    """
    own = {direction.source: direction.asked.bandwidth_bps for direction in plan.directions.values()}
    up = {host.name: own[host.name] for host in plan.hosts}
    down = {
        direction.target: direction.asked.bandwidth_bps
        for direction in plan.directions.values()
        if direction.target in up
    }
    to_each: dict[str, float] = {}
    for host in plan.hosts:
        round_s = _local_steps(plan) * host.step_time_s
        offered_bps = _planned_sends(plan, host)[0] * num_parameters * _PARAMETER_BYTES * 8 / round_s
        to_each[host.name] = min(up[host.name], offered_bps) / max(1, len(host.peers))
    arriving = dict.fromkeys(up, 0.0)
    for host in plan.hosts:
        for peer in host.peers:
            arriving[peer] += to_each[host.name]
    share = {name: min(1.0, down[name] / arriving[name]) if arriving[name] else 1.0 for name in up}
    return {host.name: to_each[host.name] * sum(share[peer] for peer in host.peers) for host in plan.hosts}


def _mean_hops(plan: Plan) -> float:
    """Mean number of links between two peers, over some pairs."""
    pairs = [
        (host.name, host.peers[number % len(host.peers)])
        for number, host in enumerate(plan.hosts)
        if host.peers
    ]
    lengths = [sum(1 for _ in plan.route(*pair)) for pair in pairs[:50]]
    return sum(lengths) / len(lengths) if lengths else 0.0


def _local_steps(plan: Plan) -> int:
    return int(getattr(plan.experiment.task, "local_steps", 1))


def _planned_sends(plan: Plan, host: HostPlan) -> tuple[float, int]:
    """(whole models that a host sends in a round, fragments of each)."""
    return planned_sends(plan.experiment.algorithm, len(host.peers))


def _evaluation_s(plan: Plan, cores: int, step: StepCost, snapshots: int) -> float:
    """A step is a forward and a backward pass over a batch; evaluation is only a forward pass, a third of that."""
    batch_size = getattr(plan.experiment.task, "batch_size", 1)
    samples = plan.experiment.evaluate.samples or 10_000
    return snapshots * samples / batch_size * step.cpu_s / 3 / cores


def _round_up(value: float) -> float:
    """To two significant digits, at least 0.01: a dilation that a person would write."""
    value = max(value, 0.01)
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    # 12 digits first, or 2.3 / 0.1 = 23.000000000000004 would become 24.
    return float(f"{math.ceil(float(f'{value / scale:.12g}')) * scale:.12g}")
