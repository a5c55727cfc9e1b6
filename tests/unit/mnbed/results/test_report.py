"""The page: self-contained, complete, honest about what is missing, and safe with foreign text."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import pytest

from mnbed.results import make_results, network_plot
from mnbed.results.report import SECTIONS
from mnbed.run_directory import RunDirectory
from tests.unit.mnbed.results.builder import RunBuilder

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects the text of the page, and fails on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(run: RunDirectory) -> Page:
    make_results(run)
    return Page(run.report.read_text())


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    builder = RunBuilder(path=tmp_path_factory.mktemp("runs") / "run", num_nodes=8, num_stragglers=2)
    run = builder.build()
    builder.evaluate(run)
    make_results(run)
    return run


def test_a_good_run_has_every_section(good_run: RunDirectory) -> None:
    page = Page(good_run.report.read_text())
    for text in ("made-up", "completed", "emulation faithful", "others (6): mean ± std", "averaged model"):
        assert text in page.text
    assert [section.name for section in SECTIONS if section.missing in page.text] == []
    figures = {path.name for path in good_run.plots.iterdir()}
    assert figures == {f"{section.name}.{kind}" for section in SECTIONS for kind in ("svg", "png")}


def test_the_page_needs_nothing_from_outside(good_run: RunDirectory) -> None:
    text = good_run.report.read_text()
    page = Page(text)
    assert page.tags & {"script", "link", "iframe"} == set()
    references = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert references
    assert all(reference.startswith(("#", "data:")) for reference in references)
    assert len(text) < 1_500_000


def test_figures_are_self_contained_and_share_no_ids(good_run: RunDirectory) -> None:
    for path in good_run.plots.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    ids = re.findall(r'\bid="([^"]+)"', good_run.report.read_text())
    drawn = [name for name in ids if name.startswith("accuracy-")]
    assert drawn
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', good_run.report.read_text()))
    assert used <= set(ids)


def test_the_same_run_gives_the_same_page(good_run: RunDirectory) -> None:
    before = good_run.report.read_bytes()
    make_results(good_run)
    assert good_run.report.read_bytes() == before


def test_stand_in_data_is_named_in_every_title(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", standin=True)
    run = builder.build()
    builder.evaluate(run)
    page = page_of(run)
    assert "a stand-in for digits" in page.text
    for section in SECTIONS:
        assert "(stand-in data)" in (run.plots / f"{section.name}.svg").read_text(), section.name


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    builder = RunBuilder(path=tmp_path / "run", status="failed", error=evil, ledger=False)
    run = builder.build()
    run.experiment.write_text(run.experiment.read_text().replace("made-up", f'"{evil}"'))
    with run.node_journal("h2").open("a") as file:
        record = {"t": 1.0, "node": "h2", "event": "error", "message": evil, "traceback": evil}
        file.write(json.dumps(record) + "\n")
    page = page_of(run)
    assert "script" not in page.tags
    assert page.text.count(evil) >= 5  # title, heading, error, reason, agent's error, experiment


def test_a_run_that_left_next_to_nothing_has_a_page(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.experiment.write_text("name: nothing\n")
    page = page_of(run)
    assert "failed" in page.text
    for section in SECTIONS:
        assert section.missing in page.text
    assert "No links" in page.text
    assert "No nodes" in page.text
    assert "environment.json is missing" in page.text
    assert list(run.plots.iterdir()) == []


def test_a_failed_run_shows_what_failed(tmp_path: Path) -> None:
    error = "h3's agent was killed by SIGKILL"
    builder = RunBuilder(
        path=tmp_path / "run",
        status="failed",
        error=error,
        killed={"h3": 2},
        delay_backend="nfqueue",
        strangers_closed=1,
    )
    run = builder.build()
    run.evaluation.write_text('{"node": "h1", "instant": 0, "t": 0.0, "error": "00000.npy is damaged"}\n')
    page = page_of(run)
    assert f"Error. {error}" in page.text
    assert "00000.npy is damaged" in page.text
    assert "no end recorded" in page.text
    assert "nfqueue delays whole paths" in page.text
    assert "Note. agents closed 4 connections before a HELLO" in page.text


@pytest.mark.parametrize("partition", [[[1, "x"]], [[1, 2], [3]]])
def test_a_damaged_piece_costs_only_its_figure(tmp_path: Path, partition: object) -> None:
    run = RunBuilder(path=tmp_path / "run", num_nodes=2, duration_s=2).build()
    environment = json.loads(run.environment.read_text())
    run.environment.write_text(json.dumps({**environment, "partition": partition}))
    page = page_of(run)
    assert "This figure could not be drawn" in page.text
    assert (run.plots / "network.svg").exists()


@pytest.mark.parametrize(
    "graph", [nx.star_graph(60), nx.balanced_tree(3, 3), nx.path_graph(2), nx.full_rary_tree(2, 40)]
)
def test_branches_of_a_tree_do_not_meet(graph: nx.Graph) -> None:
    places = network_plot._tree_layout(graph)
    assert set(places) == set(graph)
    nearest = min(
        (xa - xb) ** 2 + (ya - yb) ** 2
        for a, (xa, ya) in places.items()
        for b, (xb, yb) in places.items()
        if a != b
    )
    assert nearest > 0.05**2


def test_events_are_listed_and_marked(tmp_path: Path) -> None:
    events = [
        {"kind": "node", "text": "h3 <killed>", "entry": 0, "planned_s": 2.0, "late_s": 0.004}
        | {"host": "h3", "action": "kill"},
        {"kind": "link", "text": "h1 - s1 down", "entry": 1, "planned_s": 2.01, "late_s": 0.004},
        {"kind": "link", "text": "h1 - s1 up", "entry": 1, "planned_s": 4.0, "late_s": 0.012},
    ]
    run = RunBuilder(path=tmp_path / "run", applied=events).build()
    make_results(run, report=True)
    page = run.report.read_text()
    assert "<h2>Events</h2>" in page
    assert "h3 &lt;killed&gt;" in page
    assert "12.0 ms" in page
    # Two at the same place share their number; the axes have numbers of their own.
    plain = RunBuilder(path=tmp_path / "plain").build()
    make_results(plain, report=True)
    for mark in (">1-2<", ">3<"):
        with_events, without = ((one.plots / "machine.svg").read_text().count(mark) for one in (run, plain))
        assert with_events > without, mark
    assert ">1-2<" in page


def test_the_probe_is_compared_with_what_was_asked_for(good_run: RunDirectory) -> None:
    page = good_run.report.read_text()
    assert (
        "Probe before training, compared with what was asked for: bandwidth of 16 directions -0.83% to -0.17%"
        in page
    )
    assert "11.9 Mbit/s" in page
