"""Every row of the table of link properties, from the experiment's YAML to what is read back from the kernel."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from typing import Any

import networkx as nx
import pytest

import topologies
from mnbed.errors import InputError, MachineError
from mnbed.experiment.event_settings import changed_keys
from mnbed.experiment.link_settings import LinkSettings, PartialLinkSettings
from mnbed.experiment.sections import parse, resolved
from mnbed.network.nfqueue.delay import Paths, host_paths
from mnbed.network.shaping import asked_shape, differences, parse_shapes, tc_commands
from mnbed.plan.link_property import Property
from mnbed.plan.links import in_words, merged
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan, Reshape
from mnbed.plan.properties import PROPERTIES, LinkProperties
from mnbed.prompt.shape_words import answer, parse_change, shape_help
from tests.machines import ROOMY
from topologies.burst_loss import NO_BURSTS, BurstLoss
from topologies.description import to_description
from topologies.properties import EDGE_PROPERTIES

ROWS = pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.key)
# Properties that another one needs.
BASE = {"bandwidth": "20mbit", "delay": "30ms", "jitter": "5ms"}
# Key -> five values that differ, as YAML has them, and what the first is in LinkProperties.
SAMPLES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "bandwidth": (("8mbit", "7mbit", "6mbit", "5mbit", "4mbit"), {"bandwidth_bps": 8e6}),
    "delay": (("21ms", "22ms", "23ms", "24ms", "25ms"), {"delay_s": 0.021}),
    "jitter": (("1.5ms", "2ms", "3ms", "4ms", "6ms"), {"jitter_s": 0.0015}),
    "distribution": (
        ("pareto", "paretonormal", "uniform", "normal", "pareto"),
        {"distribution": "pareto"},
    ),
    "loss": ((0.015, 0.02, 0.03, 0.04, 0.05), {"loss": 0.015}),
    "burst_loss": (
        ({"p": 0.0123, "r": 0.25, "loss_bad": 0.9}, "0.02/0.5", "0.03/0.5/1/0.001", "none", "0.05/0.5"),
        {"burst_loss": BurstLoss(p=0.0123, r=0.25, loss_bad=0.9)},
    ),
    "reorder": ((0.25, 0.2, 0.3, 0.4, 0.5), {"reorder": 0.25}),
    "queue": (("3bdp", 40, "2bdp", 60, 70), {"queue_packets": None, "queue_bdp": 3.0}),
}


def values(row: Property) -> tuple[Any, ...]:
    return SAMPLES[row.key][0]


def plan_of(
    link: dict[str, Any], *, backend: str = "netem", dilation: float = 1, topology: Any = None, **network: Any
) -> Plan:
    sections = {
        "topology": topology or {"kind": "star", "nodes": 2},
        "link": {**BASE, **link},
        "delay_backend": backend,
        **network,
    }
    data = {"network": sections, "task": {"name": "digits"}, "algorithm": {"name": "local"}}
    return make_plan(parse({**data, "time": {"dilation": dilation}}), ROOMY)


def asked_of(row: Property, value: Any) -> dict[str, Any]:
    """Fields of LinkProperties of that value, by way of the settings."""
    section = parse({"network": {"links": [{"link": ["h1", "s1"], row.key: value}]}}).network.links[0]
    return dict(row.changes(getattr(section, row.key)))


def kernel_says(lines: list[str]) -> str:
    """What `show_script` prints once tc has taken those lines: numbers as iproute2 6 rounds and writes them."""
    text = "\n".join(lines)
    rate = float(re.findall(r"htb rate (\d+)bit", text)[0])
    words = re.search(r"netem limit (\d+) delay (\S+)us(?: (\S+)us)?", text)
    assert words is not None
    limit, delay, jitter = words.groups(default="0")
    options: dict[str, Any] = {
        "limit": int(limit),
        "delay": {"delay": float(delay) / 1e6, "jitter": float(jitter) / 1e6, "correlation": 0},
    }

    def share(percent: str) -> float:
        return float(f"{round(float(percent) / 100 * (2**32 - 1)) / (2**32 - 1):g}")

    for name, shown in (("loss", "loss-random"), ("reorder", "reorder")):
        if found := re.search(rf" {name} ([\d.]+)%", text):
            options[shown] = {name: share(found[1]), "correlation": 0}
    if found := re.search(r" loss gemodel (\S+)% (\S+)% (\S+)% (\S+)%", text):
        options["loss-gemodel"] = dict(zip(("p", "r", "1-h", "1-k"), map(share, found.groups()), strict=True))
    rows = [
        {"kind": "htb", "handle": "5:", "dev": "x", "root": True, "options": {}, "bytes": 0, "drops": 0},
        {"kind": "netem", "handle": "10:", "dev": "x", "parent": "5:1", "options": options},
    ]
    shown = f"rate {rate:.0f}bit ceil {rate:.0f}bit"
    return f"{json.dumps(rows)}\n@x\nclass htb 5:1 root leaf 10: prio 0 {shown} burst 1b\n"


def test_the_table_covers_every_key_of_experiments() -> None:
    keys = [row.key for row in PROPERTIES]
    assert keys == [item.name for item in fields(PartialLinkSettings)] == list(SAMPLES)
    assert keys == [item.name for item in fields(LinkSettings) if item.name != "reverse"]
    assert {row.field for row in PROPERTIES} <= {item.name for item in fields(LinkProperties)}


def test_graphs_carry_fields_of_the_table() -> None:
    rows = {row.key: row for row in PROPERTIES}
    assert {one.key: one.attribute for one in EDGE_PROPERTIES} == {
        key: row.field for key, row in rows.items() if row.edge is not None
    }
    # What lies between two hosts has the properties that paths may have.
    assert {one.key for one in EDGE_PROPERTIES if one.of_paths} == {
        key for key, row in rows.items() if row.together is not None
    }


@ROWS
@pytest.mark.parametrize("dilation", [1, 3])
def test_from_yaml_to_the_kernel_and_back(row: Property, dilation: float) -> None:
    first, second, *_ = values(row)
    plan = plan_of({row.key: first}, dilation=dilation)
    direction = plan.directions["h1", "s1"]
    assert {name: getattr(direction.asked, name) for name in SAMPLES[row.key][1]} == SAMPLES[row.key][1]
    assert getattr(direction.wire, row.field) == row.dilated(getattr(direction.asked, row.field), dilation)
    asked = asked_shape(direction.wire, "netem")
    listing = kernel_says(tc_commands("x", direction.wire, "netem"))
    found = parse_shapes(listing, ["x"])["x"].shape
    assert differences(asked, found) == []
    assert found is not None
    # environment.json keeps both.
    kept, wanted = (json.loads(json.dumps(one)) for one in (found.record(), asdict(direction.asked)))
    assert {"rate_bps", "limit"} <= kept.keys()
    assert row.field in (kept if row.read_back is not None else wanted)
    # And another value is noticed, or tc does not show it.
    other = replace(direction.asked, **asked_of(row, second)).dilated(dilation)
    listing = kernel_says(tc_commands("x", other, "netem"))
    wrong = differences(asked, parse_shapes(listing, ["x"])["x"].shape)
    assert bool(wrong) == (row.key != "distribution")
    if row.read_back is not None:
        assert wrong[0].startswith(f"{row.key} ")


@ROWS
def test_only_rates_and_times_dilate(row: Property) -> None:
    value = next(iter(SAMPLES[row.key][1].values()))
    factor = {"bandwidth": 0.25, "delay": 4, "jitter": 4}.get(row.key)
    assert row.dilated(value, 4) == (value if factor is None else value * factor)


@ROWS
def test_later_ones_count(row: Property) -> None:
    """Every link < the graph's edge < the other direction < stragglers < single links."""
    everywhere, on_edge, back, single, _ = values(row)
    graph = topologies.generate("star", {"nodes": 3}, 1)
    link = {row.key: everywhere, "reverse": {row.key: back}}
    if row.edge is not None:
        graph.edges["h2", "s1"][row.edge.attribute] = row.to_graph(asked_of(row, on_edge)[row.field])
        graph.edges["h3", "s1"].update(graph.edges["h2", "s1"])
    inline = {"kind": "inline", **to_description(graph)}
    links = [{"link": ["h3", "s1"], row.key: single}]
    plan = plan_of(
        link, topology=inline, links=links, stragglers={"hosts": ["h2", "h3"], "factor": 2, "spread": 0}
    )
    wanted = {
        ("h1", "s1"): everywhere,
        ("s1", "h1"): back,
        ("h2", "s1"): everywhere if row.edge is None else on_edge,
        ("s1", "h2"): back,
        ("h3", "s1"): single,
        ("s1", "h3"): single,
    }
    for ends, value in wanted.items():
        fields_wanted = asked_of(row, value)
        if row.key == "bandwidth" and "h2" in ends:
            fields_wanted = {"bandwidth_bps": fields_wanted["bandwidth_bps"] / 2}
        asked = plan.directions[ends].asked
        assert {name: getattr(asked, name) for name in fields_wanted} == fields_wanted, ends


