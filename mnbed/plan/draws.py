"""What the seed determines in an experiment: stragglers, step times, overlay. Each draw has a random stream of its own.

Each node draws a number and the smallest are chosen, so adding a node changes at most one choice. Impossible settings
are appended to `problems`, each beginning with its key, so that the user sees all of them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mnbed.experiment.fields import did_you_mean
from mnbed.experiment.sections import Experiment, SlowNodeSettings, StragglerSettings
from mnbed.experiment.step_time import StepTimeDistribution
from mnbed.plan.step_cost import StepCost
from mnbed.units import format_duration
from node_agent.streams import stream, stream_seed
from topologies.reading import brief
from topologies.regular import connected_regular, networkx_graph, small_world_edges

# If this many draws in a row are outside min and max, almost nothing of the distribution is inside.
_MAX_DRAWS = 1000
# Share of the mean: the steps of an even faster node would need most of a machine.
_DEFAULT_MIN = 0.1


def straggler_factors(experiment: Experiment, hosts: Sequence[str], problems: list[str]) -> dict[str, float]:
    """Straggler -> factor of its access link's bandwidth: 1 / factor, varied by the spread."""
    settings = experiment.network.stragglers
    names = _chosen("network.stragglers", settings, experiment.seed, hosts, problems)
    # A factor of 1 slows no host, so it must not change any.
    spread = _spreads("network.stragglers", settings.spread if settings.factor > 1 else 0.0, experiment.seed)
    return {name: spread(name) / settings.factor for name in names}


def step_times(
    experiment: Experiment, hosts: Sequence[str], step: StepCost | None, problems: list[str]
) -> list[float]:
    """Each node's emulated time for a local step. `step`: for step_time `measured`."""
    slow = experiment.compute.slow_nodes
    times = _base_times(experiment, len(hosts), step, problems)
    names = _chosen("compute.slow_nodes", slow, experiment.seed, hosts, problems)
    spread = _spreads("compute.slow_nodes", slow.spread, experiment.seed)
    factors = {name: spread(name) * slow.factor for name in names}
    return [time * factors.get(name, 1.0) for name, time in zip(hosts, times, strict=True)]


def _base_times(
    experiment: Experiment, num_hosts: int, step: StepCost | None, problems: list[str]
) -> list[float]:
    """Step times before slow nodes are slowed down. After a problem, harmless placeholders."""
    step_time, key = experiment.compute.step_time, "compute.step_time"
    if isinstance(step_time, StepTimeDistribution):
        return [_drawn_time(step_time, experiment.seed, node, problems) for node in range(num_hosts)]
    if isinstance(step_time, tuple):
        if len(step_time) != num_hosts:
            problems.append(f"{key}: got {len(step_time)} times; there are {num_hosts} nodes")
            return [step_time[0]] * num_hosts
        return list(step_time)
    if isinstance(step_time, str):
        if step is None:
            problems.append(f"{key}: measured, but no step was measured")
            return [1e-3] * num_hosts
        return [step.emulated_s] * num_hosts
    return [step_time] * num_hosts


def _drawn_time(settings: StepTimeDistribution, seed: int, node: int, problems: list[str]) -> float:
    """The node's first draw within min and max."""
    rng = stream(seed, "step_time", node)
    mean = settings.mean or 0.0
    low = mean * _DEFAULT_MIN if settings.min is None else settings.min
    high = math.inf if settings.max is None else settings.max
    for _ in range(_MAX_DRAWS):
        drawn = _draw(settings, mean, rng)
        if low <= drawn <= high:
            return drawn
    text = f"compute.step_time: hardly any draw is between min {format_duration(low)} and max {format_duration(high)}"
    if text not in problems:
        problems.append(text)
    return low


def _draw(settings: StepTimeDistribution, mean: float, rng: np.random.Generator) -> float:
    if settings.distribution == "uniform":
        assert settings.min is not None
        assert settings.max is not None
        return rng.uniform(settings.min, settings.max)
    if settings.distribution == "exponential":
        return rng.exponential(mean)
    std = settings.std or 0.0
    if settings.distribution == "normal":
        return rng.normal(mean, std)
    variance = math.log1p((std / mean) ** 2)
    return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance))


