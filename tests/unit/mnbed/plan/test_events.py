"""`network.events` as users write it: what happens when, and the messages for contradictory entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mnbed.errors import InputError, MnbedError
from mnbed.experiment.loading import dump_experiment, load_experiment
from mnbed.experiment.sections import Experiment, parse, resolved
from mnbed.plan.make import make_plan
from mnbed.plan.model import NodeEvent, Plan, Reshape, SetLink, SetPartition
from tests.machines import ROOMY

BASE: dict[str, Any] = {
    "network": {"topology": {"kind": "star", "nodes": 5}, "link": {"bandwidth": "10mbit", "delay": "5ms"}},
    "algorithm": {"name": "local"},
    "time": {"duration": "60s", "dilation": 2},
}


def load(tmp_path: Path, *events: Any, **network: Any) -> Experiment:
    sections = {**BASE, "network": {**BASE["network"], **network, "events": list(events)}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(sections))
    return load_experiment(tmp_path / "x.yaml")


def plan_of(tmp_path: Path, *events: Any, **network: Any) -> Plan:
    return make_plan(load(tmp_path, *events, **network), ROOMY)


def texts(plan: Plan) -> list[tuple[float, str]]:
    return [(event.at_s, event.text) for event in plan.timeline]


def shapes(plan: Plan, source: str, target: str) -> list[tuple[float, float, float]]:
    """(time, bandwidth, delay) of every reshaping of that direction."""
    return [
        (event.at_s, one.asked.bandwidth_bps, one.asked.delay_s)
        for event in plan.timeline
        if isinstance(event, Reshape)
        for one in event.directions
        if (one.source, one.target) == (source, target)
    ]


def test_no_events_no_timeline(tmp_path: Path) -> None:
    assert plan_of(tmp_path).timeline == ()


def test_a_change_for_a_while_ends_where_it_began(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"at": "30s", "link": ["h3", "s1"], "bandwidth": "5mbit", "for": "10s"})
    assert texts(plan) == [(30, "h3 - s1: bandwidth 5mbit"), (40, "h3 - s1: as before")]
    assert shapes(plan, "h3", "s1") == shapes(plan, "s1", "h3") == [(30, 5e6, 0.005), (40, 10e6, 0.005)]
    event = plan.timeline[0]
    assert isinstance(event, Reshape)
    assert event.directions[0].interface == "h3-eth0"
    # On the wire at dilation 2.
    assert (event.directions[0].wire.bandwidth_bps, event.directions[0].wire.delay_s) == (2.5e6, 0.01)


def test_changes_build_on_each_other_and_may_be_one_way(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        {"at": "10s", "link": ["s1", "h3"], "one_way": True, "delay": "50ms"},
        {"at": "20s", "link": ["h3", "s1"], "bandwidth": "2mbit", "for": "10s"},
        {"at": "25s", "link": ["h3", "s1"], "loss": 0.01, "queue": "2bdp"},
    )
    assert shapes(plan, "h3", "s1") == [(20, 2e6, 0.005), (25, 2e6, 0.005), (30, 10e6, 0.005)]
    assert shapes(plan, "s1", "h3") == [(10, 10e6, 0.05), (20, 2e6, 0.05), (25, 2e6, 0.05), (30, 10e6, 0.05)]
    last = plan.timeline[-1]
    assert isinstance(last, Reshape)
    assert {(one.asked.loss, one.asked.queue_bdp) for one in last.directions} == {(0.01, 2.0)}
    assert plan.timeline[0].text == "s1 -> h3: delay 50ms"


def test_several_links_change_in_one_event(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"at": "1s", "links": [["h1", "s1"], ["h2", "s1"]], "bandwidth": "1mbit"})
    (event,) = plan.timeline
    assert isinstance(event, Reshape)
    assert len(event.directions) == 4


def test_links_go_down_and_come_up(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        {"at": "1s", "link": ["h1", "s1"], "action": "down"},
        {"at": "4s", "link": ["s1", "h1"], "action": "up"},
        {"at": "5s", "link": ["h2", "s1"], "action": "down", "for": "2s"},
    )
    assert texts(plan) == [(1, "h1 - s1 down"), (4, "s1 - h1 up"), (5, "h2 - s1 down"), (7, "h2 - s1 up")]
    assert all(isinstance(event, SetLink) for event in plan.timeline)


@pytest.mark.parametrize("end", [{"times": 3}, {"until": "7s"}, {"until": "6500ms"}])
def test_a_link_flaps(tmp_path: Path, end: dict[str, Any]) -> None:
    flap = {"at": "2s", "link": ["h1", "s1"], "action": "flap", "down": "500ms", "up": "1500ms", **end}
    times = [(event.at_s, event.text[-2:]) for event in plan_of(tmp_path, flap).timeline]
    assert times == [(2, "wn"), (2.5, "up"), (4, "wn"), (4.5, "up"), (6, "wn"), (6.5, "up")]


def test_a_partition_heals(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        {"at": "10s", "partition": [["h1", "h2"], ["h3"]], "for": "5s"},
        {"at": "20s", "partition": [["h1"], ["h3"]]},
        {"at": "30s", "action": "heal"},
    )
    assert texts(plan) == [
        (10, "partition h1 h2 | h3"),
        (15, "partition heals"),
        (20, "partition h1 | h3"),
        (30, "partition heals"),
    ]
    groups = [event.groups for event in plan.timeline if isinstance(event, SetPartition)]
    assert groups == [(("h1", "h2"), ("h3",)), (), (("h1",), ("h3",)), ()]


def test_nodes_die_pause_and_come_back(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        {"at": "5s", "nodes": ["h1", "h2"], "action": "kill"},
        {"at": "9s", "node": "h1", "action": "restart", "state": "fresh"},
        {"at": "10s", "node": "h3", "action": "pause", "for": "2s"},
        {"at": "20s", "node": "h4", "action": "crash", "downtime": "3s"},
        {"at": "30s", "node": "h3", "action": "pause"},
        {"at": "31s", "node": "h3", "action": "kill"},
    )
    assert texts(plan) == [
        (5, "h1 killed"),
        (5, "h2 killed"),
        (9, "h1 restarts afresh"),
        (10, "h3 paused"),
        (12, "h3 resumes"),
        (20, "h4 killed"),
        (23, "h4 restarts from its last snapshot"),
        (30, "h3 paused"),
        (31, "h3 killed"),
    ]


CHURN = {"at": "10s", "until": "50s", "action": "churn", "rate": "30/min", "downtime": "5s"}


def deaths(plan: Plan) -> list[tuple[float, str]]:
    return [
        (event.at_s, event.node)
        for event in plan.timeline
        if isinstance(event, NodeEvent) and event.action == "kill"
    ]


def test_churn_kills_at_its_rate_and_spares_two(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, CHURN)
    dead: set[str] = set()
    for event in plan.timeline:
        assert isinstance(event, NodeEvent)
        assert 10 < event.at_s < 55.1
        (dead.add if event.action == "kill" else dead.discard)(event.node)
        assert len(dead) <= 3
    # Half a crash a second for 40 s, but never more than three nodes down at once for 5 s each.
    assert 5 <= len(deaths(plan)) <= 24
    assert not dead


def test_churn_comes_from_the_seed_alone(tmp_path: Path) -> None:
    change = {"at": "3s", "link": ["h1", "s1"], "bandwidth": "1mbit"}
    assert deaths(plan_of(tmp_path, CHURN)) == deaths(plan_of(tmp_path, change, CHURN)) != []
    other = make_plan(load_experiment(tmp_path / "x.yaml", ["seed=2"]), ROOMY)
    assert deaths(other) != deaths(plan_of(tmp_path, CHURN))


def test_churn_leaves_nodes_alone_that_other_entries_name(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, CHURN, {"at": "15s", "node": "h2", "action": "kill"})
    assert [node for _, node in deaths(plan)].count("h2") == 1


def test_a_trace_of_several_links_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text(
        "time,link,bandwidth,delay\n0,h1-s1,5mbit,\n2.5,h1-s1,,40ms\n# a remark\n1s,h2-s1,3e6,20ms\n"
    )
    plan = plan_of(tmp_path, {"at": "10s", "trace": "links.csv"})
    assert shapes(plan, "h1", "s1") == [(10, 5e6, 0.005), (12.5, 5e6, 0.04)]
    assert shapes(plan, "s1", "h2") == [(11, 3e6, 0.02)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_trace_given_by_set_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Like every other file that --set names, and also if it gives a whole section."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "cell.csv").write_text("time,bandwidth\n0,5mbit\n")
    (here / "net.edges").write_text("s1 h1\ns1 h2\ns1 h3\n")
    load(tmp_path)
    monkeypatch.chdir(here)
    events = "[{link: [h1, s1], trace: cell.csv}]"
    given = [f"network={{events: {events}}}"] if whole else [f"network.events={events}"]
    assert load_experiment(tmp_path / "x.yaml", given).network.events
    graph = load_experiment(tmp_path / "x.yaml", ["network.topology={file: net.edges}"])
    assert graph.network.topology["kind"] == "inline"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"cell\.csv"):
        load_experiment(tmp_path / "x.yaml", given)


def test_a_resolved_experiment_needs_no_trace_file(tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text("time,bandwidth\n0,5mbit\n2,6mbit\n")
    before = load(tmp_path, {"trace": "links.csv", "link": ["h1", "s1"]})
    (tmp_path / "links.csv").unlink()
    (tmp_path / "y.yaml").write_text(dump_experiment(before))
    after = load_experiment(tmp_path / "y.yaml")
    assert after == before
    assert make_plan(after, ROOMY).timeline == make_plan(before, ROOMY).timeline


def test_every_kind_of_entry_survives_a_dump(tmp_path: Path) -> None:
    from mnbed.experiment.event_settings import KINDS, example

    for kind in KINDS:
        entry = yaml.safe_load(example(kind))
        if "mahimahi" in entry:
            (tmp_path / "cell.trace").write_text("1\n600\n")
        before = load(tmp_path, entry)
        (tmp_path / "y.yaml").write_text(dump_experiment(before))
        assert load_experiment(tmp_path / "y.yaml") == before, entry
        assert type(before.network.events[0]) is kind


def test_mahimahi_packets_become_bandwidths(tmp_path: Path) -> None:
    # 12 Mbit/s for half a second, nothing for half a second, 2.4 Mbit/s for half a second; again and again.
    lines = [*range(1, 501), *range(1005, 1501, 5)]
    (tmp_path / "cell.trace").write_text("\n".join(map(str, lines)))
    plan = plan_of(tmp_path, {"at": "1s", "link": ["h1", "s1"], "one_way": True, "mahimahi": "cell.trace"})
    found = shapes(plan, "h1", "s1")
    assert [at for at, *_ in found[:7]] == [1, 1.5, 2, 2.5, 3, 3.5, 4]
    # At least what the wire can do: 8 kbit/s at dilation 2.
    assert [round(rate) for _, rate, _ in found[:4]] == [12_000_000, 16_000, 2_400_000, 12_000_000]
    assert found[-1][0] < 60
    assert shapes(plan, "s1", "h1") == []


def test_a_mahimahi_file_may_be_played_once(tmp_path: Path) -> None:
    (tmp_path / "cell.trace").write_text("250\n500\n")
    entry = {"link": ["h1", "s1"], "mahimahi": "cell.trace", "repeat": False, "bin": "250ms"}
    assert shapes(plan_of(tmp_path, entry), "h1", "s1") == [(0, 48_000, 0.005)]


def test_points_may_repeat(tmp_path: Path) -> None:
    entry = {
        "link": ["h1", "s1"],
        "points": [["0s", "1mbit"], ["5s", "2mbit"]],
        "repeat": True,
        "period": "20s",
    }
    assert [at for at, *_ in shapes(plan_of(tmp_path, entry), "h1", "s1")] == [0, 5, 20, 25, 40, 45]


LINK = {"link": ["h1", "s1"]}
SLOW = {**LINK, "at": "10s", "bandwidth": "1mbit"}


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        # What is not there.
        ([{**SLOW, "link": ["h9", "s1"]}], ["events[0].link", "no node 'h9'", "h5"]),
        ([{**SLOW, "link": ["h1", "h2"]}], ["events[0].link", "no link h1 - h2"]),
        ([{"at": "1s", "links": [["h1", "s9"]], "action": "down"}], ["events[0].links", "no node 's9'"]),
        ([{"at": "1s", "node": "h9", "action": "kill"}], ["events[0].node", "no host 'h9'"]),
        ([{"at": "1s", "node": "s1", "action": "kill"}], ["events[0].node", "'s1' is a switch, not a host"]),
        ([{"at": "1s", "partition": [["h1"], ["h9"]]}], ["events[0].partition", "no host 'h9'"]),
        ([{**CHURN, "nodes": ["h1", "h8"]}], ["events[0].nodes", "no host 'h8'"]),
        # Times.
        ([{**SLOW, "at": "61s"}], ["events[0].at", "61s is not before", "60s"]),
        ([{**SLOW, "at": "60s"}], ["events[0].at"]),
        ([{**SLOW, "at": "-1s"}], ["events[0].at", "not negative"]),
        ([{**SLOW, "at": "soon"}], ["events[0].at", "not a time"]),
        (
            [{**SLOW, "at": "55s", "for": "10s"}],
            ["events[0].for", "10s from 55s on lasts beyond the end of the run"],
        ),
        ([{**SLOW, "for": "0s"}], ["events[0].for", "above 0"]),
        ([{"at": "58s", "node": "h1", "action": "crash", "downtime": "5s"}], ["events[0].downtime"]),
        ([{"at": "58s", "node": "h1", "action": "pause", "for": "5s"}], ["events[0].for"]),
        ([{**CHURN, "until": "5s"}], ["events[0].until", "5s is not after at, 10s"]),
        ([{**CHURN, "until": "70s"}], ["events[0].until", "after the end of the run"]),
        ([{"at": "1s", **LINK, "action": "flap", "down": "9s", "up": "9s", "times": 4}], ["events[0].times"]),
        ([{"at": "1s", **LINK, "action": "flap", "down": "9s", "up": "9s"}], ["events[0].until", "times: 5"]),
        ([{"at": "1s", **LINK, "action": "flap", "down": "1us", "up": "1us", "until": "9s"}], ["100,000"]),
        ([{**CHURN, "rate": "1000000/s"}], ["events[0].rate", "too high"]),
        # Entries against each other, and against themselves.
        (
            [{**SLOW, "for": "9s"}, {**SLOW, "at": "15s"}],
            ["events[1].bandwidth", "at 15s", "events[0]", "network.events[0] also sets bandwidth"],
        ),
        ([SLOW, SLOW], ["events[1].bandwidth"]),
        ([{**LINK, "points": [["0s", "1mbit"], ["20s", "2mbit"]]}, SLOW], ["events[1].bandwidth"]),
        (
            [{"at": "1s", **LINK, "action": "down"}, {"at": "2s", **LINK, "action": "down"}],
            ["has already taken it down"],
        ),
        ([{"at": "1s", **LINK, "action": "up"}], ["events[0].at", "it is already up"]),
        ([{"at": "1s", "action": "heal"}], ["events[0].at", "no partition to heal"]),
        (
            [{"at": "1s", "partition": [["h1"], ["h2"]]}, {"at": "2s", "partition": [["h1"], ["h3"]]}],
            ["events[1].at", "is during the partition of network.events[0]"],
        ),
        ([{"at": "1s", "partition": [["h1", "h2"], ["h2"]]}], ["h2 is named twice"]),
        ([{"at": "1s", "partition": [["h1", "h2"]]}], ["at least two groups"]),
        ([{"at": "1s", "partition": [["h1"], []]}], ["at least two groups"]),
        (
            [{"at": "1s", "node": "h1", "action": "kill"}, {"at": "2s", "node": "h1", "action": "kill"}],
            ["events[1].at", "kill of h1 at 2s: it is already dead"],
        ),
        ([{"at": "1s", "node": "h1", "action": "restart"}], ["restart of h1 at 1s: it is already running"]),
        ([{"at": "1s", "node": "h1", "action": "resume"}], ["resume of h1 at 1s: it is already running"]),
        ([CHURN, {**CHURN, "nodes": ["h1"]}], ["events[1].nodes", "other entries already determine"]),
        # What the wire cannot do.
        ([{**SLOW, "jitter": "6ms"}], ["events[0].jitter", "6ms", "above its delay, 5ms"]),
        ([{**SLOW, "bandwidth": "10kbit"}], ["events[0].bandwidth", "after dilation", "8kbit"]),
        ([{**SLOW, "delay": "150s"}], ["events[0].delay", "at most 200s"]),
        # Shapes of entries.
        ([{"at": "1s", "node": "h1"}], ["events[0].action", "missing", "kill"]),
        ([{"at": "1s", "node": "h1", "action": "down"}], ["events[0].action", "kill"]),
        ([{"at": "1s", **LINK, "action": "dwon"}], ["events[0].action", "did you mean down"]),
        ([{"at": "1s", **LINK}], ["events[0]", "what changes?"]),
        ([{"at": "1s", **LINK, "bandwith": "1mbit"}], ["events[0].bandwith", "did you mean bandwidth"]),
        ([{"at": "1s"}], ["events[0]", "what happens?"]),
        (["down"], ["events[0]", "section"]),
        ([{"at": "1s", "links": [], "action": "down"}], ["events[0].link", "which link?"]),
        ([{**SLOW, "links": [["h2", "s1"]]}], ["events[0].link"]),
        ([{"at": "1s", "link": ["h1"], "bandwidth": "1mbit"}], ["events[0].link", "two ends"]),
        ([{"link": ["h1", "s1"], "mahimahi": "x", "trace": "y"}], ["events[0]"]),
        (
            [{**LINK, "points": [["2s", "1mbit"], ["1s", "2mbit"]]}],
            ["events[0].points", "point 1", "not after"],
        ),
        ([{**LINK, "points": [["2s", "fast"]]}], ["events[0].points", "point 0", "not a bandwidth"]),
        ([{**LINK, "points": [["2s"]]}], ["events[0].points", "point 0"]),
        ([{**LINK, "points": [["2s", None, None, 2]]}], ["events[0].points", "point 0", "0 to 1"]),
        ([{**LINK, "points": [["2s", None, None, None]]}], ["events[0].points", "point 0", "nothing"]),
        (
            [{"at": "1s", **LINK, "loss": 0.1, "burst_loss": "0.01/0.5"}],
            ["events[0].burst_loss", "from 1s on", "h1 - s1", "burst_loss: none"],
        ),
        (
            [{"at": "1s", **LINK, "burst_loss": "0.01/0.5"}, {**LINK, "points": [["2s", None, None, 0.1]]}],
            ["events[1].burst_loss", "from 2s on", "also has loss 0.1"],
        ),
        ([{"at": "1s", **LINK, "burst_loss": {"p": 0.1}}], ["events[0].burst_loss", "r is missing"]),
        ([{"points": [["2s", "1mbit"]]}], ["events[0].points", "names no link"]),
        (
            [{**LINK, "points": [["2s", "1mbit", None, "h1-s1"]]}],
            ["events[0].points", "but so does the entry"],
        ),
        ([{**LINK, "points": [["2s", "1mbit"]], "repeat": True}], ["events[0].period", "missing"]),
    ],
)
def test_contradictory_events_are_refused_before_anything_is_built(
    tmp_path: Path, events: list[Any], parts: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, *events)
    for part in parts:
        assert part in error.value.message, error.value.message


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, {**SLOW, "link": ["h9", "s1"]}, {"at": "99s", "node": "h1", "action": "kill"})
    assert len(error.value.message.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["no column time"]),
        ("time,link,bandwidth\n", ["no rows"]),
        ("time,bandwidth\n0,1mbit\n", ["links.csv:1", "no column link", "link: [h3, s1]"]),
        ("time,link\n0,h1-s1\n", ["no column bandwidth"]),
        ("time,link,bandwith\n0,h1-s1,1mbit\n", ["links.csv:1", "'bandwith'", "did you mean bandwidth"]),
        ("time,link,bandwidth\n0,h1-s1,fast\n", ["links.csv:2", "bandwidth", "not a bandwidth"]),
        ("time,link,bandwidth\n0,h1-s1\n", ["links.csv:2", "2 cells"]),
        ("time,link,bandwidth\n0,h1-s1,\n", ["links.csv:2", "neither"]),
        ("time,link,bandwidth\n,h1-s1,1mbit\n", ["links.csv:2", "no time"]),
        ("time,link,loss\n0,h1-s1,1.5\n", ["links.csv:2", "loss", "0 to 1"]),
        ("time,link,loss\n0,h1-s1,1%\n", ["links.csv:2", "loss", "a number"]),
        ("time,link,bandwidth\n0,h1,1mbit\n", ["links.csv:2", "h3-s1"]),
        ("time,link,bandwidth\n2,h1-s1,1mbit\n1,h1-s1,1mbit\n", ["links.csv:3", "not after"]),
        ("time,link,bandwidth\n0,h9-s1,1mbit\n", ["events[0].trace", "no node 'h9'"]),
        ("time,link,bandwidth\n0,h1-s1,1mbit\n99,h1-s1,2mbit\n", ["events[0].points", "99s is not before"]),
        ("time,link,bandwidth\n\xff", ["not a text file"]),
    ],
)
def test_malformed_traces_are_named_with_their_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "links.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, {"trace": "links.csv"})
    for part in parts:
        assert part in error.value.message, error.value.message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1\n2\nx\n", ["cell.trace:3", "'x'", "whole number of milliseconds"]),
        ("5\n4\n", ["cell.trace:2", "earlier than the previous line"]),
        ("0\n0\n", ["no packet could ever be delivered"]),
        ("", ["no packet could ever be delivered"]),
        ("1\n999999999999\n", ["cell.trace:2", "million bins"]),
    ],
)
def test_malformed_mahimahi_files_are_reported_with_their_line(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    (tmp_path / "cell.trace").write_text(text)
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, {**LINK, "mahimahi": "cell.trace"})
    for part in parts:
        assert part in error.value.message, error.value.message


def test_a_trace_may_say_losses(tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text(
        "time,link,loss,bandwidth\n0,h1-s1,0.01,5mbit\n2,h1-s1,,6mbit\n4,h1-s1,0,\n5,h2-s1,0.25,\n"
    )
    before = load(tmp_path, {"trace": "links.csv"})
    (tmp_path / "links.csv").unlink()
    experiment = parse(yaml.safe_load(dump_experiment(before)))
    assert experiment == before
    (trace,) = resolved(experiment)["network"]["events"]
    assert trace["points"] == [
        ["0s", "5mbit", None, 0.01, "h1-s1"],
        ["2s", "6mbit", None, "h1-s1"],
        ["4s", None, None, 0.0, "h1-s1"],
        ["5s", None, None, 0.25, "h2-s1"],
    ]
    timeline = make_plan(experiment, ROOMY).timeline
    assert [
        (event.at_s, event.directions[0].asked.loss) for event in timeline if isinstance(event, Reshape)
    ] == [
        (0.0, 0.01),
        (2.0, 0.01),
        (4.0, 0.0),
        (5.0, 0.25),
    ]


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"x\.yaml:\d+: network\.events\[0\]\.trace: .*gone\.csv: no such file"
    ):
        plan_of(tmp_path, {"trace": "gone.csv"})


def test_a_delay_that_only_an_event_brings_needs_a_backend(tmp_path: Path) -> None:
    plain = {"bandwidth": "10mbit", "delay": "0s"}
    assert plan_of(tmp_path, link=plain).delay_backend == "none"
    later = {"at": "5s", "link": ["h1", "s1"], "delay": "20ms"}
    assert plan_of(tmp_path, later, link=plain).delay_backend != "none"
    with pytest.raises(MnbedError, match="reorder"):
        plan_of(tmp_path, {**later, "reorder": 0.1}, link=plain, delay_backend="nfqueue")
