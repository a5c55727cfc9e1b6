"""Which setting of a link wins: one order of precedence for every property, and which hosts become stragglers."""

from __future__ import annotations

from typing import Any

import pytest

from mnbed.plan.model import Plan
from tests.unit.mnbed.plan.test_make import plan_of, star
from topologies.burst_loss import BurstLoss

# Property of the plan -> (key, its value in each place, the value that the plan then has), in the order of precedence.
CASES: dict[str, tuple[str, list[Any], list[Any]]] = {
    "bandwidth_bps": ("bandwidth", ["10mbit", "20mbit", "30mbit", "50mbit"], [10e6, 20e6, 30e6, 50e6]),
    "delay_s": ("delay", ["11ms", "12ms", "13ms", "15ms"], [0.011, 0.012, 0.013, 0.015]),
    "jitter_s": ("jitter", ["1ms", "2ms", "3ms", "4ms"], [0.001, 0.002, 0.003, 0.004]),
    "loss": ("loss", [0.01, 0.02, 0.03, 0.04], [0.01, 0.02, 0.03, 0.04]),
    "burst_loss": (
        "burst_loss",
        ["0.01/0.5", "0.02/0.5", "0.03/0.5", "0.04/0.5"],
        [BurstLoss(p=p, r=0.5) for p in (0.01, 0.02, 0.03, 0.04)],
    ),
    "distribution": (
        "distribution",
        ["uniform", None, "pareto", "normal"],
        ["uniform", "", "pareto", "normal"],
    ),
    "reorder": ("reorder", [0.01, None, 0.03, 0.04], [0.01, 0, 0.03, 0.04]),
    "queue_packets": ("queue", [21, None, 23, 24], [21, 0, 23, 24]),
}
PLACES = ("link", "edge", "reverse", "links")


def plan_with(key: str, values_given: list[Any], places: set[str]) -> Plan:
    """A network of two hosts, with the values given for h1's link in these places."""
    given = {
        place: {key: value} for place, value in zip(PLACES, values_given, strict=True) if value is not None
    }
    has = {place: given.get(place, {}) if place in places else {} for place in PLACES}
    links = [{"link": ["h1", "s1"], **has["edge"]}, {"link": ["h2", "s1"]}]
    topology = {"kind": "inline", "hosts": ["h1", "h2"], "switches": ["s1"], "links": links}
    network: dict[str, Any] = {
        "topology": topology,
        "link": {"delay": "10ms", **has["link"], "reverse": has["reverse"]},
    }
    if has["links"]:
        network["links"] = [{"link": ["s1", "h1"], **has["links"]}]
    return plan_of(network=network)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("highest", range(1, 5))
def test_the_later_place_wins(name: str, highest: int) -> None:
    key, values_given, meant = CASES[name]
    places = set(PLACES[:highest])
    plan = plan_with(key, values_given, places)
    of = {pair: getattr(one.asked, name) for pair, one in plan.directions.items()}
    last = [value for place, value in zip(PLACES, meant, strict=True) if place in places and value]
    # `reverse` sets the direction towards the host; all other places set the one from it.
    forward = [
        value for place, value in zip(PLACES, meant, strict=True) if place in places - {"reverse"} and value
    ]
    assert (of["s1", "h1"], of["h1", "s1"]) == (last[-1], forward[-1])


def test_a_stragglers_factor_comes_before_single_links_and_after_everything_else() -> None:
    slowed = {"hosts": ["h1", "h2"], "factor": 5, "spread": 0}
    plan = plan_of(
        network=star(
            5,
            link={"bandwidth": "50mbit", "reverse": {"bandwidth": "100mbit"}},
            stragglers=slowed,
            links=[{"link": ["h2", "s1"], "bandwidth": "7mbit"}],
        )
    )
    of = {pair: one.asked.bandwidth_bps for pair, one in plan.directions.items()}
    assert (of["h1", "s1"], of["s1", "h1"], of["h2", "s1"], of["s1", "h2"]) == (10e6, 20e6, 7e6, 7e6)


def stragglers(plan: Plan) -> list[str]:
    assert [link.a for link in plan.links if link.straggler] == [
        host.name for host in plan.hosts if host.straggler
    ]
    return [host.name for host in plan.hosts if host.straggler]


def test_a_host_below_half_of_the_median_is_a_straggler_whatever_made_it_slow() -> None:
    links = [{"link": ["h2", "s1"], "bandwidth": "29mbit"}, {"link": ["h3", "s1"], "bandwidth": "30mbit"}]
    assert stragglers(plan_of(network=star(6, links=links))) == ["h2"]
    one_way = [{"link": ["h4", "s1"], "bandwidth": "5mbit", "one_way": True}]
    assert stragglers(plan_of(network=star(6, links=one_way))) == ["h4"]
    assert stragglers(plan_of(network=star(6))) == []


def test_a_factor_of_one_changes_nothing_but_the_name() -> None:
    plan = plan_of(network=star(4, stragglers={"hosts": ["h1", "h3"], "factor": 1, "spread": 0.3}))
    assert {one.asked.bandwidth_bps for one in plan.directions.values()} == {60e6}
    assert stragglers(plan) == ["h1", "h3"]
