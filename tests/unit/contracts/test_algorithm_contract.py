"""What every algorithm must do, tested on each one that is discovered, so that a new file is tested at once.

An algorithm whose settings have no defaults, or that needs another overlay, fails here first.
"""

from __future__ import annotations

import dataclasses
import random
import sys

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
# Where only time matters: as many as DivShare has fragments.
FEW = 10
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
    for own in (algorithm.Settings, *algorithm.Settings.__mro__[1:]):
        if not issubclass(own, AlgorithmSettings):
            continue
        schema = pydantic.TypeAdapter(own).json_schema()["properties"]
        declared = set(vars(own).get("__annotations__", {})) & set(schema)
        assert [field for field in declared if not schema[field].get("description")] == []


@every_algorithm
def test_settings_are_frozen_keyword_only_and_refuse_unknown_keys(name: str) -> None:
    own = algorithm_class(name).Settings
    fields = dataclasses.fields(own)
    assert all(field.kw_only for field in fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        own(name=name).name = "other"  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError, match="no_such_setting"):
        pydantic.TypeAdapter(own).validate_python({"name": name, "no_such_setting": 1})


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
def test_a_lone_node_keeps_training(name: str) -> None:
    network = run(name, until_s=20.5, dead={node: 1.0 + 0.1 * node for node in range(1, NUM_NODES)})
    assert network.nodes[0].round >= 15


@dataclasses.dataclass(frozen=True)
class Weather:
    """A network's misbehaviour: everything follows from one seed."""

    seed: int
    num_nodes: int
    frame_s: float
    """How long a node takes to send a frame, at most."""
    delay_s: float
    """How long a frame is on its way, at most; drawn for each frame, so that frames overtake each other."""
    round_s: float
    """By how much a round may take longer than 1 s."""
    restart: str = "on"
    """How a restarted node counts its rounds: it continues, starts at 0 again, or skips some."""

    def network(self, name: str) -> tuple[FakeNetwork, random.Random]:
        draw = random.Random(self.seed)
        network = FakeNetwork(
            make_algorithms({"name": name}, self.num_nodes, FEW),
            num_parameters=FEW,
            frame_s={node: draw.random() ** 3 * self.frame_s for node in range(self.num_nodes)},
            delay_s=lambda _sender, _peer: 0.001 + draw.random() ** 3 * self.delay_s,
        )
        for node in range(self.num_nodes):
            self.start(network, node, draw)
        return network, draw

    def start(self, network: FakeNetwork, node: int, draw: random.Random) -> None:
        network.start(node, np.full(FEW, node, np.float32), 1.0 + draw.random() * self.round_s)

    def revive(self, network: FakeNetwork, name: str, node: int, draw: random.Random) -> None:
        rounds = {"on": network.nodes[node].round, "anew": 0, "skip": network.nodes[node].round + 7}
        context = make_context(node, self.num_nodes, FEW, restarted=True)
        network.revive(node, create_algorithm({"name": name}, context), rounds[self.restart])
        self.start(network, node, draw)

    def assert_goes_on(self, network: FakeNetwork, rounds: int = 5) -> None:
        """Every live node does more rounds, however slow the slowest round of the network is."""
        wanted = {index: len(node.aggregated) + rounds for index, node in network.nodes.items() if node.alive}
        # A frame waits for all that its sender has to send; a round for the slowest of its frames.
        frames = 4 * self.num_nodes
        round_s = 1.0 + self.round_s + 2 * self.delay_s + frames * self.frame_s
        patience_s = network.now_s + 4 * rounds * round_s
        while behind := [
            index for index, number in wanted.items() if len(network.nodes[index].aggregated) < number
        ]:
            waits = {index: list(network.nodes[index].algorithm.waits_for()) for index in behind}
            assert network.now_s < patience_s, f"these nodes stand still, and wait for: {waits}"
            network.run_until(network.now_s + round_s)


weathers = st.builds(
    Weather,
    seed=st.integers(0, 2**32),
    num_nodes=st.integers(7, 16),
    frame_s=st.sampled_from([0.0, 0.05, 0.3]),
    delay_s=st.sampled_from([0.0, 0.5, 5.0]),
    round_s=st.sampled_from([0.0, 0.3, 4.0]),
    restart=st.sampled_from(["on", "anew", "skip"]),
)


@every_algorithm
@settings(max_examples=8, deadline=None)
@given(weather=weathers)
def test_rounds_go_on_while_all_peers_live(name: str, weather: Weather) -> None:
    network, _ = weather.network(name)
    network.run_until(30.0)
    weather.assert_goes_on(network)


