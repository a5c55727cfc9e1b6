"""Estimates: they scale with the run, and the suggested dilation really fits."""

from __future__ import annotations

from typing import Any

import pytest

from mnbed.errors import MachineError
from mnbed.experiment.sections import parse
from mnbed.machine import MachineFacts
from mnbed.plan.budget import COMFORTABLE_SHARE, STEP_FACTOR_IN_RUN, Budget, budget
from mnbed.plan.make import make_plan
from mnbed.plan.step_cost import StepCost
from tests.machines import ROOMY

STEP = StepCost(wall_s=0.007, cpu_s=0.006, busy_cpu_s=0.007, num_parameters=89_834)


def costs(step: StepCost | None, facts: MachineFacts = ROOMY, **sections: Any) -> Budget:
    """At dilation 1 unless the sections say otherwise."""
    return budget(make_plan(parse({"time": {"dilation": 1}, **sections}), facts), facts.cores, step)


def cpu_s(found: Budget, source: str) -> float:
    return next(one.cpu_s for one in found.sources if one.name == source)


def test_steps_of_all_nodes_count_at_their_busy_cost() -> None:
    # 8 nodes with 50 steps a second, 7 ms each, and what a run adds to them.
    found = costs(STEP)
    assert cpu_s(found, "training") == pytest.approx(2.8 * STEP_FACTOR_IN_RUN)
    assert found.demand_cores == pytest.approx(sum(one.cores(1) for one in found.sources))
    assert "more than this machine's 2" in str(found.warning())


def test_a_step_without_a_busy_cost_counts_as_alone() -> None:
    assert cpu_s(costs(StepCost(wall_s=1, cpu_s=0.001)), "training") == pytest.approx(
        0.4 * STEP_FACTOR_IN_RUN
    )


def test_slow_nodes_ask_for_less() -> None:
    slow = costs(STEP, compute={"slow_nodes": {"count": 8, "factor": 2}})
    assert cpu_s(slow, "training") == pytest.approx(1.4 * STEP_FACTOR_IN_RUN)
    assert cpu_s(slow, "agents") < cpu_s(costs(STEP), "agents")


def test_the_advised_dilation_fits_and_less_does_not() -> None:
    advised = costs(STEP).fitting_dilation
    assert advised is not None
    again = costs(STEP, time={"dilation": advised})
    assert again.demand_cores is not None
    assert again.demand_cores <= COMFORTABLE_SHARE * 2
    assert again.warning() is None
    assert costs(STEP, time={"dilation": advised * 0.9}).warning() is not None


def test_a_step_at_its_limit_just_fits() -> None:
    limit = costs(None).step_cpu_limit_s
    below, above = (StepCost(wall_s=1, cpu_s=limit * factor) for factor in (0.999, 1.01))
    assert costs(below).warning() is None
    assert costs(above).warning() is not None


def test_without_a_steps_time_nothing_is_claimed() -> None:
    found = costs(None)
    assert (found.demand_cores, found.fitting_dilation, found.warning()) == (None, None, None)
    assert "training" not in [one.name for one in found.sources]


def test_traffic_is_what_the_algorithm_sends_as_far_as_links_allow() -> None:
    # 8 nodes, 6 models of 89,834 float32 each 0.32 s: 53.9 Mbit/s each.
    wide: dict[str, Any] = {"network": {"link": {"bandwidth": "1gbit"}}}
    assert costs(STEP, **wide).traffic_bps == pytest.approx(8 * 6 * 89_834 * 32 / 0.32)
    narrow: dict[str, Any] = {"network": {"link": {"bandwidth": "10mbit"}}}
    assert costs(STEP, **narrow).traffic_bps == pytest.approx(8 * 10e6)
    one_way: dict[str, Any] = {
        "network": {"link": {"bandwidth": "1gbit", "reverse": {"bandwidth": "10mbit"}}}
    }
    assert costs(STEP, **one_way).traffic_bps == pytest.approx(8 * 10e6)
    assert costs(STEP, algorithm={"name": "local"}).traffic_bps == 0


def test_packets_cost_more_on_longer_ways_and_in_the_delay_process() -> None:
    star = costs(STEP)
    ring = costs(STEP, network={"topology": {"kind": "ring", "nodes": 8}})
    assert cpu_s(ring, "packets") > cpu_s(star, "packets") > 0
    assert "delay process" not in [one.name for one in star.sources]
    queued = costs(STEP, network={"delay_backend": "nfqueue"})
    assert cpu_s(queued, "delay process") > 0


def test_the_controller_costs_wall_time() -> None:
    controllers = [
        next(one for one in costs(STEP, time={"dilation": dilation}).sources if one.name == "controller")
        for dilation in (1, 4)
    ]
    assert controllers[0].cores(1) == controllers[1].cores(4) > 0


def test_wall_time_follows_the_dilation() -> None:
    assert costs(None, time={"dilation": 3}).wall_s - costs(None).wall_s == pytest.approx(120)


def test_wall_time_includes_the_evaluation_where_a_step_is_known() -> None:
    found = costs(STEP)
    # 104 snapshots, 1000 samples in batches of 8, a third of 6 ms, on two cores.
    assert found.evaluation_s == pytest.approx(104 * 125 * 0.002 / 2)
    assert found.wall_s - costs(None).wall_s == pytest.approx(found.evaluation_s)


def test_snapshots_include_the_first_and_the_last_instant() -> None:
    found = costs(StepCost(wall_s=1, cpu_s=1, num_parameters=1000), evaluate={"every": "5s"})
    assert found.snapshots == 8 * 13
    assert found.disk_bytes == 8 * 13 * 4000


# --- dilation auto ---


def chosen(step: StepCost | None, cores: int = 2, **sections: Any) -> float:
    facts = MachineFacts(cores=cores, netem=True, memory_bytes=8 * 10**9, open_files=10**6)
    return make_plan(parse({"time": {"dilation": "auto"}, **sections}), facts, step).dilation


def test_auto_is_the_fitting_dilation_in_two_digits() -> None:
    assert chosen(STEP) == costs(STEP).fitting_dilation
    assert 2 < chosen(STEP) < 4
    assert float(f"{chosen(STEP):.2g}") == chosen(STEP)


def test_auto_is_at_least_1() -> None:
    assert chosen(StepCost(wall_s=1e-5, cpu_s=1e-5, num_parameters=100)) == 1
    assert chosen(STEP, cores=64) == 1


def test_auto_is_for_the_machine() -> None:
    assert chosen(STEP, cores=1) == pytest.approx(2 * chosen(STEP, cores=2), rel=0.1)


def test_a_plan_keeps_the_word_it_was_asked_with() -> None:
    plan = make_plan(parse({"time": {"dilation": "auto"}}), ROOMY, STEP)
    assert plan.dilation_asked == "auto"
    assert plan.step == STEP


def test_an_impossible_dilation_is_the_machines_fault() -> None:
    with pytest.raises(MachineError, match=r"auto would be \d\d,000, but at most 10,000") as error:
        chosen(StepCost(wall_s=100, cpu_s=100), compute={"step_time": "20ms"})
    assert "fewer nodes" in str(error.value)
