"""Draws depend on seed, name and purpose: adding a node or changing a setting does not affect other draws."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from mnbed.errors import InputError
from mnbed.experiment.sections import parse
from mnbed.plan.draws import step_times, straggler_factors
from mnbed.plan.make import make_plan
from mnbed.plan.step_cost import StepCost
from tests.machines import ROOMY


def names(count: int) -> list[str]:
    return [f"h{number}" for number in range(1, count + 1)]


def factors(num_hosts: int, seed: int = 1, **stragglers: Any) -> dict[str, float]:
    return straggler_factors(
        parse({"seed": seed, "network": {"stragglers": stragglers}}), names(num_hosts), []
    )


def times(num_hosts: int, step: StepCost | None = None, seed: int = 1, **compute: Any) -> list[float]:
    problems: list[str] = []
    found = step_times(parse({"seed": seed, "compute": compute}), names(num_hosts), step, problems)
    assert problems == []
    return found


# --- one more node ---


@pytest.mark.parametrize("seed", range(20))
def test_another_node_changes_at_most_one_straggler_and_no_bandwidth(seed: int) -> None:
    before, after = (factors(count, seed, count=4) for count in (12, 13))
    assert len(before) == len(after) == 4
    assert len(before.keys() - after.keys()) <= 1
    assert after.keys() - before.keys() <= {"h13"}
    assert all(after[name] == before[name] for name in before.keys() & after.keys())


@pytest.mark.parametrize("seed", range(20))
def test_one_more_node_leaves_step_times_alone(seed: int) -> None:
    drawn = {"distribution": "lognormal", "mean": "20ms", "std": "5ms"}
    assert times(13, seed=seed, step_time=drawn)[:12] == times(12, seed=seed, step_time=drawn)
    slow = {"count": 4, "factor": 3, "spread": 0.2}
    before = times(12, seed=seed, step_time="10ms", slow_nodes=slow)
    after = times(13, seed=seed, step_time="10ms", slow_nodes=slow)
    changed = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
    assert len(changed) == (after[12] != 0.01)


def test_more_stragglers_keep_those_that_were() -> None:
    few, many = factors(20, count=3), factors(20, count=9)
    assert few.items() <= many.items()


def test_stragglers_and_slow_nodes_are_drawn_apart() -> None:
    def slow_nodes(seed: int) -> set[str]:
        drawn = times(40, seed=seed, slow_nodes={"count": 10, "factor": 2})
        return {name for name, time in zip(names(40), drawn, strict=True) if time > 0.03}

    slow = [slow_nodes(seed) for seed in range(5)]
    straggling = [set(factors(40, seed, count=10)) for seed in range(5)]
    assert slow != straggling
    assert len({frozenset(one) for one in [*slow, *straggling]}) == 10


def test_a_named_straggler_has_the_bandwidth_it_would_have_drawn() -> None:
    drawn = factors(20, count=5)
    name = next(iter(drawn))
    assert factors(20, hosts=[name]) == {name: drawn[name]}


# --- step times ---


def test_a_list_gives_each_node_its_own() -> None:
    assert times(3, step_time=["10ms", "20ms", "30ms"]) == [0.01, 0.02, 0.03]


def test_measured_is_this_machines_own_solo_time() -> None:
    step = StepCost(wall_s=0.005, cpu_s=0.004, busy_cpu_s=0.006)
    assert times(2, step, step_time="measured") == [0.005, 0.005]
    slow = {"hosts": ["h2"], "factor": 4}
    assert times(2, step, step_time="measured", slow_nodes=slow) == [0.005, 0.02]


@pytest.mark.parametrize(
    ("wanted", "mean", "std"),
    [
        ({"distribution": "normal", "mean": "20ms", "std": "2ms"}, 0.02, 0.002),
        ({"distribution": "lognormal", "mean": "20ms", "std": "8ms"}, 0.02, 0.008),
        ({"distribution": "uniform", "min": "10ms", "max": "30ms"}, 0.02, 0.02 / 12**0.5),
        ({"distribution": "exponential", "mean": "20ms", "min": "1us"}, 0.02, 0.02),
    ],
    ids=lambda value: value["distribution"] if isinstance(value, dict) else None,
)
def test_distributions_have_their_moments(wanted: dict[str, str], mean: float, std: float) -> None:
    drawn = times(4000, step_time=wanted)
    assert len(set(drawn)) == 4000
    # Of a fixed seed: standard errors are 1.6 % of the mean and, for the heavy tails, 3 % of the deviation.
    assert statistics.mean(drawn) == pytest.approx(mean, rel=0.05)
    assert statistics.stdev(drawn) == pytest.approx(std, rel=0.1)


def test_draws_stay_within_min_and_max() -> None:
    wanted = {"distribution": "normal", "mean": "20ms", "std": "20ms", "min": "15ms", "max": "22ms"}
    assert all(0.015 <= time <= 0.022 for time in times(200, step_time=wanted))
    without = times(200, step_time={"distribution": "normal", "mean": "20ms", "std": "20ms"})
    assert min(without) >= 0.002


def test_slow_nodes_by_name_with_a_spread() -> None:
    slow = {"hosts": ["h3", "h1"], "factor": 4, "spread": 0.1}
    found = times(4, step_time="10ms", slow_nodes=slow)
    assert [found[1], found[3]] == [0.01, 0.01]
    assert found[0] != found[2]
    assert all(0.036 <= time <= 0.044 for time in (found[0], found[2]))


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        ({"step_time": ["10ms"] * 7}, "compute.step_time: got 7 times; there are 8 nodes"),
        ({"step_time": "measured"}, "compute.step_time: measured, but no step was measured"),
        ({"slow_nodes": {"count": 9}}, "compute.slow_nodes.count: got 9; the network has 8 hosts"),
        ({"slow_nodes": {"hosts": ["h9"]}}, "compute.slow_nodes.hosts: no host 'h9'"),
        ({"slow_nodes": {"hosts": ["h1"], "count": 2}}, "compute.slow_nodes.count: got 2, but .* names 1"),
        (
            {
                "step_time": {
                    "distribution": "normal",
                    "mean": "20ms",
                    "std": "1us",
                    "min": "20ms",
                    "max": "20001us",
                }
            },
            None,
        ),
        (
            {
                "step_time": {
                    "distribution": "normal",
                    "mean": "20ms",
                    "std": "10s",
                    "min": "19.9999ms",
                    "max": "20ms",
                }
            },
            "compute.step_time: hardly any draw is between min 19.9999ms and max 20ms",
        ),
    ],
)
def test_settings_that_the_network_makes_impossible(compute: dict[str, Any], words: str | None) -> None:
    experiment = parse({"compute": compute})
    if words is None:
        assert make_plan(experiment, ROOMY)
        return
    with pytest.raises(InputError, match=words) as error:
        make_plan(experiment, ROOMY)
    assert len(error.value.message.splitlines()) == 1
