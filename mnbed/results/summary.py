"""summary.json as dataclasses: the contract with users' scripts. docs/run-directory.md explains every key.

A value that cannot be known is null, never 0. Accuracies are fractions in [0, 1], times are emulated or wall seconds as
their names say, and sizes are in bytes unless their names say otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from mnbed.errors import InputError
from mnbed.records.controller import Finished, TornDown
from mnbed.records.outcome import FAILED
from mnbed.results.collect import Collected
from mnbed.results.evidence import emulated_s, evidence_of
from mnbed.results.exchange import ExchangeSummary, exchange_of, task_metric
from mnbed.results.fidelity import judge
from mnbed.results.files import replacing
from mnbed.results.progress import NodeProgress
from mnbed.results.scores import MEAN_MODEL, Curve, Scores
from mnbed.results.targets import time_to

# Share of a node's time beyond which the summary lists the node.
MUCH_WAITING = 0.5
_CHOICE: dict[str, Callable[[Sequence[float]], float]] = {"max": max, "min": min}
_NO_FINISH = "the controller's journal has no end: the controller was killed, or the machine went down"


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """One score of the nodes' own models; "final" is the last instant that at least half of the nodes reached."""

    final_mean: float | None = None
    final_std: float | None = None
    best_mean: float | None = None
    """The best mean over the nodes at any instant: the highest accuracy, the lowest loss; null: not defined."""
    mean_model: float | None = None
    """Of the averaged model, at the last instant where it was evaluated."""
    stragglers_final_mean: float | None = None
    others_final_mean: float | None = None
    curve: list[list[float]] = field(default_factory=list)
    """[emulated_s, mean, std] over the nodes, for each instant."""


@dataclass(frozen=True, kw_only=True)
class RoundsSummary:
    """Finished rounds per node."""

    mean: float | None
    min: int | None
    max: int | None
    expected: float | None = None
    """Mean over the nodes of the rounds they would have finished without waiting for others."""


@dataclass(frozen=True, kw_only=True)
class NodeWait:
    """A node that waited most of its time, or was stuck when the run ended. Emulated seconds."""

    node: str
    waited_s: float
    share: float
    """Share of the time for which the node was present."""
    last_round_s: float | None
    """When its last round ended; null if it finished none."""
    since_s: float | None
    """When the wait that was still going on at the end of the run began; null if there was none."""
    waited_for: list[str]
    """The peers that it waited for in that wait or, without one, in all its waits."""
    stands_still: bool
    """Whether its last round was so long before the end that it must have been stuck: a reason of the verdict."""


@dataclass(frozen=True, kw_only=True)
class WaitSummary:
    """How long nodes waited for others before their rounds, as the algorithm requires."""

    mean_share: float | None = None
    """Mean over the nodes of the share of time spent waiting."""
    nodes: list[NodeWait] = field(default_factory=list)
    """Nodes that waited more than half of their time or were stuck, longest wait first."""


@dataclass(frozen=True, kw_only=True)
class TrafficSummary:
    """Sums over all nodes' counters; null where no node told, or as a run of an earlier version cannot."""

    bytes_sent: int | None
    bytes_received: int | None
    fragments_sent: int | None
    fragments_dropped_stale: int | None
    fragments_received: int | None
    frames_rejected: int | None
    frames_not_finite: int | None = None
    strangers_closed: int | None = None
    descriptor_shortages: int | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary of a run; the fields are the keys of summary.json."""

    run_id: str
    name: str | None
    algorithm: str | None
    task: str | None
    data: str | None
    standin: bool | None
    seed: int | None
    nodes: int
    stragglers: int
    status: str
    error: str | None
    emulated_s: float | None
    wall_s: float | None
    dilation: float | None
    delay_backend: str | None
    switch: str | None
    verdict: str
    reasons: list[str]
    accuracy: ScoreSummary
    loss: ScoreSummary
    metric: str
    """The score by which runs of the task are compared, such as accuracy or rmse."""
    best: Literal["max", "min"]
    """Whether a high or a low value of it is better, as the task declares."""
    scores: dict[str, ScoreSummary]
    """The task's further scores, such as rmse."""
    exchange: dict[str, ExchangeSummary]
    """What was exchanged, by class of node: stragglers, others."""
    rounds: RoundsSummary
    waits: WaitSummary
    traffic: TrafficSummary
    time_to: dict[str, float | None]
    startup_s: float | None
    teardown_s: float | None
    agent_memory_mb: float | None


