"""The settings themselves: defaults, limits, spellings of names, and that every key is documented."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mnbed.experiment import schema
from mnbed.experiment import sections as module
from mnbed.experiment.fields import Section, name_problem
from mnbed.experiment.loading import dump_experiment
from mnbed.experiment.sections import Experiment, keys_of_kind, parse, resolved
from mnbed.experiment.yaml_source import parse_yaml
from node_agent.algorithms import algorithm_class, algorithm_names
from node_agent.tasks import task_class, task_names


def test_an_empty_file_is_a_whole_experiment() -> None:
    experiment = parse({})
    assert experiment == Experiment()
    assert experiment.network.topology == {"kind": "star", "nodes": 8}
    assert experiment.network.link.bandwidth == 60e6
    assert experiment.algorithm.name == "divshare"
    assert experiment.task.name == "digits"


def test_quantities_become_plain_numbers() -> None:
    experiment = parse(
        {"network": {"link": {"bandwidth": "10mbit", "delay": "0.3ms"}}, "time": {"duration": "2min"}}
    )
    assert experiment.network.link.bandwidth == 10e6
    assert experiment.network.link.delay == 0.0003
    assert experiment.time.duration == 120


@pytest.mark.parametrize(
    ("sections", "location"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"network": {"link": {"loss": 1.5}}}, "loss"),
        ({"network": {"link": {"loss": "1%"}}}, "loss"),
        ({"network": {"link": {"bandwidth": "0mbit"}}}, "bandwidth"),
        ({"network": {"link": {"queue": 0}}}, "queue"),
        ({"network": {"stragglers": {"factor": 0.5}}}, "factor"),
        ({"network": {"stragglers": {"factor": float("inf")}}}, "factor"),
        ({"network": {"stragglers": {"spread": 1}}}, "spread"),
        ({"network": {"stragglers": {"count": True}}}, "count"),
        ({"network": {"switch": "hub"}}, "switch"),
        ({"overlay": {"kind": "ring", "degree": 2}}, "overlay"),
        ({"overlay": {"kind": "random_regular"}}, "overlay"),
        ({"compute": {"step_time": 0}}, "step_time"),
        ({"time": {"dilation": 0.001}}, "dilation"),
        ({"time": {"dilation": "often"}}, "dilation"),
        ({"time": {"dilation": True}}, "dilation"),
        ({"evaluate": {"targets": [0.5, 80]}}, "targets"),
        ({"agents": {"port": 80}}, "port"),
        ({"agents": {"launch": "fork"}}, "launch"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_its_key(sections: dict[str, Any], location: str) -> None:
    with pytest.raises(ValidationError) as error:
        parse(sections)
    assert [location in detail["loc"] for detail in error.value.errors()] == [True]


def test_names_may_have_hyphens_or_underscores() -> None:
    experiment = parse(
        {
            "network": {"topology": {"kind": "random-regular", "nodes": 4}},
            "overlay": {"kind": "random-regular", "degree": 3},
            "task": {"name": "image-folder", "path": "x"},
        }
    )
    assert experiment.network.topology["kind"] == "random_regular"
    assert experiment.overlay.kind == "random_regular"
    assert experiment.task.name == "image_folder"


@pytest.mark.parametrize("name", algorithm_names())
def test_an_algorithm_has_one_name_however_it_is_written(name: str) -> None:
    spellings = {name, name.replace("-", "_"), name.upper(), name.title().replace("-", "_"), f" {name} "}
    found = {parse({"algorithm": {"name": spelling}}).algorithm.name for spelling in spellings}
    assert found == {name}
    assert re.fullmatch(r"[a-z0-9-]+", name)


def test_a_wrong_algorithm_lists_the_names_in_canonical_spelling() -> None:
    with pytest.raises(ValidationError, match=r"did you mean ad-psgd\?"):
        parse({"algorithm": {"name": "AD-PSDG"}})


def test_the_topology_gets_its_defaults() -> None:
    assert parse({"network": {"topology": {"kind": "tree", "depth": 3}}}).network.topology == {
        "kind": "tree",
        "depth": 3,
        "fanout": 2,
    }


def test_keys_that_go_with_a_kind() -> None:
    assert keys_of_kind(("overlay", "kind"), "ring", {}) == ["kind"]
    assert keys_of_kind(("network", "topology", "kind"), "tree", {}) == ["kind", "depth", "fanout"]
    assert "degree" in (keys_of_kind(("algorithm", "name"), "divshare", {}) or [])
    assert keys_of_kind(("task", "partition", "kind"), "kshard", {}) == ["kind", "shards"]
    assert keys_of_kind(("time", "duration"), "5s", {}) is None
    with pytest.raises(ValueError, match="unknown task"):
        keys_of_kind(("task", "name"), "nothing", {})


# --- a resolved experiment is the same experiment ---


def quantity(unit: str, most: float) -> st.SearchStrategy[str]:
    return st.floats(min_value=0.001, max_value=most).map(lambda value: f"{value!r}{unit}")


LINES_OF_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and bool(text.strip())
)


def some(**sections: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=sections)


EXPERIMENTS = some(
    name=LINES_OF_TEXT.filter(lambda text: name_problem(text) is None),
    seed=st.integers(0, 2**63 - 1),
    data_root=st.none() | LINES_OF_TEXT,
    network=some(
        topology=st.sampled_from([{"kind": "ring", "nodes": 5}, {"kind": "tree", "depth": 1}]),
        link=some(
            bandwidth=quantity("mbit", 1e4),
            delay=quantity("ms", 1e4) | quantity("us", 1e4),
            loss=st.floats(0, 1),
            queue=st.none() | st.integers(1, 1000),
        ),
        stragglers=some(
            count=st.integers(0, 9), factor=st.floats(1, 1e6), hosts=st.none() | st.just(["h1", "h2"])
        ),
    ),
    overlay=st.sampled_from([{"kind": "ring"}, {"kind": "random_regular", "degree": 3}]),
    algorithm=st.sampled_from([{"name": "local"}, {"name": "divshare", "fragment_fraction": 1 / 3}]),
    compute=some(step_time=quantity("ms", 1e5), slow_nodes=some(factor=st.floats(1, 50))),
    time=some(duration=quantity("h", 5) | quantity("min", 100), dilation=st.floats(0.01, 100)),
    evaluate=some(
        targets=st.lists(st.floats(0, 1, exclude_min=True), max_size=3),
        samples=st.none() | st.integers(1, 9999),
    ),
    agents=some(ledger=st.none() | st.booleans()),
)


@settings(deadline=None, max_examples=60)
@given(EXPERIMENTS)
def test_a_dumped_experiment_loads_as_the_same(sections: dict[str, Any]) -> None:
    experiment = parse(sections)
    text = dump_experiment(experiment)
    assert parse(parse_yaml(text, "dumped.yaml").data) == experiment


def test_a_dump_writes_every_default_with_its_unit() -> None:
    text = dump_experiment(Experiment())
    for expected in (
        "bandwidth: 60mbit",
        "delay: 1ms",
        "step_time: 20ms",
        "duration: 60s",
        "dilation: auto",
        "seed: 1",
    ):
        assert expected in text


def test_every_key_is_in_the_resolved_experiment() -> None:
    plain = resolved(Experiment())
    assert set(plain) == {item.name for item in dataclasses.fields(Experiment)}
    assert set(plain["task"]) == {item.name for item in dataclasses.fields(task_class("digits").Settings)}


# --- every key explains itself ---


def sections() -> Iterator[type]:
    yield from (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Section) and value is not Section
    )


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_sections_are_frozen_and_documented(section: type) -> None:
    assert section.__doc__
    assert section.__dataclass_params__.frozen  # type: ignore[attr-defined]
    documented = schema.docstrings(section)
    for item in dataclasses.fields(section):
        assert item.kw_only
        # A field that is a section is explained by that section's own docstring.
        if not str(item.type).endswith("Settings"):
            assert item.name in documented, f"{section.__name__}.{item.name} has no docstring"


PLUGINS = [algorithm_class(name) for name in algorithm_names()] + [task_class(name) for name in task_names()]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.__name__)
def test_settings_of_algorithms_and_tasks_are_documented(plugin: Any) -> None:
    documented = schema.docstrings(plugin.Settings)
    missing = [item.name for item in dataclasses.fields(plugin.Settings) if item.name not in documented]
    assert missing == []


def test_the_schema_names_every_key_and_choice() -> None:
    text = schema.text()
    for expected in (
        "bandwidth:",
        "time, e.g. 20ms; default 20ms",
        "kind: random_regular",
        "name: divshare",
        "fanout:",
    ):
        assert expected in text
    for name in [*algorithm_names(), *task_names()]:
        assert f"  name: {name}\n" in text
