"""Named random streams do not shift each other."""

from __future__ import annotations

from dataclasses import asdict

from node_agent.settings import AgentSettings, PeerSettings
from node_agent.streams import stream, stream_seed


def test_a_stream_depends_on_its_names_only() -> None:
    expected = stream(1, "peers", 3).integers(0, 2**60, 5).tolist()
    stream(1, "peers", 2).random(100)
    assert stream(1, "peers", 3).integers(0, 2**60, 5).tolist() == expected


def test_other_names_and_seeds_give_other_streams() -> None:
    names = [("peers", 3), ("peers", 4), ("batches", 3), ("peers", "3"), ("peers3",), ("peers", 3, 0)]
    seeds = {stream_seed(seed, *name) for name in names for seed in (1, 2)}
    assert len(seeds) == 2 * len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_settings_survive_the_way_to_an_agent() -> None:
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
