"""Estimates: they scale as the run does, and their advice holds when it is followed."""

from __future__ import annotations

from typing import Any

import pytest

from mnbed.budget import COMFORTABLE_SHARE, Budget, budget
from mnbed.experiment import parse
from mnbed.machine import MachineFacts
from mnbed.plan import make_plan

FACTS = MachineFacts(cores=2, netem=True, memory_bytes=8 * 10**9, open_files=10**6)


def costs(step_cpu_s: float | None, **sections: Any) -> Budget:
    return budget(make_plan(parse(sections), FACTS), FACTS, step_cpu_s)


def test_steps_of_all_nodes_count() -> None:
    # 8 nodes with 50 steps a second, 7 ms each: 2.8 cores, and the packets.
    found = costs(0.007)
    assert found.steps_per_wall_s == pytest.approx(400)
    assert found.demand_cores == pytest.approx(2.8 + found.network_cores)
    assert "more than this machine's 2" in str(found.warning())


def test_slow_nodes_ask_for_less() -> None:
    assert costs(0.007, compute={"slow_nodes": {"count": 8, "factor": 2}}).steps_per_wall_s == pytest.approx(
        200
    )


def test_the_advised_dilation_fits() -> None:
    advised = costs(0.007).fitting_dilation
    assert advised is not None
    again = costs(0.007, time={"dilation": advised})
    assert again.demand_cores is not None
    assert again.demand_cores <= COMFORTABLE_SHARE * 2
    assert again.warning() is None
    assert costs(0.007, time={"dilation": advised * 0.9}).warning() is not None


def test_a_step_at_its_limit_just_fits() -> None:
    limit = costs(None).step_cpu_limit_s
    assert costs(limit * 0.999).warning() is None
    assert costs(limit * 1.01).warning() is not None


def test_without_a_steps_time_nothing_is_claimed() -> None:
    found = costs(None)
    assert (found.demand_cores, found.fitting_dilation, found.warning()) == (None, None, None)


def test_wall_time_follows_the_dilation() -> None:
    assert costs(None, time={"dilation": 3}).wall_s - costs(None).wall_s == pytest.approx(120)


def test_snapshots_include_the_first_and_the_last_instant() -> None:
    assert costs(None, evaluate={"every": "5s"}).snapshots == 8 * 13


def test_disk_needs_the_models_size() -> None:
    plan = make_plan(parse({}), FACTS)
    assert budget(plan, FACTS, None).disk_bytes is None
    assert budget(plan, FACTS, None, num_parameters=1000).disk_bytes == 8 * 13 * 4000
