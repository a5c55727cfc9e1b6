"""Graphs in files: what other programs publish is read, errors are reported, what is written is read back unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topologies
from topologies import files, rules

# As the Topology Zoo publishes them: numbered nodes, keys in odd order, some without coordinates, one without a name,
# link speeds in three spellings or not at all.
ZOO = """<?xml version="1.0" encoding="utf-8"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns \
http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d38" />
  <key attr.name="LinkSpeedUnits" attr.type="string" for="edge" id="d36" />
  <key attr.name="LinkSpeed" attr.type="string" for="edge" id="d35" />
  <key attr.name="LinkLabel" attr.type="string" for="edge" id="d34" />
  <key attr.name="label" attr.type="string" for="node" id="d33" />
  <key attr.name="Longitude" attr.type="double" for="node" id="d32" />
  <key attr.name="Internal" attr.type="int" for="node" id="d31" />
  <key attr.name="type" attr.type="string" for="node" id="d30" />
  <key attr.name="Latitude" attr.type="double" for="node" id="d29" />
  <key attr.name="DateObtained" attr.type="string" for="graph" id="d5" />
  <graph edgedefault="undirected">
    <data key="d5">22/10/10</data>
    <node id="0"><data key="d29">52.37403</data><data key="d31">1</data><data key="d32">4.88969</data>
      <data key="d33">Amsterdam</data></node>
    <node id="1"><data key="d29">51.50853</data><data key="d32">-0.12574</data><data key="d33">London</data></node>
    <node id="2"><data key="d33">None</data><data key="d30">Satellite Dish</data></node>
    <node id="3"><data key="d29">48.85341</data><data key="d32">2.3488</data><data key="d33">Paris</data></node>
    <edge source="0" target="1"><data key="d34">10 Gbps</data><data key="d35">10</data><data key="d36">G</data>
      <data key="d38">10000000000.0</data></edge>
    <edge source="1" target="3"><data key="d35">155</data><data key="d36">M</data></edge>
    <edge source="3" target="0"><data key="d34">&lt; 1 Gbps (leased)</data></edge>
    <edge source="2" target="3"><data key="d35">unknown</data></edge>
  </graph>
</graphml>
"""


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_file_of_the_topology_zoo(tmp_path: Path) -> None:
    graph = files.load(put(tmp_path, "Zoo.graphml", ZOO))
    labels = {data["label"]: node for node, data in graph.nodes(data=True) if "label" in data}
    assert rules.switches(graph) == ["s1", "s2", "s3", "s4"]
    assert rules.hosts(graph) == ["h1", "h2", "h3", "h4"]
    amsterdam, london, paris = (labels[name] for name in ("Amsterdam", "London", "Paris"))
    link = graph.edges[amsterdam, london]
    assert link["bandwidth_bps"] == 10e9
    # 358 km along the great circle, at 204,218 km/s.
    assert link["delay_s"] == pytest.approx(358 / 204_218, rel=0.01)
    assert graph.edges[london, paris]["bandwidth_bps"] == 155e6
    assert "bandwidth_bps" not in graph.edges[paris, amsterdam]
    assert "delay_s" not in graph.edges[labels["None"], paris]
    notes = " | ".join(graph.graph["notes"])
    assert "delays of 3 links come from the coordinates" in notes
    assert "1 links have an end without coordinates" in notes
    assert "LinkSpeed='unknown' is not a rate" in notes
    assert "one host on each of 4 switches" in notes


def test_more_hosts_on_each_switch(tmp_path: Path) -> None:
    graph = files.load(put(tmp_path, "z.graphml", ZOO), hosts_per_switch=3)
    assert len(rules.hosts(graph)) == 12


def test_a_graphml_file_may_end_in_xml(tmp_path: Path) -> None:
    assert len(rules.switches(files.load(put(tmp_path, "z.xml", ZOO)))) == 4


PARALLEL = """graph [
  node [ id 0 label "h1" ] node [ id 1 label "s1" ] node [ id 2 label "s2" ] node [ id 3 label "h2" ]
  edge [ source 0 target 1 ]
  edge [ source 1 target 2 bandwidth "10mbit" delay "4ms" ]
  edge [ source 2 target 1 bandwidth "30mbit" delay "2ms" ]
  edge [ source 2 target 3 ]
]
"""


def test_parallel_links_are_refused_or_merged_as_asked(tmp_path: Path) -> None:
    path = put(tmp_path, "p.gml", PARALLEL)
    with pytest.raises(ValueError, match=r"p\.gml: s1 - s2: several links .*parallel: merge"):
        files.load(path)
    graph = files.load(path, parallel="merge")
    assert graph.edges["s1", "s2"] == {"bandwidth_bps": 40e6, "delay_s": 0.002}
    assert "1 sets of parallel links were merged" in graph.graph["notes"][0]


def test_shadows_gml(tmp_path: Path) -> None:
    text = """graph [
  directed 0
  node [ id 0 label "a b" ]
  node [ id 1 label "c" ]
  edge [ source 0 target 1 latency "10 ms" packet_loss 0.01 ]
]
"""
    graph = files.load(put(tmp_path, "shadow.gml", text))
    assert graph.edges["s1", "s2"] == {"delay_s": 0.01, "loss": 0.01}
    assert graph.nodes["s1"]["label"] == "a b"


def test_with_duplicate_labels_nodes_keep_their_numbers(tmp_path: Path) -> None:
    text = 'graph [ node [ id 4 label "x" ] node [ id 9 label "x" ] edge [ source 4 target 9 ] ]'
    graph = files.load(put(tmp_path, "twins.gml", text))
    assert [graph.nodes[node]["label"] for node in rules.switches(graph)] == ["x", "x"]


def test_an_edge_list_with_directions(tmp_path: Path) -> None:
    text = """# a comment