@ROWS
def test_a_change_leaves_the_other_properties_alone(row: Property) -> None:
    before = plan_of({}).directions["h1", "s1"].asked
    change = PartialLinkSettings(**{row.key: getattr(settings(row, values(row)[0]), row.key)})
    after = merged(before, change)
    assert {
        item.name for item in fields(after) if getattr(after, item.name) != getattr(before, item.name)
    } == set(SAMPLES[row.key][1]) - {"queue_packets"}
    assert merged(after, PartialLinkSettings()) == after
    assert in_words(change).startswith(f"{row.key} ")


def settings(row: Property, value: Any) -> PartialLinkSettings:
    return parse({"network": {"links": [{"link": ["h1", "s1"], row.key: value}]}}).network.links[0]


@ROWS
def test_a_resolved_experiment_says_the_same(row: Property) -> None:
    for value in values(row):
        experiment = parse({"network": {"link": {**BASE, row.key: value, "reverse": {row.key: value}}}})
        assert parse(resolved(experiment)) == experiment


@ROWS
def test_events_change_it_and_back(row: Property) -> None:
    first, second, *_ = values(row)
    event = {"at": "1s", "link": ["h1", "s1"], "one_way": True, row.key: second, "for": "2s"}
    plan = plan_of({row.key: first}, events=[event])
    begin, end = plan.timeline
    assert f"{row.key} " in begin.text
    assert isinstance(begin, Reshape)
    assert isinstance(end, Reshape)
    (changed,), (restored,) = begin.directions, end.directions
    fields_wanted = asked_of(row, second)
    assert {name: getattr(changed.asked, name) for name in fields_wanted} == fields_wanted
    assert restored.asked == plan.directions["h1", "s1"].asked


