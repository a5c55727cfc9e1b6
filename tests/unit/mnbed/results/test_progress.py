"""How far nodes got and for whom they waited: stuck nodes, waiting nodes, and those explained by events."""

from __future__ import annotations

import pytest

from mnbed.results.collect import NodeRecords
from mnbed.results.evidence import Evidence
from mnbed.results.fidelity import judge
from mnbed.results.progress import NodeProgress, node_progress, with_stalls
from mnbed.results.summary import _waits
from mnbed.results.wait_lines import wait_lines
from node_agent.records import Waiting

STEP_S, LOCAL_STEPS = 0.1, 10


def node(name: str, ends: list[float], *, waited: float = 0.0, waiting: Waiting | None = None) -> NodeRecords:
    """A node whose rounds end at those times; it waited so long before each for h9."""
    found = NodeRecords(name, straggler=False)
    found.ready = {"event": "ready", "pid": 7, "life": 0}
    found.rounds = [
        {
            "t": t,
            "round": number,
            "steps": 10 * (number + 1),
            "train_loss": None,
            "aggregated": 0,
            "staleness_s": None,
            "overruns": 0,
            "late_s": 0.0,
            "waited_s": waited,
            "waited_for": ["h9"],
        }
        for number, t in enumerate(ends)
    ]
    found.waiting = waiting
    return found


def progress(
    found: NodeRecords,
    end_s: float = 100.0,
    events: list[tuple[float, str]] | None = None,
    reshaped_s: tuple[float, ...] = (),
) -> NodeProgress:
    return node_progress(
        found,
        end_s=end_s,
        step_time_s=STEP_S,
        local_steps=LOCAL_STEPS,
        events=events or [],
        reshaped_s=reshaped_s,
    )


def verdict(*nodes: NodeProgress, status: str = "completed", end_s: float = 100.0) -> list[str]:
    evidence = Evidence(
        status=status,
        duration_s=end_s,
        nodes=[],
        died={},
        delay=None,
        problems=[],
        reported=[],
        progress=with_stalls(nodes, end_s),
    )
    return [reason for reason in judge(evidence).reasons if "node" in reason and "single" not in reason]


EVERY_SECOND = [float(t) for t in range(1, 101)]


def test_nodes_that_train_to_the_end_are_not_a_reason() -> None:
    assert verdict(progress(node("h1", EVERY_SECOND))) == []


def test_a_node_that_stops_early_is_named_with_whom_it_waits_for() -> None:
    stopped = node("h1", EVERY_SECOND[:20], waiting={"round": 0, "since": 20.0, "of": ["h7"], "t": 21.0})
    (reason,) = verdict(progress(stopped), progress(node("h2", EVERY_SECOND)))
    assert reason == (
        "1 node of 2 stopped making rounds long before the end: h1 since 20.0 s, waiting for h7"
    )


def test_a_node_that_stops_without_waiting_is_named_too() -> None:
    (reason,) = verdict(progress(node("h1", EVERY_SECOND[:20])))
    assert "h1 since 20.0 s, for no recorded reason" in reason


def test_a_run_in_which_all_stop_is_degraded() -> None:
    """Three rounds of a hundred, and all wait for each other."""
    nodes = [
        progress(node(name, [1.0, 2.1, 3.0], waiting={"round": 0, "since": 3.0, "of": [other]}))
        for name, other in (("h1", "h2"), ("h2", "h1"))
    ]
    assert len(verdict(*nodes)) == 1


def test_waiting_for_slow_links_is_not_a_fault() -> None:
    slow = node(
        "h1", [20.0, 40.0, 60.0, 80.0], waited=19.0, waiting={"round": 0, "since": 80.0, "of": ["h9"]}
    )
    found = progress(slow)
    assert found.waited_share == pytest.approx(0.96)
    assert found.expected_rounds() == pytest.approx(100)
    assert verdict(found) == []


def test_a_first_model_still_in_transit_at_the_end_is_reported_but_not_a_reason() -> None:
    found = progress(node("h1", [1.0], waiting={"round": 0, "since": 1.0, "of": ["h9"]}))
    assert verdict(found) == []
    waits = _waits(with_stalls([found], 100.0))
    assert [(wait.node, wait.since_s, wait.waited_for) for wait in waits.nodes] == [("h1", 1.0, ["h9"])]


