"""What every algorithm must do, tried on each one that is discovered, so a new file is tested at once.

An algorithm whose required settings have no default, or that needs another overlay, will say so here first.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from node_agent.algorithms import (
    Algorithm,
    AlgorithmSettings,
    algorithm_class,
    algorithm_names,
    create_algorithm,
)
from node_agent.wire import VALUE_BYTES, fragment_size
from tests.fakes import FakeNetwork, make_algorithms, make_context

NUM_NODES = 9
NUM_PARAMETERS = 203
ROUND_S = 1.0

every_algorithm = pytest.mark.parametrize("name", algorithm_names())


def drift(node: int, _round: int, values: NDArray[np.float32]) -> None:
    values += np.float32(0.01 * (node + 1))


def run(name: str, until_s: float = 6.5, dead: dict[int, float] | None = None) -> FakeNetwork:
    """Nodes of unequal speed with the algorithm's default settings; `dead`: node -> time of its death."""
    network = FakeNetwork(
        make_algorithms({"name": name}, NUM_NODES, NUM_PARAMETERS),
        num_parameters=NUM_PARAMETERS,
        frame_s={0: 0.02},
    )
    for node in range(NUM_NODES):
        network.start(node, np.full(NUM_PARAMETERS, node, np.float32), ROUND_S + 0.07 * node, drift)
    for node, time_s in (dead or {}).items():
        network.run_until(time_s)
        network.kill(node)
    network.run_until(until_s)
    return network


@every_algorithm
def test_module_class_and_every_setting_are_documented(name: str) -> None:
    algorithm = algorithm_class(name)
    assert sys.modules[algorithm.__module__].__doc__
    assert algorithm.__doc__
    # pydantic reads a field's docstring in the class that declares it.
    for settings in (algorithm.Settings, *algorithm.Settings.__mro__[1:]):
        if not issubclass(settings, AlgorithmSettings):
            continue
        schema = pydantic.TypeAdapter(settings).json_schema()["properties"]
        declared = set(vars(settings).get("__annotations__", {})) & set(schema)
        assert [field for field in declared if not schema[field].get("description")] == []


@every_algorithm
def test_settings_are_frozen_keyword_only_and_refuse_unknown_keys(name: str) -> None:
    settings = algorithm_class(name).Settings
    fields = dataclasses.fields(settings)
    assert all(field.kw_only for field in fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings(name=name).name = "other"  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError, match="no_such_setting"):
        pydantic.TypeAdapter(settings).validate_python({"name": name, "no_such_setting": 1})


@every_algorithm
def test_every_setting_but_the_name_has_a_default(name: str) -> None:
    checked = pydantic.TypeAdapter(algorithm_class(name).Settings).validate_python({"name": name})
    assert dataclasses.asdict(checked).keys() >= {"name", "stale"}
    assert algorithm_class(name).check_settings(checked, NUM_NODES - 1) is None


@every_algorithm
def test_the_same_seed_gives_the_same_result(name: str) -> None:
    first, second = run(name), run(name)
    for index, node in first.nodes.items():
        assert node.values.tobytes() == second.nodes[index].values.tobytes()
        assert [outbox.sends for outbox in node.outboxes] == [
            outbox.sends for outbox in second.nodes[index].outboxes
        ]


@every_algorithm
def test_rounds_go_on_when_peers_die(name: str) -> None:
    network = run(name, until_s=20.5, dead={3: 2.3, 4: 2.4, 8: 4.1})
    for index, node in network.nodes.items():
        if node.alive:
            assert node.round >= 8, f"node {index} stopped in round {node.round}"


@every_algorithm
def test_a_node_alone_goes_on(name: str) -> None:
    network = run(name, until_s=20.5, dead={node: 1.0 + 0.1 * node for node in range(1, NUM_NODES)})
    assert network.nodes[0].round >= 15


@every_algorithm
def test_outboxes_go_to_peers_and_hold_what_the_layout_says(name: str) -> None:
    for index, node in run(name).nodes.items():
        algorithm = node.algorithm
        assert node.outboxes
        for outbox in node.outboxes:
            assert {send.peer for send in outbox.sends} <= set(range(NUM_NODES)) - {index}
            assert all(0 <= send.fragment < len(outbox.payloads) for send in outbox.sends)
            assert (outbox.num_fragments, outbox.permutation_seed) == (
                algorithm.num_fragments,
                algorithm.permutation_seed,
            )
            if outbox.sends:
                assert [payload.nbytes for payload in outbox.payloads] == [
                    VALUE_BYTES * fragment_size(NUM_PARAMETERS, outbox.num_fragments, fragment)
                    for fragment in range(outbox.num_fragments)
                ]
            assert all(payload.readonly for payload in outbox.payloads)


@every_algorithm
def test_only_overlay_neighbours_are_addressed(name: str) -> None:
    context = dataclasses.replace(make_context(0, NUM_NODES, NUM_PARAMETERS), peers=(2, 3, 5, 6, 7, 8))
    algorithm: Algorithm = create_algorithm({"name": name}, context)
    for round in range(10):
        sends = algorithm.after_local_phase(round, np.zeros(NUM_PARAMETERS, np.float32)).sends
        assert {send.peer for send in sends} <= set(context.peers)


@every_algorithm
def test_payloads_stay_as_they_were_while_training_goes_on(name: str) -> None:
    algorithm = create_algorithm({"name": name}, make_context(0, NUM_NODES, NUM_PARAMETERS))
    values = np.arange(NUM_PARAMETERS, dtype=np.float32)
    outbox = algorithm.after_local_phase(0, values)
    before = [bytes(payload) for payload in outbox.payloads]
    values += 1
    assert [bytes(payload) for payload in outbox.payloads] == before


@every_algorithm
def test_averages_stay_between_the_models_they_are_of(name: str) -> None:
    """Equal models stay equal, and no average leaves the range of what went into it."""
    network = FakeNetwork(
        make_algorithms({"name": name}, NUM_NODES, NUM_PARAMETERS), num_parameters=NUM_PARAMETERS
    )
    for node in range(NUM_NODES):
        network.start(node, np.full(NUM_PARAMETERS, 0.1 * node, np.float32), ROUND_S + 0.07 * node)
    network.run_until(12)
    for entry in network.nodes.values():
        assert float(entry.values.min()) >= -1e-6
        assert float(entry.values.max()) <= 0.1 * (NUM_NODES - 1) + 1e-6
