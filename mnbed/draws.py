"""What the seed decides of an experiment: stragglers, step times, overlay. Each draw has a stream of its own.

Chosen nodes are those whose own numbers are the smallest, so one node more changes at most one choice. Impossible
wishes are appended to `problems`, each beginning with its key, so that the user gets all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mnbed.experiment import Experiment, SlowNodeSettings, StragglerSettings
from mnbed.fields import did_you_mean
from mnbed.step_cost import StepCost
from mnbed.step_time import StepTimeDistribution
from mnbed.units import format_duration
from node_agent.streams import stream, stream_seed
from topologies.regular import connected_regular

# A distribution that so many draws in a row leave outside min and max has next to nothing inside.
_MAX_DRAWS = 1000
# Of the mean: a node that is faster still would need a machine of its own.
_DEFAULT_MIN = 0.1


def straggler_factors(experiment: Experiment, hosts: Sequence[str], problems: list[str]) -> dict[str, float]:
    """Straggler -> what its access link's bandwidth is multiplied with: 1 / factor, give or take the spread."""
    wanted = experiment.network.stragglers
    names = _chosen("network.stragglers", wanted, experiment.seed, hosts, problems)
    spread = _spreads("network.stragglers", wanted.spread, experiment.seed)
    return {name: spread(name) / wanted.factor for name in names}


def step_times(
    experiment: Experiment, hosts: Sequence[str], step: StepCost | None, problems: list[str]
) -> list[float]:
    """Each node's emulated time for one local step. `step`: for step_time `measured`."""
    slow = experiment.compute.slow_nodes
    times = _base_times(experiment, len(hosts), step, problems)
    names = _chosen("compute.slow_nodes", slow, experiment.seed, hosts, problems)
    spread = _spreads("compute.slow_nodes", slow.spread, experiment.seed)
    factors = {name: spread(name) * slow.factor for name in names}
    return [time * factors.get(name, 1.0) for name, time in zip(hosts, times, strict=True)]


def _base_times(
    experiment: Experiment, num_hosts: int, step: StepCost | None, problems: list[str]
) -> list[float]:
    """Step times before slow nodes are slowed. After a problem, some times that do no harm."""
    wanted, key = experiment.compute.step_time, "compute.step_time"
    if isinstance(wanted, StepTimeDistribution):
        return [_drawn_time(wanted, experiment.seed, node, problems) for node in range(num_hosts)]
    if isinstance(wanted, tuple):
        if len(wanted) != num_hosts:
            problems.append(f"{key}: got {len(wanted)} times; there are {num_hosts} nodes")
            return [wanted[0]] * num_hosts
        return list(wanted)
    if isinstance(wanted, str):
        if step is None:
            problems.append(f"{key}: measured, and no step was measured")
            return [1e-3] * num_hosts
        return [step.wall_s] * num_hosts
    return [wanted] * num_hosts


def _drawn_time(wanted: StepTimeDistribution, seed: int, node: int, problems: list[str]) -> float:
    """The node's draw, the first that lies within min and max."""
    rng = stream(seed, "step_time", node)
    mean = wanted.mean or 0.0
    low = mean * _DEFAULT_MIN if wanted.min is None else wanted.min
    high = math.inf if wanted.max is None else wanted.max
    for _ in range(_MAX_DRAWS):
        drawn = _draw(wanted, mean, rng)
        if low <= drawn <= high:
            return drawn
    text = f"compute.step_time: hardly any draw lies within min {format_duration(low)} and max {format_duration(high)}"
    problems += [] if text in problems else [text]
    return low


def _draw(wanted: StepTimeDistribution, mean: float, rng: np.random.Generator) -> float:
    if wanted.distribution == "uniform":
        assert wanted.min is not None
        assert wanted.max is not None
        return rng.uniform(wanted.min, wanted.max)
    if wanted.distribution == "exponential":
        return rng.exponential(mean)
    std = wanted.std or 0.0
    if wanted.distribution == "normal":
        return rng.normal(mean, std)
    variance = math.log1p((std / mean) ** 2)
    return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance))


def overlay_peers(experiment: Experiment, num_hosts: int, problems: list[str]) -> list[tuple[int, ...]]:
    """Each node's overlay neighbours, by index, ascending."""
    overlay = experiment.overlay
    everyone = range(num_hosts)
    if overlay.kind == "complete":
        return [tuple(peer for peer in everyone if peer != node) for node in everyone]
    if overlay.kind == "ring":
        edges = [(node, (node + 1) % num_hosts) for node in everyone]
    else:
        assert overlay.degree is not None
        try:
            edges = connected_regular(num_hosts, overlay.degree, stream_seed(experiment.seed, "overlay"))
        except ValueError as error:
            problems.append(f"overlay.degree: {error}")
            edges = []
    peers: list[set[int]] = [set() for _ in everyone]
    for a, b in edges:
        peers[a].add(b)
        peers[b].add(a)
    return [tuple(sorted(neighbours)) for neighbours in peers]


def _chosen(
    key: str,
    wanted: StragglerSettings | SlowNodeSettings,
    seed: int,
    hosts: Sequence[str],
    problems: list[str],
) -> list[str]:
    """The named hosts, or `count` drawn ones, in the hosts' order."""
    if wanted.hosts is not None:
        return _named(key, wanted.hosts, wanted.count, hosts, problems)
    if wanted.count > len(hosts):
        problems.append(f"{key}.count: got {wanted.count}; the network has {len(hosts)} hosts")
        return []
    drawn = sorted(hosts, key=lambda name: stream(seed, key, name).random())[: wanted.count]
    return [name for name in hosts if name in set(drawn)]


def _spreads(key: str, spread: float, seed: int) -> Callable[[str], float]:
    """Each host's own factor around 1."""
    return lambda name: 1 + stream(seed, key, "spread", name).uniform(-spread, spread)


def _named(
    key: str, wanted: Sequence[str], count: int, hosts: Sequence[str], problems: list[str]
) -> list[str]:
    unknown = [name for name in wanted if name not in hosts]
    for name in unknown:
        shown = hosts if len(hosts) <= 12 else [*hosts[:3], "...", hosts[-1]]
        problems.append(
            f"{key}.hosts: no host {name!r}{did_you_mean(name, hosts if len(hosts) <= 12 else shown)}"
        )
    repeated = sorted({name for name in wanted if wanted.count(name) > 1})
    if repeated:
        problems.append(f"{key}.hosts: {', '.join(repeated)} named more than once")
    if count not in (0, len(wanted)):
        problems.append(
            f"{key}.count: got {count}, but {key}.hosts names {len(wanted)}; leave one of them out"
        )
    return [name for name in hosts if name in wanted]