@pytest.mark.parametrize("events", [[(20.5, "kill")], [(20.5, "pause")]])
def test_events_that_end_a_node_explain_it(events: list[tuple[float, str]]) -> None:
    assert verdict(progress(node("h1", EVERY_SECOND[:20]), events=events)) == []


def test_a_link_that_an_event_cut_explains_a_wait_but_not_one_before_it() -> None:
    stopped = node("h1", EVERY_SECOND[:20], waiting={"round": 0, "since": 20.0, "of": ["h7"]})
    assert verdict(progress(stopped, reshaped_s=(20.0,))) == []
    assert len(verdict(progress(stopped, reshaped_s=(5.0,)))) == 1


def test_a_restarted_node_is_judged_from_its_return() -> None:
    back = [*EVERY_SECOND[:20], *[t + 0.5 for t in EVERY_SECOND[60:99]]]
    events = [(20.5, "kill"), (58.0, "restart")]
    found = progress(node("h1", back), events=events)
    assert found.present_s == pytest.approx(100 - (60.5 - 20.5))
    assert verdict(found) == []
    # If it never trains again, that is reported.
    assert len(verdict(progress(node("h1", EVERY_SECOND[:20]), events=events))) == 1


def test_too_few_steps_without_a_wait_are_a_reason() -> None:
    half = node("h1", [2.0 * t for t in range(1, 51)])
    (reason,) = verdict(progress(half))
    assert reason.startswith("1 node did less than 80% of the local steps that step_time allows")
    assert "h1 51%" in reason  # the last round may have been cut short


def test_a_killed_nodes_unfinished_round_is_not_held_against_it() -> None:
    """Killed and restarted every six rounds, a little before a round's end."""
    ends, events, t = [], [], 0.0
    for _ in range(10):
        ends += [t + number for number in range(1, 6)]
        events += [(t + 5.95, "kill"), (t + 6.0, "restart")]
        t += 6.0
    assert verdict(progress(node("h1", ends), end_s=t, events=events), end_s=t) == []


def test_journals_that_say_nothing_of_waits_are_not_judged_by_them() -> None:
    old = node("h1", [2.0 * t for t in range(1, 51)])
    for record in old.rounds:
        del record["waited_s"], record["waited_for"]
    assert verdict(progress(old)) == []


def test_the_reports_lines() -> None:
    stopped = node("h1", EVERY_SECOND[:20], waiting={"round": 0, "since": 20.0, "of": ["h7", "h8"]})
    lines = wait_lines(_waits(with_stalls([progress(stopped)], 100.0)))
    assert len(lines) == 2
    assert lines[0] == "nodes waited for others' models 80.0 % of their time on average"
    assert lines[1] == (
        "h1: 80.0 s, 80.0 % of its time, for h7, h8; from 20.0 s to the end of the run; last round at 20.0 s; it "
        "stood still"
    )
    assert wait_lines(_waits([progress(node("h1", EVERY_SECOND))])) == []


def test_short_interrupted_and_failed_runs() -> None:
    assert verdict(progress(node("h1", [1.0, 2.0, 3.0]), end_s=3.5), end_s=3.5) == []
    assert verdict(progress(node("h1", []), end_s=0.5), end_s=0.5) == []
    stopped = progress(node("h1", EVERY_SECOND[:20]))
    assert verdict(stopped, status="failed") == []


def test_waits_are_listed_longest_first_and_only_where_they_are_long() -> None:
    nodes = [
        progress(node("h1", EVERY_SECOND, waited=0.1)),
        progress(node("h2", [20.0, 40.0, 60.0, 80.0, 100.0], waited=19.0)),
        progress(node("h3", [20.0, 40.0, 60.0, 80.0, 100.0], waited=16.0)),
    ]
    waits = _waits(nodes)
    assert [(wait.node, wait.waited_s, wait.waited_for) for wait in waits.nodes] == [
        ("h2", 95.0, ["h9"]),
        ("h3", 80.0, ["h9"]),
    ]
    assert waits.mean_share == pytest.approx((0.1 + 0.95 + 0.8) / 3)
    assert _waits([nodes[0]]).nodes == []