@ROWS
def test_who_cannot_do_it_refuses_it(row: Property) -> None:
    plan_of({row.key: values(row)[0]}, backend="netem")
    if "nfqueue" in row.backends:
        plan_of({row.key: values(row)[0]}, backend="nfqueue")
    else:
        with pytest.raises(MachineError, match=rf"link\.{row.key}: the backend nfqueue cannot do this"):
            plan_of({row.key: values(row)[0]}, backend="nfqueue")


@ROWS
def test_without_netem_the_process_does_the_same(row: Property) -> None:
    """What changes netem's arguments also changes the delay process's effects, or its backend refuses it."""
    base, changed = plan_of({}), plan_of({row.key: values(row)[0]})
    (words, with_it) = (
        "".join(one.netem(plan.directions["h1", "s1"].wire) for one in PROPERTIES) for plan in (base, changed)
    )
    if "nfqueue" not in row.backends:
        return
    before, after = (
        Paths(plan).effects({ends: direction.wire for ends, direction in plan.directions.items()})
        for plan in (base, changed)
    )
    assert (before != after) == (words != with_it)


@pytest.mark.parametrize("row", [row for row in PROPERTIES if row.edge], ids=lambda row: row.key)
def test_graphs_carry_it_through_every_form(row: Property) -> None:
    assert row.edge is not None
    value = row.to_graph(asked_of(row, values(row)[0])[row.field])
    graph = topologies.generate("star", {"nodes": 2}, 1)
    graph.edges["h1", "s1"][row.edge.attribute] = value
    again = topologies.description.from_description(to_description(graph))
    assert nx.utils.graphs_equal(again, graph)
    assert row.edge.read(str(row.edge.form(value))) == row.edge.plain(str(value)) == value
    assert row.edge.wrong("nonsense") is not None


