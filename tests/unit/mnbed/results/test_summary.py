"""summary.json: every value of a made-up run, which are null, and that every key is documented."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from rich.console import Console

from mnbed.errors import InputError
from mnbed.results import make_results
from mnbed.results.console import print_summary
from mnbed.results.notes import notes
from mnbed.results.summary import (
    RoundsSummary,
    ScoreSummary,
    Summary,
    TrafficSummary,
    read_summary,
    write_summary,
)
from tests.unit.mnbed.results.builder import FRAGMENTS, FRAME_BYTES, RunBuilder

DOCUMENTATION = (Path(__file__).parents[4] / "docs" / "run-directory.md").read_text()


def summary_of(builder: RunBuilder, *, evaluated: bool = True) -> Summary:
    run = builder.build()
    if evaluated:
        builder.evaluate(run)
    return make_results(run, report=False)


def test_a_completed_run(tmp_path: Path) -> None:
    summary = summary_of(RunBuilder(path=tmp_path / "20261120-213000-made-up"))
    assert summary.run_id == "20261120-213000-made-up"
    assert (summary.name, summary.algorithm, summary.task, summary.seed) == (
        "made-up",
        "divshare",
        "digits",
        7,
    )
    assert (summary.nodes, summary.stragglers, summary.standin) == (4, 1, False)
    assert (summary.status, summary.error, summary.verdict, summary.reasons) == (
        "completed",
        None,
        "faithful",
        [],
    )
    assert (summary.emulated_s, summary.wall_s, summary.dilation) == (6.0, 15.5, 2.0)
    assert (summary.delay_backend, summary.switch) == ("netem", "bridge")
    assert (summary.startup_s, summary.teardown_s, summary.agent_memory_mb) == (2.5, 0.4, 18.5)
    assert summary.rounds == RoundsSummary(mean=(3 * 6 + 3) / 4, min=3, max=6, expected=5.25)
    assert summary.traffic == TrafficSummary(
        bytes_sent=21 * (FRAGMENTS - 1) * FRAME_BYTES,
        bytes_received=21 * (FRAGMENTS - 1) * FRAME_BYTES,
        fragments_sent=21 * (FRAGMENTS - 1),
        fragments_dropped_stale=21,
        fragments_received=21 * (FRAGMENTS - 1),
        frames_rejected=0,
        frames_not_finite=0,
        strangers_closed=0,
        descriptor_shortages=0,
    )


def test_a_shortage_of_descriptors_is_a_reason_and_strangers_are_none(tmp_path: Path) -> None:
    strange = summary_of(RunBuilder(path=tmp_path / "strange", strangers_closed=3))
    assert (strange.verdict, strange.traffic.strangers_closed) == ("faithful", 12)
    (note,) = notes(strange)
    assert note.startswith("agents closed 12 connections before a HELLO")
    printed = io.StringIO()
    print_summary(strange, Console(file=printed, width=300))
    assert f" note {note} " in " ".join(printed.getvalue().split())
    short = summary_of(RunBuilder(path=tmp_path / "short", descriptor_shortages=2))
    assert (short.verdict, short.traffic.descriptor_shortages, notes(short)) == ("degraded", 8, [])
    (reason,) = short.reasons
    assert reason.startswith("connections had to wait 8 times for a file descriptor, on h1, h2, h3, h4:")


def test_a_summary_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    make_results(run, report=False)
    plain = json.loads(run.summary.read_text())
    for key in ("frames_not_finite", "strangers_closed", "descriptor_shortages"):
        del plain["traffic"][key]
    run.summary.write_text(json.dumps(plain))
    found = read_summary(run.summary)
    assert (found.traffic.frames_rejected, found.traffic.strangers_closed, notes(found)) == (0, None, [])


def test_scores_are_those_of_the_last_instant(tmp_path: Path) -> None:
    summary = summary_of(RunBuilder(path=tmp_path / "run", targets=(0.3, 0.99)))
    accuracy, loss = summary.accuracy, summary.loss
    # At 6 s: three others at 0.46, one straggler at 0.28.
    assert accuracy.final_mean == pytest.approx((3 * 0.46 + 0.28) / 4)
    assert accuracy.final_std == pytest.approx(0.18 * (3 / 16) ** 0.5)
    assert accuracy.best_mean == accuracy.final_mean
    assert accuracy.mean_model == pytest.approx(0.15 + 0.36)
    assert accuracy.stragglers_final_mean == pytest.approx(0.28)
    assert accuracy.others_final_mean == pytest.approx(0.46)
    assert [t for t, _, _ in accuracy.curve] == [0, 1, 2, 3, 4, 5, 6]
    assert accuracy.curve[0][1:] == pytest.approx([0.1, 0.0])
    assert loss.best_mean == pytest.approx(2 - (3 * 0.46 + 0.28) / 4)
    # The mean begins at 0.1 and gains 0.0525 each second.
    assert summary.time_to == {"0.3": pytest.approx(0.2 / 0.0525), "0.99": None}


def test_an_instant_that_few_nodes_reached_is_not_the_end(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", killed={"h2": 3, "h3": 3, "h4": 3})
    summary = summary_of(builder)
    assert summary.accuracy.curve[-1][0] == 3.0
    assert summary.accuracy.others_final_mean == pytest.approx(0.28)


def test_without_stragglers_their_figure_is_null(tmp_path: Path) -> None:
    summary = summary_of(RunBuilder(path=tmp_path / "run", num_stragglers=0))
    assert summary.accuracy.stragglers_final_mean is None
    assert summary.accuracy.others_final_mean == summary.accuracy.final_mean


def test_without_evaluation_scores_are_null(tmp_path: Path) -> None:
    summary = summary_of(RunBuilder(path=tmp_path / "run"), evaluated=False)
    assert summary.accuracy == summary.loss == ScoreSummary()
    assert summary.accuracy.final_mean is None
    assert summary.time_to == {"0.3": None, "0.99": None}


def test_a_killed_controller_leaves_a_failed_run(tmp_path: Path) -> None:
    summary = summary_of(RunBuilder(path=tmp_path / "run", status=None))
    assert (summary.status, summary.verdict) == ("failed", "degraded")
    assert summary.error is not None
    assert "killed" in summary.error
    assert summary.emulated_s == 6.0
    assert (summary.wall_s, summary.startup_s, summary.teardown_s, summary.agent_memory_mb) == (None,) * 4
    assert summary.accuracy.final_mean is not None


def test_a_failed_run_keeps_its_error(tmp_path: Path) -> None:
    error = "h3's agent was killed by SIGKILL"
    summary = summary_of(RunBuilder(path=tmp_path / "run", status="failed", error=error, killed={"h3": 2}))
    assert (summary.status, summary.error, summary.verdict) == ("failed", error, "degraded")
    assert summary.reasons == [error]
    assert summary.rounds.min == 2


def test_a_run_that_never_started_has_no_results(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", status="failed", error="no such task").build()
    for path in [*run.nodes.glob("h*.jsonl"), run.environment]:
        path.unlink()
    summary = make_results(run, report=False)
    assert (summary.nodes, summary.standin, summary.rounds.mean, summary.traffic.bytes_sent) == (
        0,
        None,
        None,
        None,
    )
    assert summary.status == "failed"


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    summary = summary_of(RunBuilder(path=tmp_path / "run"))
    assert read_summary(tmp_path / "run" / "summary.json") == summary


def test_values_that_are_not_finite_become_null(tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run", duration_s=2)
    run = builder.build()
    builder.evaluate(run)
    summary = make_results(run, report=False)
    object.__setattr__(summary.loss, "final_mean", float("nan"))
    write_summary(run.summary, summary)
    assert json.loads(run.summary.read_text())["loss"]["final_mean"] is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"run_id": 1}'])
def test_a_malformed_summary_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a summary"):
        read_summary(path)


def test_a_missing_summary_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mnbed report"):
        read_summary(tmp_path / "summary.json")


def test_the_documentation_knows_every_key() -> None:
    parts = (Summary, ScoreSummary, RoundsSummary, TrafficSummary)
    keys = [field.name for part in parts for field in fields(part)]
    assert [key for key in keys if f"`{key}`" not in DOCUMENTATION] == []