h1 s1 bandwidth=60mbit delay=1ms
h2 > s1 bandwidth=10mbit        # up
s1 > h2 bandwidth=50mbit        # down
h3 s1 {'bandwidth_bps': 5e6, 'loss': 0.02}
h4 s1 bw=7 loss=2
"""
    graph = files.load(put(tmp_path, "net.edges", text))
    assert graph.edges["h1", "s1"] == {"bandwidth_bps": 60e6, "delay_s": 0.001}
    assert graph.edges["h2", "s1"]["towards"] == {
        "s1": {"bandwidth_bps": 10e6},
        "h2": {"bandwidth_bps": 50e6},
    }
    assert graph.edges["h3", "s1"] == {"bandwidth_bps": 5e6, "loss": 0.02}
    assert graph.edges["h4", "s1"] == {"bandwidth_bps": 7e6, "loss": 0.02}  # Mininet's units


def test_node_link_json_of_networkx_itself(tmp_path: Path) -> None:
    import json

    graph = nx.petersen_graph()
    nx.set_edge_attributes(graph, 25e6, "bandwidth_bps")
    loaded = files.load(put(tmp_path, "p.json", json.dumps(nx.node_link_data(graph))))
    assert nx.is_isomorphic(loaded.subgraph(rules.switches(loaded)), graph)
    assert {rate for _, _, rate in loaded.edges(data="bandwidth_bps")} == {25e6, None}


def test_long_names_are_mapped_and_kept_as_labels(tmp_path: Path) -> None:
    text = "nodes-in-amsterdam s1\nlondon s1\nparis s1\n"
    graph = files.load(put(tmp_path, "long.edges", text))
    # All names of that kind change, and none of the other kind.
    labels = {data.get("label"): node for node, data in graph.nodes(data=True)}
    assert labels["nodes-in-amsterdam"] in ("s1", "s2")
    assert "Linux cannot name interfaces after nodes-in-amsterdam" in " ".join(graph.graph["notes"])


def test_only_the_largest_part(tmp_path: Path) -> None:
    path = put(tmp_path, "two.edges", "s1 s2\ns2 s3\ns4 s5\n")
    with pytest.raises(ValueError, match="not connected; it falls into 2 components"):
        files.load(path)
    graph = files.load(path, component="largest")
    assert rules.switches(graph) == ["s1", "s2", "s3"]
    assert "2 nodes outside" in graph.graph["notes"][0]


ENTITY = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]>
<graphml><graph edgedefault="undirected"><node id="&lol2;"/></graph></graphml>"""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.graphml", ENTITY, "defines an entity"),
        ("x.xml", ENTITY.replace("graphml", "experiment"), "defines an entity"),
        ("x.graphml", "<graphml><graph>", "not valid XML"),
        ("x.xml", "<topology/>", "root element is <topology>"),
        ("x.gml", "graph [ node [", "not GML"),
        ("x.json", "{", "not valid JSON"),
        ("x.json", '{"nodes": 3}', 'no list "nodes"'),
        ("x.json", '{"nodes": [{"id": 1}], "links": [{"source": 1, "target": 2}]}', "ids of nodes; got 2"),
        ("x.yaml", "hosts: [h1, h2]\nswitches: [s1]\nlinks: [{link: [h1, s9]}]", "no host or switch 's9'"),
        ("x.yaml", "hosts: [h1, h1]", "h1 is given twice"),
        ("x.yaml", "host: [h1]", "did you mean hosts"),
        (
            "x.yaml",
            "hosts: [h1, h2]\nswitches: [s1]\nlinks: [{link: [h1, s1], bandwidth: 60}]",
            "needs a unit",
        ),
        ("x.edges", "h1\n", "line 1: a link is two names"),
        ("x.edges", "h1 s1 3.5\n", "'3.5' has no name"),
        ("x.edges", "h1 s1 bandwidth=fast\n", "link h1 - s1: bandwidth='fast': not a bandwidth"),
        ("x.edges", "h1 s1 bandwidth_bps=abc\nh2 s1", "bandwidth_bps='abc': it must be a number"),
        ("x.edges", "h1 s1 loss=1.5\nh2 s1\n", "loss=1.5; it must be a number 0 to 1"),
        ("x.edges", "h1 s1\nh2 s1\ns1 s1\n", "s1: a link from a node to itself"),
        ("x.edges", "h1 s1\nh1 s1\nh2 s1\n", "h1 - s1: several links"),
        ("x.edges", "h1 s1\nh2 s2\n", "not connected"),
        ("x.edges", "h1 h2\n", "must lead to a switch"),
        ("x.edges", "", "0 hosts"),
        ("x.dot", "graph {}", "unknown ending '.dot'; there are: .graphml"),
    ],
)
def test_an_invalid_network_is_refused_with_the_files_name(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(ValueError, match=r"x\.\w+") as error:
        files.load(put(tmp_path, name, text))
    assert words in str(error.value)


def test_a_missing_file_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        files.load(tmp_path / "none.gml")
    (tmp_path / "b.gml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        files.load(tmp_path / "b.gml")
    with pytest.raises(ValueError, match="a directory"):
        files.load(tmp_path)


def same(graph: nx.Graph, other: nx.Graph) -> bool:
    def nodes(of: nx.Graph) -> dict[str, Any]:
        return dict(of.nodes(data=True))

    def edges(of: nx.Graph) -> dict[frozenset[str], Any]:
        return {frozenset((a, b)): data for a, b, data in of.edges(data=True)}

    def extra(of: nx.Graph) -> dict[str, Any]:
        return {key: of.graph.get(key) for key in ("paths", "paths_shared", "per_pair")}

    return nodes(graph) == nodes(other) and edges(graph) == edges(other) and extra(graph) == extra(other)


RATES = st.sampled_from([1e6, 12.5e6, 60e6, 1e9, 123456789.0])
DELAYS = st.sampled_from([0.0, 0.001, 0.0205, 0.1, 0.123456])


@st.composite
def graphs(draw: st.DrawFn) -> nx.Graph:
    kind = draw(st.sampled_from(["star", "ring", "tree", "dumbbell", "random_regular"]))
    graph = topologies.generate(kind, {}, draw(st.integers(0, 5)))
    for a, b in graph.edges:
        choice = draw(st.integers(0, 3))
        if choice == 1:
            graph.edges[a, b].update(bandwidth_bps=draw(RATES), delay_s=draw(DELAYS))
        elif choice == 2:
            graph.edges[a, b].update(bandwidth_bps=draw(RATES), jitter_s=0.001, loss=0.25, delay_s=0.5)
        elif choice == 3:
            graph.edges[a, b]["towards"] = {
                a: {"bandwidth_bps": 1e6},
                b: {"bandwidth_bps": 2e6, "delay_s": 0.001},
            }
    return graph


@pytest.mark.parametrize("ending", [".graphml", ".gml", ".json", ".yaml", ".edges"])
@settings(max_examples=25, deadline=None)
@given(graph=graphs())
def test_a_written_graph_is_read_as_the_same(ending: str, tmp_path_factory: Any, graph: nx.Graph) -> None:
    path = tmp_path_factory.mktemp("graph") / f"g{ending}"
    files.save(graph, path)
    assert same(files.load(path), graph)


@pytest.mark.parametrize("ending", [".graphml", ".gml", ".json", ".yaml"])
def test_regions_and_labels_survive(ending: str, tmp_path: Path) -> None:
    graph = topologies.generate("regions", {"hosts_per_region": 2, "shared": True}, 1)
    files.save(graph, tmp_path / f"g{ending}")
    assert same(files.load(tmp_path / f"g{ending}"), graph)


def test_an_edge_list_says_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no properties between regions"):
        files.save(topologies.generate("regions", {"hosts_per_region": 1}, 1), tmp_path / "g.edges")
    graph = nx.relabel_nodes(topologies.generate("star", {"nodes": 2}, 1), {"h1": "alice"})
    with pytest.raises(ValueError, match="alice does not follow that"):
        files.save(graph, tmp_path / "g.edges")