def task_score(summary: Summary) -> ScoreSummary:
    """The score by which runs of the task are compared."""
    always = {"accuracy": summary.accuracy, "loss": summary.loss}
    return {**summary.scores, **always}.get(summary.metric, ScoreSummary())


def summarize(run_id: str, collected: Collected, scores: Scores) -> Summary:
    """The summary of a collected run."""
    experiment, environment = collected.experiment, collected.environment
    finished, torn_down = collected.last("finished"), collected.last("torn_down")
    status = finished.get("status", FAILED) if finished else FAILED
    evidence = evidence_of(collected, status)
    verdict = judge(evidence)
    metric, best = task_metric(experiment)
    return Summary(
        run_id=run_id,
        name=experiment.get("name"),
        algorithm=(experiment.get("algorithm") or {}).get("name"),
        task=(experiment.get("task") or {}).get("name"),
        data=environment.get("data"),
        standin=environment.get("standin"),
        seed=experiment.get("seed"),
        nodes=len(collected.nodes),
        stragglers=len(collected.stragglers()),
        status=status,
        error=finished.get("error") if finished else _NO_FINISH,
        emulated_s=emulated_s(collected),
        wall_s=_wall_s(finished, torn_down),
        dilation=environment.get("dilation"),
        delay_backend=environment.get("delay_backend"),
        switch=environment.get("switch"),
        verdict=verdict.verdict,
        reasons=verdict.reasons,
        accuracy=_score_summary("accuracy", collected, scores, best=max),
        loss=_score_summary("loss", collected, scores, best=min),
        metric=metric,
        best=best,
        scores=_further_scores(collected, scores, metric, best),
        exchange=exchange_of(collected),
        rounds=_rounds(collected, evidence.progress),
        waits=_waits(evidence.progress),
        traffic=_traffic(collected),
        time_to=_times_to(collected, scores, metric, best),
        startup_s=finished.get("startup_s") if finished else None,
        teardown_s=torn_down.get("teardown_s") if torn_down else None,
        agent_memory_mb=finished.get("agent_memory_mb") if finished else None,
    )


def _wall_s(finished: Finished | None, torn_down: TornDown | None) -> float | None:
    """Wall seconds since the controller began, at the last of its records that says so."""
    return max(
        (record["wall_s"] for record in (finished, torn_down) if record and "wall_s" in record), default=None
    )


def _further_scores(collected: Collected, scores: Scores, metric: str, best: str) -> dict[str, ScoreSummary]:
    """All scores but accuracy and loss. For one that is not the task's metric, no value is better than another."""
    return {
        key: _score_summary(key, collected, scores, best=_CHOICE[best] if key == metric else None)
        for key in scores.names()
        if key not in ("accuracy", "loss")
    }


def _score_summary(key: str, collected: Collected, scores: Scores, best: Any) -> ScoreSummary:
    curve = scores.curve(key, collected.nodes.keys())
    if not curve.instants:
        return ScoreSummary()
    final = curve.instants[-1]
    stragglers = collected.stragglers()
    averaged = scores.curve(key, {MEAN_MODEL})
    return ScoreSummary(
        final_mean=curve.mean[-1],
        final_std=curve.std[-1],
        best_mean=None if best is None else best(curve.mean),
        mean_model=averaged.mean[-1] if averaged.mean else None,
        stragglers_final_mean=_mean_at(scores, key, final, sorted(stragglers)),
        others_final_mean=_mean_at(scores, key, final, sorted(collected.nodes.keys() - stragglers)),
        curve=_points(curve),
    )


