"""metrics.csv: its columns, its rows, its empty cells, and that every column is documented."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

from mnbed.results.collect import collect
from mnbed.results.links import LinkRow
from mnbed.results.messages import COLUMNS as MESSAGE_COLUMNS
from mnbed.results.metrics import columns, write_metrics
from mnbed.results.scores import Scores, read_scores
from node_agent.counters import Counters
from tests.unit.mnbed.results.builder import RunBuilder

DOCUMENTATION = (Path(__file__).parents[4] / "docs" / "run-directory.md").read_text()


def table(builder: RunBuilder, *, evaluated: bool) -> list[dict[str, str]]:
    run = builder.build()
    if evaluated:
        builder.evaluate(run)
    write_metrics(run.metrics, collect(run), read_scores(run))
    with run.metrics.open() as file:
        return list(csv.DictReader(file))


def test_one_row_for_each_node_and_instant(tmp_path: Path) -> None:
    rows = table(RunBuilder(path=tmp_path / "run", duration_s=4, killed={"h4": 2}), evaluated=True)
    instants = {name: [int(row["instant"]) for row in rows if row["node"] == name] for name in ("h1", "h4")}
    assert instants == {"h1": [0, 1, 2, 3, 4], "h4": [0, 1, 2]}
    last = next(row for row in rows if (row["node"], row["instant"]) == ("h2", "4"))
    assert float(last["emulated_s"]) == 4.0
    assert (last["round"], last["steps"]) == ("4", "20")
    assert float(last["accuracy"]) == 0.1 + 0.06 * 4
    assert float(last["loss"]) == 2.0 - (0.1 + 0.06 * 4)
    assert last["fragments_dropped_stale"] == "4"


def test_a_score_that_was_not_evaluated_is_an_empty_cell(tmp_path: Path) -> None:
    rows = table(RunBuilder(path=tmp_path / "run", duration_s=2), evaluated=False)
    assert {(row["loss"], row["accuracy"]) for row in rows} == {("", "")}
    assert rows[0]["train_loss"] == ""


def test_every_counter_and_every_further_score_is_a_column() -> None:
    names = [
        metric.name
        for metric in columns(Scores({("h1", 0): {"node": "h1", "instant": 0, "t": 0.0, "rmse": 1.0}}))
    ]
    assert {field.name for field in fields(Counters)} <= set(names)
    assert names[-2:] == ["staleness_s", "rmse"]
    assert len(names) == len(set(names))


def test_the_documentation_knows_every_column() -> None:
    names = [metric.name for metric in columns(Scores({}))]
    names += [*MESSAGE_COLUMNS, *(field.name for field in fields(LinkRow))]
    assert [name for name in names if f"`{name}`" not in DOCUMENTATION] == []
