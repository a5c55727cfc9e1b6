"""What nodes exchanged, by class: its age, how many copies of a parameter a round averaged, what was dropped.

The three quantities of the DivShare paper's discussion of its options (arXiv 2410.12918, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from mnbed.results.collect import Collected, NodeRecords
from mnbed.results.messages import FragmentLife
from node_agent.algorithms import algorithm_class
from node_agent.tasks import task_class

STRAGGLERS, OTHERS, NODES = "stragglers", "others", "nodes"


@dataclass(frozen=True, kw_only=True)
class ExchangeSummary:
    """A class of nodes; values are means over its nodes."""

    nodes: int
    staleness_s: float | None
    """Mean time since sending of what was averaged in, emulated seconds; over rounds that averaged something."""
    age_s: float | None = None
    """Mean age of this class's fragments when others average them in, since they were created, so including the wait
    for the link; emulated seconds. From the ledger; None without it."""
    copies_per_round: float | None
    """Received copies of a parameter in a round's average, not counting the node's own."""
    dropped_share: float | None
    """Share of fragments that were replaced by newer ones before they were sent."""
    rounds: float | None


def exchange_of(collected: Collected) -> dict[str, ExchangeSummary]:
    """Class -> what its nodes exchanged; only classes with nodes."""
    nodes = list(collected.nodes.values())
    slow = [node for node in nodes if node.straggler]
    classes = (
        {STRAGGLERS: slow, OTHERS: [node for node in nodes if not node.straggler]} if slow else {NODES: nodes}
    )
    num_fragments = _num_fragments(collected.experiment.get("algorithm") or {})
    life = collected.life or {}
    return {name: _summary(members, num_fragments, life) for name, members in classes.items() if members}


def task_metric(experiment: Mapping[str, Any]) -> tuple[str, Literal["max", "min"]]:
    """(the score by which runs of this task are compared, which value is better), as the task declares them."""
    try:
        return task_class(str((experiment.get("task") or {}).get("name"))).METRIC
    except (KeyError, TypeError):
        return "accuracy", "max"


def _num_fragments(algorithm: Mapping[str, Any]) -> int:
    """Fragments that a model is cut into; 1 if the algorithm can no longer be found."""
    try:
        cls = algorithm_class(str(algorithm.get("name")), algorithm.get("module"))
        return max(1, cls.planned_sends(cls.Settings(**algorithm), 10**6)[1])
    except Exception:  # a user's own file may raise anything, and must not affect old results
        return 1


def _summary(
    nodes: Sequence[NodeRecords], num_fragments: int, life: Mapping[str, FragmentLife]
) -> ExchangeSummary:
    ages = [
        staleness_s
        for node in nodes
        for record in node.rounds
        if isinstance(staleness_s := record.get("staleness_s"), (int, float))
    ]
    counted = [(node, counters) for node in nodes if (counters := node.counters()) is not None]
    copies = [
        counters.fragments_aggregated / num_fragments / len(node.rounds)
        for node, counters in counted
        if node.rounds
    ]
    created = sum(counters.fragments_created for _, counters in counted)
    dropped = sum(counters.fragments_dropped_stale for _, counters in counted)
    lives = sum((life[node.name] for node in nodes if node.name in life), FragmentLife())
    return ExchangeSummary(
        nodes=len(nodes),
        staleness_s=fmean(ages) if ages else None,
        age_s=lives.age_s / lives.aged if lives.aged else None,
        copies_per_round=fmean(copies) if copies else None,
        dropped_share=dropped / created if created else None,
        rounds=fmean(len(node.rounds) for node in nodes),
    )