@ROWS
def test_the_prompt_takes_it(row: Property) -> None:
    if row.prompt is None:
        assert row.key == "distribution"
        return
    change = parse_change([row.prompt.name, row.prompt.example])
    assert changed_keys(change) == (row.key,)
    assert f"[{row.prompt.name} {row.prompt.example}]" in shape_help()
    with pytest.raises(InputError, match=f"{row.prompt.name} nonsense: "):
        parse_change([row.prompt.name, "nonsense"])


def test_the_prompt_speaks_of_losses_in_percent() -> None:
    before = LinkProperties(bandwidth_bps=5e6, delay_s=0.02)
    assert answer(before) == "5mbit, delay 20ms, jitter 0s, loss 0.000%"
    after = merged(before, parse_change(["burst_loss", "1/25%/80", "reorder", "5"]))
    assert after.burst_loss == BurstLoss(p=0.01, r=0.25, loss_bad=0.8)
    assert answer(after).endswith("loss 0.000%, burst_loss 3.077% in bursts of 2.5")
    assert merged(after, parse_change(["burst_loss", "none"])).burst_loss == NO_BURSTS


def test_bursts_cannot_be_combined_with_other_losses() -> None:
    with pytest.raises(
        InputError, match=r"link\.burst_loss: 0.1/0.5 on link h1 - s1, which also has loss 0.02"
    ):
        plan_of({"burst_loss": "0.1/0.5", "loss": 0.02})
    link = {"link": ["h1", "s1"], "burst_loss": "none"}
    assert plan_of({"burst_loss": "0.1/0.5"}, links=[link]).directions["h1", "s1"].asked.loss_share == 0


def test_bursts_of_a_link_and_losses_of_a_path_behind_it_are_refused() -> None:
    """They would meet in one netem."""
    graph = topologies.generate("regions", {"hosts_per_region": 1}, 1)
    inline = {"kind": "inline", **to_description(graph)}
    plan_of({"burst_loss": "0.1/0.5"}, topology=inline)
    for path in inline["paths"]:
        path["loss"] = 0.01
    with pytest.raises(InputError, match=r"also has loss 0\.01"):
        plan_of({"burst_loss": "0.1/0.5"}, topology=inline)


def test_a_burst_names_its_link_whatever_path_it_is_on() -> None:
    links = [{"link": ["h1", "s1"], "one_way": True, "burst_loss": "0.1/0.5"}]
    plan = plan_of({}, backend="nfqueue", topology={"kind": "star", "nodes": 3}, links=links)
    effects = Paths(plan).effects({ends: direction.wire for ends, direction in plan.directions.items()})
    first = plan.host("h1").address
    (burst,) = effects["h2"][first].bursts
    assert effects["h3"][first].bursts == (burst,)
    assert burst[1:] == (0.1, 0.5, 1.0, 0.0)
    assert effects["h2"][plan.host("h3").address].bursts == ()
    assert {one.host: one.lossy for one in host_paths(plan, Paths(plan))} == {
        "h1": False,
        "h2": True,
        "h3": True,
    }
