"""Which nodes exchange models: every kind of overlay, edge files, and impossible ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from mnbed.errors import InputError
from mnbed.experiment.loading import dump_experiment, load_experiment
from mnbed.experiment.sections import parse
from mnbed.plan.draws import overlay_peers

HOSTS = [f"h{number}" for number in range(1, 11)]


def graph(overlay: dict[str, Any], hosts: list[str] = HOSTS, seed: int = 1) -> nx.Graph:
    problems: list[str] = []
    peers = overlay_peers(parse({"overlay": overlay, "seed": seed}), hosts, problems)
    if problems:
        raise ValueError("; ".join(problems))
    found = nx.Graph([(node, peer) for node, row in enumerate(peers) for peer in row])
    assert all(node in peers[peer] for node, row in enumerate(peers) for peer in row)
    return found


def test_a_small_world_follows_the_seed() -> None:
    one, other = (
        graph({"kind": "small_world", "degree": 4, "probability": 0.5}, seed=seed) for seed in (1, 2)
    )
    assert nx.is_connected(one)
    assert one.number_of_edges() == 20
    assert set(one.edges) != set(other.edges)
    still = graph({"kind": "small-world", "degree": 4, "probability": 0})
    assert nx.is_isomorphic(still, nx.circulant_graph(10, [1, 2]))


def test_a_generator_of_networkx() -> None:
    assert nx.is_isomorphic(graph({"kind": "networkx", "graph": "petersen_graph"}), nx.petersen_graph())
    ladder = {"kind": "networkx", "graph": "circular_ladder_graph", "args": {"n": 5}}
    assert nx.is_isomorphic(graph(ladder), nx.circular_ladder_graph(5))


def test_edges() -> None:
    edges = [["h1", name] for name in HOSTS[1:]]
    assert nx.is_isomorphic(graph({"kind": "edges", "edges": edges}), nx.star_graph(9))


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"kind": "small_world", "degree": 3}, "overlay.degree: neighbours=3; it must be even"),
        ({"kind": "networkx", "graph": "cubical_graph"}, "has 8 nodes with these args; there are 10 hosts"),
        ({"kind": "networkx", "graph": "nonsense"}, "overlay.graph: graph=nonsense"),
        ({"kind": "edges", "edges": [["h1", "h11"]]}, "overlay.edges: no host 'h11'"),
        ({"kind": "edges", "edges": [["h1", "h1"]]}, "h1 cannot be its own neighbour"),
        ({"kind": "edges", "edges": [["h1", "h2"]]}, "h3, h4, h5, h6, h7: no edge connects them to others"),
    ],
)
def test_impossible_overlays(overlay: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:
        graph(overlay)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("{kind: ring, degree: 2}", "kind ring takes no degree"),
        ("{kind: small_world}", "kind small_world needs a degree"),
        ("{kind: edges}", "kind edges needs edges"),
        ("{kind: networkx}", "kind networkx needs a graph"),
        ("{kind: edges, edges: none.txt}", "cannot be read"),
    ],
)
def test_what_a_kind_takes(tmp_path: Path, overlay: str, words: str) -> None:
    (tmp_path / "x.yaml").write_text(f"overlay: {overlay}\n")
    with pytest.raises(InputError) as error:
        load_experiment(tmp_path / "x.yaml")
    assert words in str(error.value)


def test_a_file_of_edges_becomes_part_of_the_experiment(tmp_path: Path) -> None:
    """As decentralizepy writes them: the number of nodes, then each edge both ways, from 0."""
    (tmp_path / "ring.edges").write_text("4\n0 1\n1 0\n1 2\n2 1\n2 3\n3 2\n3 0\n0 3\n")
    (tmp_path / "x.yaml").write_text("overlay: {kind: edges, edges: ring.edges}\n")
    experiment = load_experiment(tmp_path / "x.yaml")
    assert experiment.overlay.edges == (("h1", "h2"), ("h2", "h3"), ("h3", "h4"), ("h4", "h1"))
    (tmp_path / "y.yaml").write_text(dump_experiment(experiment))
    assert load_experiment(tmp_path / "y.yaml") == experiment


def test_wrong_lines_of_a_file_of_edges_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.edges").write_text("h1 h2\nh2 h3 5\n")
    (tmp_path / "x.yaml").write_text("overlay: {kind: edges, edges: bad.edges}\n")
    with pytest.raises(InputError, match=r"bad\.edges: line 2: expected a pair of hosts"):
        load_experiment(tmp_path / "x.yaml")
