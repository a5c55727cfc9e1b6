"""Named random streams do not shift each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from node_agent.settings import AgentSettings, PeerSettings
from node_agent.streams import stream, stream_seed
from node_agent.tasks import create_task
from node_agent.training import FlatModel


def test_a_stream_depends_on_its_names_only() -> None:
    expected = stream(1, "peers", 3).integers(0, 2**60, 5).tolist()
    stream(1, "peers", 2).random(100)
    assert stream(1, "peers", 3).integers(0, 2**60, 5).tolist() == expected


def test_other_names_and_seeds_give_other_streams() -> None:
    names: list[tuple[str | int, ...]] = [
        ("peers", 3),
        ("peers", 4),
        ("batches", 3),
        ("peers", "3"),
        ("peers3",),
        ("peers", 3, 0),
    ]
    seeds = {stream_seed(seed, *name) for name in names for seed in (1, 2)}
    assert len(seeds) == 2 * len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_settings_survive_the_trip_to_an_agent() -> None:
    peers = (PeerSettings(name="h2", index=1, address="10.0.0.2", port=9000),)
    settings = AgentSettings(
        name="h1",
        index=0,
        num_nodes=2,
        address="10.0.0.1",
        port=9000,
        peers=peers,
        token="00",
        run_directory="/r",
        control_socket="/s",
        seed=1,
        dilation=2.0,
        duration_s=3.0,
        step_time_s=0.1,
        snapshot_every_s=1.0,
        snapshot_model="current",
        algorithm={"name": "local"},
        task={"name": "digits"},
        data_root="/d",
        ledger=True,
    )
    again = AgentSettings.from_json(settings.to_json())
    assert again == settings
    assert asdict(again)["peers"][0]["port"] == 9000


# --- everything random has a name ---

ROOT = Path(__file__).parents[3]
# Sources of randomness, and the files that may use them. A run's tokens and marks must differ from run to run.
ALLOWED = {
    "default_rng": {"node_agent/streams.py"},
    # Seeded from a named stream: shared cuts of models, initial parameters, graphs.
    "PCG64": {"node_agent/fragments.py"},
    "manual_seed": {"node_agent/models.py"},
    "create_random_state": {"topologies/regular.py"},
    "token_hex": {"mnbed/run/agents.py", "mnbed/network/mark.py"},
    # One generator for each host's packets: NumPy's takes ten times as long for a single number.
    "import random": {"mnbed/network/nfqueue/delay_queue.py", "mnbed/network/nfqueue/delay_spread.py"},
}
# Global generators, whose state anybody may have changed.
FORBIDDEN = {"rand", "randn", "randint", "randperm", "shuffle", "uniform_", "normal_", "uuid4", "urandom"}
FORBIDDEN |= {"import uuid"}


def _uses(path: Path) -> Iterator[str]:
    """Names of attributes that the file uses, and modules it imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"import {node.module}"


def test_randomness_comes_from_named_streams_alone() -> None:
    wrong = []
    for package in ("mnbed", "node_agent", "topologies"):
        for path in (ROOT / package).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            for use in _uses(path):
                if use in FORBIDDEN or place not in ALLOWED.get(use, {place}):
                    wrong.append(f"{place}: {use}")
    assert wrong == []


def test_a_nodes_streams_do_not_depend_on_the_number_of_nodes() -> None:
    def parts(num_nodes: int) -> tuple[bytes, ...]:
        task = create_task({"name": "digits", "model": "mlp", "partition": {"kind": "iid"}}, Path("/d"), 1)
        task.load()
        task.partition(num_nodes)
        batches = stream(task.seed, "batches", 2).permutation(100)
        return FlatModel(task.make_model()).values.tobytes(), batches.tobytes()

    assert parts(5) == parts(6)
