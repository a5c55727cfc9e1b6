"""How training samples are split over the nodes. Every scheme draws from its own stream of the experiment's seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from node_agent.streams import stream

# Read by pydantic, which this package does not import.
_PYDANTIC = {"extra": "forbid", "use_attribute_docstrings": True, "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class IidPartition:
    """Shuffled and dealt out evenly."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PYDANTIC

    kind: Literal["iid"] = "iid"
    """The scheme."""


@dataclass(frozen=True, kw_only=True)
class KshardPartition:
    """Sorted by label, cut into equal shards, and a number of shards dealt to each node (McMahan et al., 2017)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PYDANTIC

    kind: Literal["kshard"] = "kshard"
    """The scheme."""
    shards: Annotated[int, Ge(1)] = 5
    """Shards per node: the fewer, the fewer classes a node sees. The DivShare paper uses 5."""


@dataclass(frozen=True, kw_only=True)
class DirichletPartition:
    """Each class spread over the nodes in proportions from a symmetric Dirichlet distribution (Hsu et al., 2019)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PYDANTIC

    kind: Literal["dirichlet"] = "dirichlet"
    """The scheme."""
    alpha: Annotated[float, Gt(0)] = 0.5
    """Concentration: towards 0 one class per node, towards infinity iid."""


PartitionSettings = IidPartition | KshardPartition | DirichletPartition
_SCHEMES: dict[str, type[PartitionSettings]] = {
    "iid": IidPartition,
    "kshard": KshardPartition,
    "dirichlet": DirichletPartition,
}


def partition_settings(plain: dict[str, Any] | PartitionSettings) -> PartitionSettings:
    """The settings object for a plain dict that has already been checked. Raises KeyError, TypeError."""
    return _SCHEMES[plain["kind"]](**plain) if isinstance(plain, dict) else plain


def samples_needed(settings: PartitionSettings, num_nodes: int) -> int:
    """The smallest number of training samples that can be split this way."""
    return num_nodes * (settings.shards if isinstance(settings, KshardPartition) else 1)


def too_few_samples(settings: PartitionSettings, num_nodes: int, num_samples: int) -> str:
    """The message that so few samples cannot be split this way, with a remedy; begins with a key of the task."""
    if isinstance(settings, KshardPartition) and num_samples >= num_nodes:
        return (
            f"partition.shards: got {settings.shards}; {num_nodes} nodes x {settings.shards} shards need "
            f"{samples_needed(settings, num_nodes):,} training samples, and there are {num_samples:,}: set it to at "
            f"most {num_samples // num_nodes}"
        )
    return (
        f"partition: {num_nodes} nodes need {samples_needed(settings, num_nodes):,} training samples, and there are "
        f"{num_samples:,}: use fewer nodes"
    )


def split(
    labels: NDArray[np.int64], num_nodes: int, settings: PartitionSettings, seed: int
) -> list[NDArray[np.int64]]:
    """Each node's samples: sorted indices into `labels`, disjoint, none empty, together all samples.

    Raises ValueError, with the numbers, if there are too few samples.
    """
    if len(labels) < samples_needed(settings, num_nodes):
        raise ValueError(f"task.{too_few_samples(settings, num_nodes, len(labels))}")
    rng = stream(seed, "partition")
    if isinstance(settings, KshardPartition):
        parts = _kshard(labels, num_nodes, settings.shards, rng)
    elif isinstance(settings, DirichletPartition):
        parts = _dirichlet(labels, num_nodes, settings.alpha, rng)
    else:
        parts = np.array_split(rng.permutation(len(labels)), num_nodes)
    return [np.sort(part).astype(np.int64) for part in parts]


def _kshard(
    labels: NDArray[np.int64], num_nodes: int, num_shards: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The shards are dealt at random, so that stragglers do not always hold the same classes."""
    total = num_nodes * num_shards
    # Samples with equal labels are shuffled, so that another seed also puts other samples into a shard.
    order = rng.permutation(len(labels))
    shards = np.array_split(order[np.argsort(labels[order], kind="stable")], total)
    dealt = rng.permutation(total).reshape(num_nodes, num_shards)
    return [np.concatenate([shards[shard] for shard in hand]) for hand in dealt]


def _dirichlet(
    labels: NDArray[np.int64], num_nodes: int, alpha: float, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """A node that draws nothing takes one sample from the largest part, so that every node can train."""
    hands: list[list[NDArray[np.int64]]] = [[] for _ in range(num_nodes)]
    for label in np.unique(labels):
        samples = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(rng.dirichlet(np.full(num_nodes, alpha)))[:-1] * len(samples)
        for hand, piece in zip(hands, np.split(samples, np.round(ends).astype(int)), strict=True):
            hand.append(piece)
    parts = [np.concatenate(hand) for hand in hands]
    for node in range(num_nodes):
        if not len(parts[node]):
            largest = max(range(num_nodes), key=lambda other: len(parts[other]))
            parts[node], parts[largest] = parts[largest][:1], parts[largest][1:]
    return parts
