"""What the seed decides of an experiment: stragglers, slow nodes, overlay. Each draw has a stream of its own.

Impossible wishes are appended to `problems`, each beginning with its key, so that the user gets all of them
at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnbed.experiment import Experiment, did_you_mean
from node_agent.streams import stream, stream_seed
from topologies.regular import connected_regular


def straggler_factors(experiment: Experiment, hosts: Sequence[str], problems: list[str]) -> dict[str, float]:
    """Straggler -> what its access link's bandwidth is multiplied with: 1 / factor, give or take the spread."""
    wanted = experiment.network.stragglers
    rng = stream(experiment.seed, "stragglers")
    if wanted.hosts is not None:
        names = _named_stragglers(wanted.hosts, wanted.count, hosts, problems)
    elif wanted.count > len(hosts):
        problems.append(f"network.stragglers.count: got {wanted.count}; the network has {len(hosts)} hosts")
        names = []
    else:
        names = [hosts[i] for i in sorted(rng.choice(len(hosts), wanted.count, replace=False).tolist())]
    return {name: (1 + rng.uniform(-wanted.spread, wanted.spread)) / wanted.factor for name in names}


def step_times(experiment: Experiment, num_hosts: int, problems: list[str]) -> list[float]:
    """Each node's emulated time for one local step."""
    compute = experiment.compute
    times = [compute.step_time] * num_hosts
    if compute.slow_nodes.count > num_hosts:
        problems.append(
            f"compute.slow_nodes.count: got {compute.slow_nodes.count}; there are {num_hosts} nodes"
        )
        return times
    rng = stream(experiment.seed, "slow_nodes")
    for index in rng.choice(num_hosts, compute.slow_nodes.count, replace=False).tolist():
        times[index] *= compute.slow_nodes.factor
    return times


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


def _named_stragglers(
    wanted: Sequence[str], count: int, hosts: Sequence[str], problems: list[str]
) -> list[str]:
    key = "network.stragglers.hosts"
    unknown = [name for name in wanted if name not in hosts]
    for name in unknown:
        shown = hosts if len(hosts) <= 12 else [*hosts[:3], "...", hosts[-1]]
        problems.append(f"{key}: no host {name!r}{did_you_mean(name, hosts if len(hosts) <= 12 else shown)}")
    repeated = sorted({name for name in wanted if wanted.count(name) > 1})
    if repeated:
        problems.append(f"{key}: {', '.join(repeated)} named more than once")
    if count not in (0, len(wanted)):
        problems.append(
            f"network.stragglers.count: got {count}, but {key} names {len(wanted)}; leave one of them out"
        )
    return [name for name in hosts if name in wanted]
