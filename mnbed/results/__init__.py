"""Turns the directory of a run, finished or not, into results: tables, scores, verdict, summary, report.

Uses only the run directory, so that `mnbed run` and a later `mnbed report` share the same code.
May import: experiment, records, run_directory, units, programs, errors; node_agent, topologies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnbed.results.summary import Summary
    from mnbed.run_directory import RunDirectory


def make_results(run: RunDirectory, *, report: bool = True) -> Summary:
    """Collect the journals, write tables, summary.json and (with `report`) the page; can be repeated at any time.

    Evaluation is a separate step (`results.evaluate`), because it may take minutes: scores that are not yet in
    evaluation.jsonl are missing from the results. Raises InputError if the directory is not a run's.
    """
    from mnbed.results.collect import collect
    from mnbed.results.metrics import write_metrics
    from mnbed.results.scores import read_scores
    from mnbed.results.summary import summarize, write_summary

    collected = collect(run)
    scores = read_scores(run)
    write_metrics(run.metrics, collected, scores)
    summary = summarize(run.run_id, collected, scores)
    write_summary(run.summary, summary)
    if report:
        from mnbed.results.report import write_report

        write_report(run, collected, scores, summary)
    return summary
