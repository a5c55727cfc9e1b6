"""How samples are split over nodes: complete, disjoint, from the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.partition import (
    DirichletPartition,
    IidPartition,
    KshardPartition,
    PartitionSettings,
    partition_settings,
    split,
)

SCHEMES = [
    IidPartition(),
    KshardPartition(shards=3),
    DirichletPartition(alpha=0.1),
    DirichletPartition(alpha=100.0),
]


def labels_of(num_samples: int, num_classes: int = 10) -> np.ndarray:
    return np.random.default_rng(3).integers(0, num_classes, num_samples)


@settings(max_examples=40, deadline=None)
@given(
    scheme=st.sampled_from(SCHEMES),
    num_samples=st.integers(60, 400),
    num_nodes=st.integers(1, 20),
    seed=st.integers(0, 2**62),
)
def test_parts_are_disjoint_complete_and_never_empty(
    scheme: PartitionSettings, num_samples: int, num_nodes: int, seed: int
) -> None:
    parts = split(labels_of(num_samples), num_nodes, scheme, seed)
    assert len(parts) == num_nodes
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_samples))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.kind)
def test_the_seed_alone_decides(scheme: PartitionSettings) -> None:
    labels = labels_of(500)
    first, again, other = (split(labels, 5, scheme, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=True))


def test_kshard_gives_a_node_few_classes_and_not_always_the_same() -> None:
    labels = np.repeat(np.arange(10), 100)
    classes = [
        [set(labels[part]) for part in split(labels, 10, KshardPartition(shards=2), seed)]
        for seed in range(5)
    ]
    assert all(len(seen) <= 4 for parts in classes for seen in parts)
    assert len({frozenset(parts[0]) for parts in classes}) > 1


def test_dirichlet_is_skewed_for_small_alpha_and_even_for_large() -> None:
    labels = np.repeat(np.arange(10), 200)

    def largest_share(alpha: float) -> float:
        parts = split(labels, 5, DirichletPartition(alpha=alpha), 1)
        return float(np.mean([np.bincount(labels[part], minlength=10).max() / len(part) for part in parts]))

    assert largest_share(0.05) > 0.4
    assert largest_share(1000) < 0.15


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.kind)
def test_too_few_samples_are_refused_with_the_numbers(scheme: PartitionSettings) -> None:
    with pytest.raises(
        ValueError, match=r"^task\.partition: 10 nodes need \d+ training samples, and there are 4"
    ):
        split(labels_of(4), 10, scheme, 1)


def test_settings_come_from_checked_dicts() -> None:
    assert partition_settings({"kind": "kshard", "shards": 7}) == KshardPartition(shards=7)
    assert partition_settings(IidPartition()) == IidPartition()