@every_algorithm
@settings(max_examples=16, deadline=None)
@given(weather=weathers, trouble=st.lists(st.sampled_from(["kill", "revive", "break"]), max_size=14))
def test_rounds_go_on_whoever_dies_comes_back_or_loses_a_connection(
    name: str, weather: Weather, trouble: list[str]
) -> None:
    network, draw = weather.network(name)
    for event in trouble:
        network.run_until(network.now_s + draw.choice([0.01, 0.4, 2.0, 11.0]) * draw.random())
        first, second = draw.sample(range(weather.num_nodes), 2)
        dead = [index for index, node in network.nodes.items() if not node.alive]
        if event == "break":
            network.break_connections(first, second)
        elif event == "kill" and network.nodes[first].alive:
            network.kill(first)
        elif event == "revive" and dead:
            weather.revive(network, name, draw.choice(dead), draw)
    weather.assert_goes_on(network)


@every_algorithm
def test_sixty_nodes_of_unequal_speed_go_on(name: str) -> None:
    weather = Weather(seed=1, num_nodes=60, frame_s=0.02, delay_s=0.2, round_s=0.5)
    network, _ = weather.network(name)
    network.run_until(10.0)
    weather.assert_goes_on(network)


@every_algorithm
def test_an_algorithm_that_waits_says_for_whom(name: str) -> None:
    algorithm = create_algorithm({"name": name}, make_context(0, NUM_NODES, NUM_PARAMETERS))
    assert list(algorithm.waits_for()) == []
    for round in range(3):
        algorithm.after_local_phase(round, np.zeros(NUM_PARAMETERS, np.float32))
        assert set(algorithm.waits_for()) <= set(range(1, NUM_NODES))
        assert algorithm.may_start_round() == (not algorithm.waits_for())
    for peer in range(1, NUM_NODES):
        algorithm.peer_lost(peer)
    assert algorithm.may_start_round()


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
    addressed: set[int] = set()
    for round in range(10):
        sends = algorithm.after_local_phase(round, np.zeros(NUM_PARAMETERS, np.float32)).sends
        addressed |= {send.peer for send in sends}
        for peer in addressed:
            algorithm.peer_lost(peer)  # no answer comes, and the next exchange may begin
    assert addressed <= set(context.peers)
    models, _ = algorithm_class(name).planned_sends(algorithm.settings, len(context.peers))
    assert bool(addressed) == (models > 0), "what is planned is not what is sent"


@every_algorithm
def test_payloads_stay_as_they_were_while_training_goes_on(name: str) -> None:
    algorithm = create_algorithm({"name": name}, make_context(0, NUM_NODES, NUM_PARAMETERS))
    values = np.arange(NUM_PARAMETERS, dtype=np.float32)
    outbox = algorithm.after_local_phase(0, values)
    before = [bytes(payload) for payload in outbox.payloads]
    values += 1
    assert [bytes(payload) for payload in outbox.payloads] == before


@every_algorithm
def test_averages_stay_between_their_models(name: str) -> None:
    """No average leaves the range of what went into it, and averaging brings models closer together."""
    network = FakeNetwork(
        make_algorithms({"name": name}, NUM_NODES, NUM_PARAMETERS), num_parameters=NUM_PARAMETERS
    )
    for node in range(NUM_NODES):
        network.start(node, np.full(NUM_PARAMETERS, 0.1 * node, np.float32), ROUND_S + 0.07 * node)
    network.run_until(12)
    for entry in network.nodes.values():
        assert float(entry.values.min()) >= -1e-6
        assert float(entry.values.max()) <= 0.1 * (NUM_NODES - 1) + 1e-6
    means = [float(entry.values.mean()) for entry in network.nodes.values()]
    if any(aggregated.of for entry in network.nodes.values() for aggregated in entry.aggregated):
        assert np.ptp(means) < 0.5 * 0.1 * (NUM_NODES - 1)


@every_algorithm
def test_equal_models_stay_equal(name: str) -> None:
    network = FakeNetwork(
        make_algorithms({"name": name}, NUM_NODES, NUM_PARAMETERS), num_parameters=NUM_PARAMETERS
    )
    for node in range(NUM_NODES):
        network.start(node, np.full(NUM_PARAMETERS, 0.7, np.float32), ROUND_S + 0.07 * node)
    network.run_until(12)
    for entry in network.nodes.values():
        assert entry.values == pytest.approx(np.full(NUM_PARAMETERS, 0.7), abs=1e-5)