def _mean_at(scores: Scores, key: str, instant: int, nodes: Sequence[str]) -> float | None:
    values = [value for node in nodes if (value := scores.value(node, instant, key)) is not None]
    return fmean(values) if values else None


def _points(curve: Curve) -> list[list[float]]:
    return [[round(t, 6), mean, std] for t, mean, std in zip(curve.t, curve.mean, curve.std, strict=True)]


def _rounds(collected: Collected, progress: Sequence[NodeProgress]) -> RoundsSummary:
    counts = [len(node.rounds) for node in collected.nodes.values() if node.ready is not None or node.rounds]
    if not counts:
        return RoundsSummary(mean=None, min=None, max=None)
    expected = [number for node in progress if (number := node.expected_rounds()) is not None]
    return RoundsSummary(
        mean=fmean(counts),
        min=min(counts),
        max=max(counts),
        expected=round(fmean(expected), 3) if expected else None,
    )


def _waits(progress: Sequence[NodeProgress]) -> WaitSummary:
    if not progress:
        return WaitSummary()
    shown = [node for node in progress if node.stands_still or node.waited_share > MUCH_WAITING]
    return WaitSummary(
        mean_share=fmean(node.waited_share for node in progress),
        nodes=[
            NodeWait(
                node=node.name,
                waited_s=round(node.waited_s, 3),
                share=round(node.waited_share, 4),
                last_round_s=node.last_round_s,
                since_s=node.waiting_since_s,
                waited_for=node.held_up_by,
                stands_still=node.stands_still,
            )
            for node in sorted(shown, key=lambda node: -node.waited_s)
        ],
    )


def _traffic(collected: Collected) -> TrafficSummary:
    known = [counters for node in collected.nodes.values() if (counters := node.counters()) is not None]
    return TrafficSummary(
        **{
            item.name: sum(getattr(counters, item.name) for counters in known) if known else None
            for item in fields(TrafficSummary)
        }
    )


def _times_to(collected: Collected, scores: Scores, metric: str, best: str) -> dict[str, float | None]:
    """Target -> emulated time at which the nodes' mean of the metric reached it."""
    targets = (collected.experiment.get("evaluate") or {}).get("targets") or ()
    curve = scores.curve(metric, collected.nodes.keys())
    points = list(zip(curve.t, curve.mean, strict=True))
    return {f"{target:g}": time_to(points, target, best) for target in targets}


def write_summary(path: Path, summary: Summary) -> None:
    """Write summary.json. JSON knows no infinity and no NaN: they become null."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(_finite(asdict(summary)), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_summary(path: Path) -> Summary:
    """The inverse of write_summary. Raises InputError if the file is missing or is not a summary."""
    try:
        raw = json.loads(path.read_text())
        if not isinstance(raw, dict):
            raise TypeError("it is not an object")
        for key, part in (("scores", ScoreSummary), ("exchange", ExchangeSummary)):
            raw[key] = {name: part(**value) for name, value in raw.get(key, {}).items()}
        raw.setdefault("metric", "accuracy")
        raw.setdefault("best", task_metric({"task": {"name": raw.get("task")}})[1])
        waits = raw.get("waits", {})
        raw["waits"] = WaitSummary(
            mean_share=waits.get("mean_share"), nodes=[NodeWait(**node) for node in waits.get("nodes", ())]
        )
        parts = {
            "accuracy": ScoreSummary,
            "loss": ScoreSummary,
            "rounds": RoundsSummary,
            "traffic": TrafficSummary,
        }
        return Summary(**{**raw, **{key: part(**raw[key]) for key, part in parts.items()}})
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", "`mnbed report RUN` writes it again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a summary: {error}", "`mnbed report RUN` writes it again") from None
