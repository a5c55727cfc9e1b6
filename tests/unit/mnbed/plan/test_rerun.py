"""The experiment in a run directory repeats the same run, whatever would be chosen on the machine now."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mnbed.experiment.loading import dump_experiment, load_experiment
from mnbed.experiment.sections import parse
from mnbed.machine import MachineFacts
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan
from mnbed.plan.rerun import left_to_machine, rerunnable
from mnbed.plan.step_cost import StepCost
from mnbed.run.step_measurement import needs_step

THEN = MachineFacts(cores=2, netem=False, nfqueue=True, memory_bytes=8 * 10**9, open_files=10**6)
NOW = MachineFacts(cores=16, netem=True, nfqueue=True, memory_bytes=64 * 10**9, open_files=10**6)
STEP_THEN = StepCost(wall_s=0.012345678901234567, cpu_s=6e-3, busy_cpu_s=7.7e-3, num_parameters=89834)
STEP_NOW = StepCost(wall_s=1e-3, cpu_s=1e-3, num_parameters=89834)

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "auto": {},
    "measured steps": {
        "compute": {"step_time": "measured", "slow_nodes": {"count": 2, "factor": 3, "spread": 0.2}}
    },
    "drawn steps": {"compute": {"step_time": {"distribution": "lognormal", "mean": "20ms", "std": "5ms"}}},
    "random graphs": {
        "network": {"topology": {"kind": "erdos_renyi", "nodes": 8}, "stragglers": {"count": 3}},
        "overlay": {"kind": "small_world", "degree": 4},
        "algorithm": {"degree": 2},
    },
    "events": {
        "network": {
            "events": [{"at": "1s", "until": "50s", "action": "churn", "rate": "6/min", "downtime": "5s"}],
            "link": {"bandwidth": "60mbit", "delay": "2ms", "jitter": "1ms"},
        }
    },
    "no delay": {"network": {"link": {"delay": "0s"}}},
    "own dilation": {"time": {"dilation": 2.5}},
}


def decided(plan: Plan) -> dict[str, Any]:
    """All that a plan does; not how its figures came about."""
    fields = {item.name: getattr(plan, item.name) for item in dataclasses.fields(plan)}
    return {
        name: value for name, value in fields.items() if name not in ("experiment", "dilation_asked", "step")
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_kept_experiment_plans_the_same_run_on_a_machine_that_would_choose_otherwise(
    tmp_path: Path, name: str
) -> None:
    experiment = parse({"seed": 7, **EXPERIMENTS[name]})
    first = make_plan(experiment, THEN, STEP_THEN)
    (tmp_path / "experiment.yaml").write_text(dump_experiment(rerunnable(first)))
    again = load_experiment(tmp_path / "experiment.yaml", note=pytest.fail)
    assert not needs_step(again)
    assert decided(make_plan(again, NOW)) == decided(first)
    assert decided(make_plan(again, NOW, STEP_NOW)) == decided(first)
    # And so for ever: nothing is left to choose.
    assert rerunnable(make_plan(again, NOW, STEP_NOW)) == again


def test_this_machine_would_have_chosen_otherwise() -> None:
    """The test above relies on this."""
    experiment = parse({"compute": {"step_time": "measured"}})
    then, now = make_plan(experiment, THEN, STEP_THEN), make_plan(experiment, NOW, STEP_NOW)
    assert then.dilation != now.dilation or then.hosts[0].step_time_s != now.hosts[0].step_time_s
    assert then.delay_backend != now.delay_backend


def test_choices_of_the_machine_are_written_out() -> None:
    plan = make_plan(parse({"compute": {"step_time": "measured"}}), THEN, STEP_THEN)
    kept = rerunnable(plan)
    assert kept.time.dilation == plan.dilation
    assert kept.compute.step_time == plan.hosts[0].step_time_s
    assert kept.network.delay_backend == "nfqueue"
    assert kept.agents.ledger is True
    assert left_to_machine(plan.experiment) == {
        "compute.step_time": "measured",
        "network.delay_backend": "auto",
        "time.dilation": "auto",
    }
    assert left_to_machine(kept) == {}


def test_a_large_network_has_no_ledger_in_its_rerun_either() -> None:
    plan = make_plan(parse({"network": {"topology": {"kind": "star", "nodes": 65}}}), NOW, STEP_NOW)
    assert rerunnable(plan).agents.ledger is False


@pytest.mark.parametrize("task", ["cifar10", "movielens"])
def test_no_stand_in_replaces_data_that_the_run_had(task: str) -> None:
    plan = make_plan(parse({"task": {"name": task, "on_missing": "synthetic"}}), NOW, STEP_NOW)
    kept = rerunnable(plan, real_data=True)
    assert kept.task.on_missing == "fail"  # type: ignore[attr-defined]
    assert rerunnable(plan).task.on_missing == "synthetic"  # type: ignore[attr-defined]
    assert decided(make_plan(kept, NOW)) == decided(plan)
