"""What a made-up run exchanged, by class of node; and TensorBoard's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnbed.cli import main
from mnbed.results import make_results
from mnbed.results.messages import Ledger
from tests.unit.mnbed.results.builder import FRAGMENTS, RunBuilder


def test_classes_of_nodes(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", num_nodes=4, num_stragglers=1)
    run = builder.build()
    builder.evaluate(run)
    exchange = make_results(run, report=False).exchange
    assert list(exchange) == ["stragglers", "others"]
    assert (exchange["stragglers"].nodes, exchange["others"].nodes) == (1, 3)
    # A straggler does a round in two seconds, the others one in each of six.
    assert (exchange["stragglers"].rounds, exchange["others"].rounds) == (3, 6)
    for found in exchange.values():
        # One fragment in four is dropped; what is averaged in was cut 0.6 s before and sent 0.3 s before.
        assert found.dropped_share == pytest.approx(1 / FRAGMENTS)
        assert found.age_s == pytest.approx(0.6)
        assert found.staleness_s == pytest.approx(0.3)
    # One fragment of each round of the node before: h1 of h4's six, in three rounds of its own; h2 of h1's three, h3
    # and h4 of six, in six rounds.
    assert exchange["stragglers"].copies_per_round == pytest.approx(6 / FRAGMENTS / 3)
    assert exchange["others"].copies_per_round == pytest.approx((3 + 6 + 6) / FRAGMENTS / 6 / 3)


def test_ages_count_from_the_cut_to_the_average() -> None:
    ledger = Ledger()
    of = [["h1", 4, 0], ["h1", 4, 1]]
    ledger.events["created"]({"node": "h1", "t": 1.0, "round": 4, "sends": [[0, "h2"]]})
    # Written when the round is over, 0.5 s after the average; nothing is known of the second one's origin.
    ledger.events["aggregated"]({"node": "h2", "t": 3.0, "at": 2.5, "round": 7, "of": of})
    life = ledger.life()["h1"]
    assert (life.aggregated, life.aged, life.age_s) == (2, 1, 1.5)


def test_without_stragglers_there_is_one_class(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", num_stragglers=0)
    assert list(make_results(builder.build(), report=False).exchange) == ["nodes"]


def test_tensorboard_files_hold_the_curves_or_the_remedy_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = RunBuilder(path=tmp_path / "run")
    run = builder.build()
    builder.evaluate(run)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run.path), "--tensorboard"])
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        assert ended.value.code == 3
        assert "pip install tensorboard" in capsys.readouterr().err
        return
    assert not ended.value.code
    events = EventAccumulator(str(run.path / "tensorboard" / "mean_of_nodes"))
    events.Reload()
    points = [(point.step, point.value) for point in events.Scalars("accuracy")]
    assert points[0][0] == 0
    assert points[-1][0] == 6000
    assert points[-1][1] > points[0][1]
