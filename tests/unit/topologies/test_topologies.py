"""Finding generators and checking their parameters."""

from __future__ import annotations

import pytest

import topologies
from topologies import ParameterError


def test_names() -> None:
    assert {"star", "ring", "tree", "random_regular"} <= set(topologies.names())


def test_parameters_come_from_signature_and_docstring() -> None:
    parameters = topologies.parameters("tree")
    assert list(parameters) == ["depth", "fanout"]
    assert (parameters["depth"].type, parameters["depth"].default) == (int, 2)
    assert parameters["fanout"].help == "children of each switch"


def test_the_seed_is_not_a_parameter() -> None:
    assert list(topologies.parameters("random_regular")) == ["nodes", "degree"]


def test_hyphens_are_underscores() -> None:
    assert topologies.canonical("random-regular") == "random_regular"


def test_an_unknown_generator_gets_a_suggestion() -> None:
    with pytest.raises(ParameterError, match=r"unknown generator 'strar'; did you mean star\?"):
        topologies.generate("strar", {}, 1)


def test_all_wrong_parameters_are_named_at_once() -> None:
    with pytest.raises(ParameterError) as error:
        topologies.resolve("tree", {"dept": 3, "fanout": "x", "depth": True})
    assert [key for key, _ in error.value.problems] == ["dept", "depth", "fanout"]
    assert "did you mean depth?" in error.value.problems[0][1]
    assert "whole number" in error.value.problems[1][1]
