"""A plan refuses what its run would refuse, with key and remedy, and says what only the data can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnbed.commands import plan as plan_command
from mnbed.errors import InputError
from mnbed.experiment.sections import parse
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan
from mnbed.plan.soundness import unchecked
from mnbed.plan.step_cost import StepCost
from mnbed.units import format_wall_time
from node_agent.tasks import task_names
from tests.machines import ROOMY


def planned(nodes: int = 8, step: StepCost | None = None, **sections: Any) -> Plan:
    network = {"topology": {"kind": "star", "nodes": nodes}, **sections.pop("network", {})}
    return make_plan(parse({"network": network, **sections}), ROOMY, step)


def refusal(**sections: Any) -> str:
    with pytest.raises(InputError) as error:
        planned(**sections)
    return error.value.message


def test_a_split_that_the_data_does_not_allow() -> None:
    shards = {"kind": "kshard", "shards": 500}
    assert refusal(task={"name": "digits", "partition": shards}) == (
        "task.partition.shards: got 500; 8 nodes x 500 shards need 4,000 training samples, and there are 1,438: set "
        "it to at most 179"
    )
    planned(task={"name": "digits", "partition": {**shards, "shards": 179}})
    message = refusal(
        nodes=1500, task={"name": "digits", "partition": {"kind": "iid"}}, algorithm={"name": "local"}
    )
    assert message.startswith("task.partition: 1500 nodes need 1,500 training samples, and there are 1,438")
    assert "10000 shards need 80,000 training samples, and there are 50,000" in refusal(
        task={"name": "cifar10", "partition": {**shards, "shards": 10_000}}
    )


def test_what_the_plan_says_is_what_the_task_does() -> None:
    """The same numbers, and the same words, once the data is there."""
    from dataclasses import asdict

    from node_agent.tasks import create_task

    for fraction in (0.01, 0.2, 0.5, 0.99):
        experiment = parse(
            {"task": {"name": "digits", "test_fraction": fraction, "partition": {"kind": "iid"}}}
        )
        task = create_task(asdict(experiment.task), Path(), 1)
        task.load()
        assert type(task).training_samples(experiment.task) == (task.num_training, task.num_training)
        settings = {
            "name": "digits",
            "test_fraction": fraction,
            "partition": {"kind": "kshard", "shards": 500},
        }
        experiment = parse({"task": settings})
        task = create_task(asdict(experiment.task), Path(), 1)
        task.load()
        with pytest.raises(ValueError) as error:
            task.partition(8)
        assert str(error.value) == refusal(task=settings).split("\n")[0]


@pytest.mark.parametrize(
    ("task", "targets", "words"),
    [
        (
            "digits",
            [0.5, 70 / 20],
            "evaluate.targets[1]: got 3.5; digits's accuracy lies between 0 and 1; write 0.7",
        ),
        ("cifar10", [1.01], "evaluate.targets[0]: got 1.01; cifar10's accuracy lies between 0 and 1"),
        ("movielens", [4.6], "evaluate.targets[0]: got 4.6; movielens's rmse lies between 0 and 4.5"),
    ],
)
def test_targets_that_no_score_can_reach(task: str, targets: list[float], words: str) -> None:
    assert words in refusal(task={"name": task}, evaluate={"targets": targets})


def test_a_percentage_is_answered_with_the_fraction() -> None:
    with pytest.raises(ValueError, match=r"at most 5; an accuracy is a fraction: 0\.7 for 70 %"):
        parse({"evaluate": {"targets": [70]}})


def test_targets_within_the_range_stay() -> None:
    planned(evaluate={"targets": [0.001, 1.0]})
    planned(task={"name": "movielens"}, evaluate={"targets": [0.9, 4.5]})


@pytest.mark.parametrize("name", ["divshare", "el_local"])
def test_a_degree_that_was_not_set_is_called_the_default(name: str) -> None:
    words = "algorithm.degree: got 6 (the default), and a node has only 5 peers to choose from; set algorithm.degree to"
    assert refusal(nodes=6, algorithm={"name": name}).startswith(f"{words} at most 5")
    assert "(the default)" not in refusal(nodes=6, algorithm={"name": name, "degree": 7})
    planned(nodes=6, algorithm={"name": name, "degree": 5})


_RAISING = """
from dataclasses import dataclass
from node_agent.algorithms import Algorithm, AlgorithmSettings

@dataclass(frozen=True, kw_only=True)
class Settings_(AlgorithmSettings):
    pass

class Mine(Algorithm):
    Settings = Settings_

    def __init__(self, settings, context):
        super().__init__(settings, context)
        if len(context.peers) == {peers}:
            self.table = {{}}["missing"]

    def before_local_phase(self, values, now_s): ...
    def after_local_phase(self, round, values): ...
    def on_fragment(self, fragment): ...
"""


@pytest.mark.parametrize("peers", [1, 2])
def test_an_algorithm_that_cannot_be_made(peers: int, tmp_path: Path) -> None:
    """On a line of hosts the ends have one peer, and the others two."""
    module = tmp_path / f"mine{peers}.py"
    module.write_text(_RAISING.format(peers=peers))
    edges = {"kind": "edges", "edges": [["h1", "h2"], ["h2", "h3"]]}
    message = refusal(nodes=3, overlay=edges, algorithm={"name": "mine", "module": str(module)})
    assert message == (
        f"algorithm: mine cannot be created for a node with {peers} peers: KeyError: 'missing' ({module}:15)"
    )


def test_the_measured_model_is_what_an_algorithm_is_made_for(tmp_path: Path) -> None:
    module = tmp_path / "sized.py"
    module.write_text(_RAISING.format(peers="7 and context.num_parameters == 4321"))
    algorithm = {"name": "sized", "module": str(module)}
    planned(algorithm=algorithm)
    with pytest.raises(InputError, match="KeyError: 'missing'"):
        planned(algorithm=algorithm, step=StepCost(wall_s=1e-3, cpu_s=1e-3, num_parameters=4321))


@pytest.mark.parametrize("name", task_names())
def test_what_only_the_data_can_show_is_listed(name: str) -> None:
    needs = {"image_folder": {"path": "/nowhere"}}.get(name, {})
    notes = unchecked(parse({"task": {"name": name, **needs}}), 8)
    if name in ("digits", "cifar10"):
        assert notes == []
    else:
        assert f"whether {name}'s data can be split over 8 nodes" in notes[0]


def test_a_stand_in_may_be_too_small() -> None:
    task = {"name": "cifar10", "on_missing": "synthetic", "partition": {"kind": "kshard", "shards": 5000}}
    assert "at least 40,000 training samples are needed" in unchecked(parse({"task": task}), 8)[0]


# --- what the plan prints ---


def test_a_link_with_equal_directions_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    slow = [{"link": ["h2", "s1"], "bandwidth": "1mbit", "one_way": True}]
    plan_command._print_links(planned(nodes=3, network={"links": slow}, algorithm={"name": "local"}))
    shown = capsys.readouterr().out
    assert shown.count("h1-eth0 <-> s1-eth1") == 1
    assert shown.count("h3-eth0 <-> s1-eth3") == 1
    assert "h2-eth0 -> s1-eth2" in shown
    assert "s1-eth2 -> h2-eth0" in shown
    assert len(shown.strip().splitlines()) == 2 + 4


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.31, "0.3 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (320, "5 min 20 s"),
        (3599.6, "1 h"),
        (5025, "1 h 24 min"),
        (360_000, "100 h"),
    ],
)
def test_wall_times_read_as_people_say_them(seconds: float, words: str) -> None:
    assert format_wall_time(seconds) == words