def overlay_peers(experiment: Experiment, hosts: Sequence[str], problems: list[str]) -> list[tuple[int, ...]]:
    """Each node's overlay neighbours, by index, ascending."""
    overlay, num_hosts = experiment.overlay, len(hosts)
    everyone = range(num_hosts)
    if overlay.kind == "complete":
        return [tuple(peer for peer in everyone if peer != node) for node in everyone]
    if overlay.kind == "ring":
        edges = [(node, (node + 1) % num_hosts) for node in everyone]
    else:
        try:
            edges = _overlay_edges(experiment, hosts, stream_seed(experiment.seed, "overlay"))
        except ValueError as error:
            key = {"networkx": "graph", "edges": "edges"}.get(overlay.kind, "degree")
            problems.append(f"overlay.{key}: {error}")
            edges = []
    peers: list[set[int]] = [set() for _ in everyone]
    for a, b in edges:
        peers[a].add(b)
        peers[b].add(a)
    return [tuple(sorted(neighbours)) for neighbours in peers]


def _overlay_edges(experiment: Experiment, hosts: Sequence[str], seed: int) -> list[tuple[int, int]]:
    """Raises ValueError if there is no such graph with these hosts."""
    overlay = experiment.overlay
    if overlay.kind == "edges":
        return _named_edges(overlay.edges or (), hosts)
    if overlay.kind == "random_regular":
        assert overlay.degree is not None
        return connected_regular(len(hosts), overlay.degree, seed)
    if overlay.kind == "small_world":
        assert overlay.degree is not None
        probability = 0.2 if overlay.probability is None else overlay.probability
        return small_world_edges(len(hosts), overlay.degree, probability, seed % 2**32)
    graph = networkx_graph(str(overlay.graph), overlay.args or {}, seed % 2**32)
    if len(graph) != len(hosts):
        raise ValueError(
            f"{overlay.graph} has {len(graph)} nodes with these args; there are {len(hosts)} hosts"
        )
    return [(int(a), int(b)) for a, b in graph.edges]


def _named_edges(pairs: Sequence[tuple[str, str]] | str, hosts: Sequence[str]) -> list[tuple[int, int]]:
    if isinstance(pairs, str):
        raise ValueError(f"the file {pairs} has not been read")
    places = {name: index for index, name in enumerate(hosts)}
    edges = []
    for a, b in pairs:
        for end in (a, b):
            if end not in places:
                raise ValueError(
                    f"no host {brief(end)}{did_you_mean(end, hosts if len(hosts) <= 12 else hosts[:12])}"
                )
        if a == b:
            raise ValueError(f"{a} cannot be its own neighbour")
        edges.append((places[a], places[b]))
    lonely = sorted(set(range(len(hosts))) - {end for edge in edges for end in edge})
    if lonely:
        raise ValueError(f"{', '.join(hosts[node] for node in lonely[:5])}: no edge connects them to others")
    return edges


def _chosen(
    key: str,
    settings: StragglerSettings | SlowNodeSettings,
    seed: int,
    hosts: Sequence[str],
    problems: list[str],
) -> list[str]:
    """The named hosts, or `count` random ones, in the hosts' order."""
    if settings.hosts is not None:
        return _named(key, settings.hosts, settings.count, hosts, problems)
    if settings.count > len(hosts):
        problems.append(f"{key}.count: got {settings.count}; the network has {len(hosts)} hosts")
        return []
    drawn = sorted(hosts, key=lambda name: stream(seed, key, name).random())[: settings.count]
    return [name for name in hosts if name in set(drawn)]


def _spreads(key: str, spread: float, seed: int) -> Callable[[str], float]:
    """A function that draws each host's factor around 1."""
    return lambda name: 1 + stream(seed, key, "spread", name).uniform(-spread, spread)


def _named(
    key: str, names: Sequence[str], count: int, hosts: Sequence[str], problems: list[str]
) -> list[str]:
    unknown = [name for name in names if name not in hosts]
    for name in unknown:
        shown = hosts if len(hosts) <= 12 else [*hosts[:3], "...", hosts[-1]]
        problems.append(
            f"{key}.hosts: no host {brief(name)}{did_you_mean(name, hosts if len(hosts) <= 12 else shown)}"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problems.append(f"{key}.hosts: {', '.join(repeated)} named more than once")
    if count not in (0, len(names)):
        problems.append(
            f"{key}.count: got {count}, but {key}.hosts names {len(names)}; leave one of them out"
        )
    return [name for name in hosts if name in names]
