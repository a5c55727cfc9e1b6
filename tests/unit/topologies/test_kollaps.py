"""Kollaps XML: files like those published with the DivShare artifact, read and written again."""

from __future__ import annotations

from pathlib import Path

import pytest

import topologies
from topologies import files, rules

# The artifact's star, with fewer replicas: one service of fast workers, and individual slow ones.
STAR = """<?xml version="1.0" ?>
<experiment boot="kollaps:2.0">
  <services>
    <service name="dashboard" image="kollaps/dashboard:1.0" supervisor="true" port="8088"/>
    <service name="fastWorker" image="kollaps/dp:1.0" replicas="3" share="false"/>
    <service name="slowWorker0" image="kollaps/dp:1.0" replicas="1" share="false"/>
  </services>
  <bridges><bridge name="switch"/></bridges>
  <links>
    <link origin="fastWorker" dest="switch" latency="1" upload="60Mbps" download="60Mbps" drop="0" network="n"/>
    <link origin="slowWorker0" dest="switch" latency="1.5" upload="12Mbps" download="30Mbps" drop="0.01" network="n"/>
  </links>
  <dynamic><schedule name="fastWorker" time="3.0" action="crash"/></dynamic>
</experiment>
"""
# The artifact's regions: services linked to each other, no bridge.
PAIRS = """<experiment boot="kollaps:2.0">
  <services>
    <service name="capetown" image="kollaps/dp:1.0" replicas="2" share="false"/>
    <service name="tokyo" image="kollaps/dp:1.0" replicas="2" share="false"/>
    <service name="ohio" image="kollaps/dp:1.0" replicas="2" share="false"/>
  </services>
  <links>
    <link origin="capetown" dest="tokyo" latency="1" upload="26Mbps" download="26Mbps" drop="0" network="n"/>
    <link origin="capetown" dest="ohio" latency="1" upload="44Mbps" download="44Mbps" drop="0" network="n"/>
    <link origin="tokyo" dest="ohio" latency="1" upload="86Mbps" download="86Mbps" drop="0" network="n"/>
  </links>
</experiment>
"""


def put(folder: Path, text: str, name: str = "topology.xml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_services_with_replicas_on_a_bridge(tmp_path: Path) -> None:
    graph = files.load(put(tmp_path, STAR))
    labels = {graph.nodes[host]["label"]: host for host in rules.hosts(graph)}
    # "fastWorker-1-eth0" is longer than Linux allows.
    assert list(labels) == ["fastWorker-1", "fastWorker-2", "fastWorker-3", "slowWorker0"]
    assert graph.edges[labels["fastWorker-2"], "switch"] == {"bandwidth_bps": 60e6, "delay_s": 0.001}
    slow = labels["slowWorker0"]
    assert graph.edges[slow, "switch"]["towards"] == {
        "switch": {"bandwidth_bps": 12e6, "delay_s": 0.0015, "loss": 0.01},
        slow: {"bandwidth_bps": 30e6, "delay_s": 0.0015, "loss": 0.01},
    }
    notes = " | ".join(graph.graph["notes"])
    assert "dashboard is Kollaps's own" in notes
    assert "<dynamic>: 1 events were left out" in notes


def test_services_linked_to_each_other_become_paths(tmp_path: Path) -> None:
    graph = files.load(put(tmp_path, PAIRS))
    assert len(rules.hosts(graph)) == 6
    assert rules.switches(graph) == ["s1"]
    assert {graph.nodes[host]["region"] for host in rules.hosts(graph)} == {"capetown", "tokyo", "ohio"}
    between = {tuple(path["between"]): path for path in graph.graph["paths"]}
    assert between["tokyo", "ohio"] == {"between": ["tokyo", "ohio"], "bandwidth_bps": 86e6, "delay_s": 0.001}
    assert {data["bandwidth_bps"] for _, _, data in graph.edges(data=True)} == {10e9}


@pytest.mark.parametrize("text", [STAR.replace("fastWorker", "fast").replace("slowWorker0", "slow"), PAIRS])
def test_a_topology_survives_writing_and_reading(tmp_path: Path, text: str) -> None:
    graph = files.load(put(tmp_path, text))
    files.save(graph, tmp_path / "again.xml")
    again = files.load(tmp_path / "again.xml")
    assert sorted(again.nodes) == sorted(graph.nodes)
    for a, b, data in graph.edges(data=True):
        assert again.edges[a, b] == data
    assert again.graph.get("paths") == graph.graph.get("paths")
    assert {node: data.get("region") for node, data in again.nodes(data=True)} == {
        node: data.get("region") for node, data in graph.nodes(data=True)
    }


def test_two_one_way_links_are_one_link(tmp_path: Path) -> None:
    text = STAR.replace(' upload="12Mbps" download="30Mbps"', ' upload="12Mbps"').replace(
        "</links>",
        '<link origin="switch" dest="slowWorker0" latency="2" upload="20Mbps" network="n"/></links>',
    )
    graph = files.load(put(tmp_path, text))
    (slow,) = [host for host in rules.hosts(graph) if graph.nodes[host]["label"] == "slowWorker0"]
    assert graph.edges[slow, "switch"]["towards"][slow] == {"bandwidth_bps": 20e6, "delay_s": 0.002}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('upload="60Mbps"', 'upload="60"', "upload='60'; write for example 60Mbps"),
        (' upload="60Mbps" download="60Mbps"', "", "neither upload nor download"),
        ('download="60Mbps" ', "", "goes one way only"),
        ('dest="switch"', 'dest="router"', "no service or bridge 'router'"),
        ('latency="1"', 'latency="fast"', "latency='fast' is not a number"),
        ('replicas="3"', 'replicas="-1"', "replicas='-1'"),
        ('replicas="3"', 'replicas="99999999"', "it must be 1 to 65000"),
        ("slowWorker0", "fastWorker", "fastWorker is given twice"),
        ('dest="switch" latency="1"', 'dest="slowWorker0" latency="1"', "a file must not mix the two"),
        ('<service name="fastWorker"', "<service", "a <service> has no name"),
    ],
)
def test_errors_are_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        files.load(put(tmp_path, STAR.replace(old, new)))
    assert words in str(error.value)


def test_what_kollaps_cannot_express_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.xml"
    with pytest.raises(ValueError, match="has no bandwidth"):
        files.save(topologies.generate("star", {}, 1), path)
    with pytest.raises(ValueError, match="Kollaps has no access links beside"):
        files.save(topologies.generate("regions", {"hosts_per_region": 1}, 1), path)
    with pytest.raises(ValueError, match="paths_shared"):
        files.save(topologies.generate("regions", {"hosts_per_region": 1, "shared": True}, 1), path)
    with pytest.raises(ValueError, match="Kollaps limits pairs"):
        files.save(topologies.generate("pairwise", {}, 1), path)
    graph = topologies.generate("star", {"nodes": 2}, 1)
    graph.edges["h1", "s1"]["towards"] = {
        "s1": {"bandwidth_bps": 1e6, "delay_s": 0.001},
        "h1": {"bandwidth_bps": 1e6, "delay_s": 0.002},
    }
    with pytest.raises(ValueError, match="delay_s differs between its directions"):
        files.save(graph, path)
    for kind, parameters in (("star", {"nodes": 2}), ("regions", {"hosts_per_region": 1})):
        graph = topologies.generate(kind, parameters, 1)
        for _, _, data in graph.edges(data=True):
            data.update(bandwidth_bps=10e9, delay_s=0.0, burst_loss="0.01/0.25")
        with pytest.raises(ValueError, match="loses packets in bursts"):
            files.save(graph, path)
    assert not path.exists()
