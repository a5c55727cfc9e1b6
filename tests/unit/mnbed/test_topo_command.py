"""`mnbed topo` and `mnbed export` as a user runs them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from mnbed.cli import main
from topologies import files

ROOT = Path(__file__).parents[3]
STRAGGLERS = str(ROOT / "experiments" / "cifar_stragglers.yaml")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_list_has_every_generator_with_its_parameters(run: Run) -> None:
    status, out, _ = run("topo", "list")
    assert status == 0
    assert "watts_strogatz: A small world" in out
    assert "    ports (a whole number, default 4): ports of every switch" in out
    assert "    graph (text, required):" in out
    assert ".xml (Kollaps XML)" in out
    assert "matrices of the generator regions: aws" in out


def test_show_a_generator(run: Run) -> None:
    status, out, _ = run("topo", "show", "leaf-spine", "--set", "leaves=3", "--set", "hosts_per_leaf=1")
    assert status == 0
    assert "leaf_spine (leaves=3, hosts_per_leaf=1): 3 hosts, 5 switches, 9 links" in out
    assert "h1 - s3" in out


def test_show_an_experiment_with_its_stragglers(run: Run) -> None:
    status, out, _ = run("topo", "show", STRAGGLERS)
    assert status == 0
    assert out.count("straggler") == 4 + 1  # and the title
    assert "60mbit" in out


def test_show_regions(run: Run) -> None:
    _, out, _ = run("topo", "show", "regions", "--set", "hosts_per_region=1", "--set", "only=tokyo,ohio")
    assert "h1 - s1" in out
    assert "tokyo-1 - s1" in out
    assert "paths between regions, for each pair of hosts" in out
    assert "tokyo - ohio   86mbit     66.34ms" in out


def test_notes_of_a_file_go_to_standard_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.edges").write_text("a-very-long-name b\nb c\n")
    status, out, err = run("topo", "show", str(tmp_path / "net.edges"), "--hosts-per-switch", "2")
    assert status == 0
    assert "6 hosts, 3 switches" in out
    assert "a-very-long-name" in out
    assert "note: switches are called s1 to s3" in err


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_draw(run: Run, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"net.{ending}"
    status, out, _ = run("topo", "draw", STRAGGLERS, "-o", str(path))
    assert (status, out.strip()) == (0, str(path))
    assert path.stat().st_size > 1000
    if ending == "svg":
        text = path.read_text()
        assert "straggler" in text
        assert ">h8<" in text


def test_draw_some_hundred_nodes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    status, _, _ = run("topo", "draw", "barabasi_albert", "--set", "nodes=150", "-o", str(path))
    assert status == 0
    assert ">h8<" not in path.read_text()  # names would hide the drawing


def test_convert_and_back(run: Run, tmp_path: Path) -> None:
    path, other = tmp_path / "net.graphml", tmp_path / "net.yaml"
    assert run("topo", "convert", STRAGGLERS, str(path))[0] == 0
    assert run("topo", "convert", str(path), str(other))[0] == 0
    one, two = files.load(path), files.load(other)
    assert {frozenset(edge) for edge in one.edges} == {frozenset(edge) for edge in two.edges}
    for a, b, data in one.edges(data=True):
        assert two.edges[a, b] == data


def test_export_to_kollaps(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("export", STRAGGLERS, "--to", "kollaps")
    assert status == 0
    root = ElementTree.fromstring(out)
    links = root.findall("links/link")
    assert len(links) == 8
    assert sum(link.get("upload") == "60Mbps" for link in links) == 4
    assert {link.get("latency") for link in links} == {"1"}
    assert run("export", STRAGGLERS, "-o", str(tmp_path / "k.xml"))[0] == 0
    assert (tmp_path / "k.xml").read_text() == out


def test_a_matrix_is_exported_where_its_access_links_do_not_limit(run: Run, tmp_path: Path) -> None:
    experiment = tmp_path / "regions.yaml"
    experiment.write_text("network: {topology: {kind: regions, hosts_per_region: 2}}\n")
    status, _, err = run("export", str(experiment))
    assert status == 2
    assert "bandwidth: 10gbit, delay: 0s" in err
    free = ("--set", "network.link.bandwidth=10gbit", "--set", "network.link.delay=0s")
    status, _, _ = run("export", str(experiment), *free, "-o", str(tmp_path / "k.xml"))
    assert status == 0
    assert len(files.load(tmp_path / "k.xml").graph["paths"]) == 55


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("topo", "show", "strar"), "did you mean star?"),
        (("topo", "show", "none.graphml"), "No such file"),
        (("topo", "show", "star", "--set", "nodes"), "write parameter=value"),
        (("topo", "show", "star", "--set", "noeds=3"), "did you mean nodes?"),
        (("topo", "show", "fat_tree", "--set", "ports=3"), "ports=3; it must be even"),
        (("topo", "draw", "star", "-o", "x.bmp"), "unknown ending '.bmp'; allowed: .svg, .png, .pdf"),
        (("topo", "draw", "star", "-o", "/nonexistent/x.svg"), "cannot be written"),
        (("topo", "convert", "star", "x.dot"), "unknown ending '.dot'"),
        (("topo", "convert", "star", "x.xml"), "has no bandwidth"),
        (("export", STRAGGLERS, "--to", "ns3"), "unknown format; known: kollaps"),
        (("export", "none.yaml"), "no such file"),
    ],
)
def test_bad_input(run: Run, arguments: tuple[str, ...], words: str) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err


def test_a_source_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    graph = tmp_path / "a.graphml"
    assert run("topo", "convert", "star", str(graph), "--set", "nodes=2")[0] == 0
    before = graph.read_bytes()
    (tmp_path / "link.graphml").symlink_to(graph)
    for target in (graph, tmp_path / "link.graphml", tmp_path / ".." / tmp_path.name / "a.graphml"):
        status, _, errors = run("topo", "convert", str(graph), str(target))
        assert status == 2
        assert "would be overwritten" in errors
    assert graph.read_bytes() == before
    # Another file may be there already.
    assert run("topo", "convert", "ring", str(graph), "--set", "nodes=3")[0] == 0
    assert graph.read_bytes() != before


def test_an_experiment_is_not_overwritten_by_its_export(run: Run, tmp_path: Path) -> None:
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(Path(STRAGGLERS).read_text())
    status, _, errors = run("export", str(experiment), "--output", str(experiment))
    assert status == 2
    assert "would be overwritten" in errors
    assert experiment.read_text() == Path(STRAGGLERS).read_text()


def test_names_of_our_own_journals_in_a_file_are_given_new_ones(tmp_path: Path) -> None:
    """Like other names that cannot be used; the name in the file stays as the label."""
    path = tmp_path / "zoo.edges"
    path.write_text("controller parent\nparent other\n")
    graph = files.load(path)
    assert not {"controller", "parent"} & {node for node, kind in graph.nodes(data="kind") if kind == "host"}
