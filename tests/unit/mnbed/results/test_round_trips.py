"""Measured round trips compared with those asked for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mnbed.results.collect import Collected, NodeRecords
from mnbed.results.round_trips import round_trip_errors
from node_agent.counters import Counters
from node_agent.records import End


def end(rtt_s: dict[str, float]) -> End:
    fields = {"event": "end", "reason": "finished", "cpu_s": 1.0, "rtt_s": rtt_s, "one_way_s": {}}
    return cast("End", {**fields, **Counters().totals()})


def collected(asked: Any, measured: dict[str, dict[str, float]]) -> Collected:
    nodes = {
        name: NodeRecords(name=name, straggler=False, end=end(times)) for name, times in measured.items()
    }
    nodes["h9"] = NodeRecords(name="h9", straggler=False)  # killed: no end
    return Collected(
        experiment={},
        environment={"round_trip_s": asked},
        nodes=nodes,
        controller=[],
        life=None,
        links=[],
        problems=[],
        num_records=0,
    )


def test_errors_are_measured_minus_asked_over_all_connections() -> None:
    asked = {"h1": {"h2": 0.004, "h3": 0.006}, "h2": {"h1": 0.004}}
    measured = {"h1": {"h2": 0.0041, "h3": 0.0065}, "h2": {"h1": 0.0040}}
    found = round_trip_errors(collected(asked, measured))
    assert found is not None
    assert found.num_connections == 3
    assert found.median_s == pytest.approx(0.0001)
    assert found.least_s == pytest.approx(0)
    assert found.largest_s == pytest.approx(0.0005)
    assert found.largest_on == "h1 - h3"


@pytest.mark.parametrize("asked", [None, {}])
def test_without_the_delays_asked_for_there_are_no_errors_to_report(asked: object) -> None:
    assert round_trip_errors(collected(asked, {"h1": {"h2": 0.004}})) is None


def test_without_connections_there_are_no_errors_to_report() -> None:
    assert round_trip_errors(collected({"h1": {"h2": 0.004}}, {"h1": {}})) is None
