"""Objections of an experiment's algorithm and task before anything starts: settings that contradict the overlay, an
algorithm that cannot be created, a split that the data does not allow, targets that no score can reach.

Data is not loaded; `unchecked` names what only the data can show.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from mnbed.experiment.foreign import ForeignSettings, check_settings
from mnbed.experiment.sections import Experiment
from node_agent.algorithms import Context, create_algorithm
from node_agent.partition import samples_needed, too_few_samples
from node_agent.streams import stream
from node_agent.tasks import task_class

# Assumed if the model has not been measured yet: about the size of GN-LeNet.
_USUAL_PARAMETERS = 100_000


def algorithm_problems(
    experiment: Experiment, peers: Sequence[Sequence[int]], num_parameters: int | None
) -> list[str]:
    """The algorithm's objections to the numbers of peers; `peers`: of each node."""
    settings = experiment.algorithm
    if isinstance(settings, ForeignSettings):
        return []  # the process that may import it has asked it
    node_by_count = {len(row): index for index, row in enumerate(peers)}
    objections = [check_settings(settings, count) for count in sorted(node_by_count)]
    problems = [f"algorithm.{problem}" for problem in dict.fromkeys(objections) if problem is not None]
    if problems:
        return problems
    for _, index in sorted(node_by_count.items()):
        if problem := _not_made(experiment, peers, index, num_parameters or _USUAL_PARAMETERS):
            return [problem]
    return []


def _not_made(
    experiment: Experiment, peers: Sequence[Sequence[int]], index: int, num_parameters: int
) -> str | None:
    """Why that node's algorithm cannot be created; None if it can."""
    settings = asdict(experiment.algorithm)
    overlay: Mapping[int, tuple[int, ...]] = {node: tuple(peers[node]) for node in (index, *peers[index])}
    context = Context(
        index=index,
        peers=tuple(peers[index]),
        num_parameters=num_parameters,
        rng=stream(experiment.seed, "algorithm", index),
        permutation_seed=0,
        num_nodes=len(peers),
        overlay=overlay,
    )
    try:
        create_algorithm(settings, context)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"algorithm: {settings['name']} cannot be created for a node with {len(peers[index])} peers: "
            f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        )
    return None


def task_problems(experiment: Experiment, num_nodes: int) -> list[str]:
    """Targets outside the range of the score, and a split that needs more samples than there are."""
    task = task_class(experiment.task.name)
    score, _ = task.METRIC
    least, most = task.RANGE
    problems = [
        f"evaluate.targets[{number}]: got {target:g}; {experiment.task.name}'s {score} lies between {least:g} and "
        f"{most:g}{'; write 0.7 for 70 %' if most == 1 else ''}"
        for number, target in enumerate(experiment.evaluate.targets)
        if not least <= target <= most
    ]
    known = task.training_samples(experiment.task)
    partition = getattr(experiment.task, "partition", None)
    if known is not None and partition is not None and samples_needed(partition, num_nodes) > known[1]:
        problems.append(f"task.{too_few_samples(partition, num_nodes, known[1])}")
    return problems


def unchecked(experiment: Experiment, num_nodes: int) -> list[str]:
    """Descriptions of what only the loaded data can show."""
    known = task_class(experiment.task.name).training_samples(experiment.task)
    partition = getattr(experiment.task, "partition", None)
    if known is not None and (partition is None or samples_needed(partition, num_nodes) <= known[0]):
        return []
    words = f"whether {experiment.task.name}'s data can be split over {num_nodes} nodes"
    if partition is not None:
        words += f" (at least {samples_needed(partition, num_nodes):,} training samples are needed)"
    return [words]
