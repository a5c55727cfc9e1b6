"""The tables of report.html: exchange by class of node, events, links, nodes, and the columns of metrics.csv."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from mnbed.results.collect import Collected, NodeRecords
from mnbed.results.evidence import Applied, applied, probed_bandwidths, probed_delays
from mnbed.results.exchange import ExchangeSummary, task_metric
from mnbed.results.links import LinkRow
from mnbed.results.metrics import Metric, columns
from mnbed.results.page import Column, Table
from mnbed.results.round_trips import round_trip_errors
from mnbed.results.scores import Scores
from mnbed.results.summary import Summary
from mnbed.results.text import UNKNOWN, fraction, number, rate, score, seconds, size

# Of a run with thousands of events, the page shows the first.
_MAX_EVENTS = 200

# --- what was exchanged ---


def exchange_table(summary: Summary) -> Table[tuple[str, ExchangeSummary]]:
    """A row for each class of nodes."""
    return Table(
        columns=(
            Column("class", lambda row: row[0]),
            Column("nodes", lambda row: str(row[1].nodes)),
            Column("age of what it averaged in, since sending", lambda row: seconds(row[1].staleness_s)),
            Column(
                "age of its own fragments when averaged in, since creation", lambda row: seconds(row[1].age_s)
            ),
            Column("copies of a parameter per round", lambda row: _rounded(row[1].copies_per_round)),
            Column("fragments dropped unsent", lambda row: fraction(row[1].dropped_share)),
            Column("rounds", lambda row: number(row[1].rounds)),
        ),
        rows=list(summary.exchange.items()),
        notes=[
            "Means over the nodes of a class. Copies: those received in a round's average, not counting the node's own."
        ],
    )


def _rounded(value: float | None) -> str:
    return number(None if value is None else float(f"{value:.3g}"))


# --- events ---


def event_table(collected: Collected) -> Table[tuple[int, Applied]]:
    """A row for each event of the experiment, with its number in the figures."""
    events = list(enumerate(applied(collected), start=1))
    more = len(events) - _MAX_EVENTS
    hidden = f" {more} more are in events.jsonl." if more > 0 else ""
    return Table(
        heading="Events",
        columns=(
            Column("number", lambda row: str(row[0])),
            Column("at", lambda row: seconds(row[1].planned_s)),
            Column("late by", lambda row: f"{1e3 * row[1].late_s:.1f} ms"),
            Column("what", lambda row: row[1].text, text=True),
        ),
        rows=events[:_MAX_EVENTS],
        notes=[f"Emulated time; lines with these numbers mark the events in the figures.{hidden}"],
    )


# --- links ---


def link_table(collected: Collected, summary: Summary) -> Table[LinkRow]:
    """A row for each link: as asked for, as probed, and as counted."""
    return Table(
        heading="Links",
        columns=(
            Column("link a – b", lambda row: f"{row.a} – {row.b}"),
            Column(
                "asked rate",
                lambda row: _both(rate(row.asked_ab_bandwidth_bps), rate(row.asked_ba_bandwidth_bps)),
            ),
            Column(
                "probed",
                lambda row: _both(rate(row.probed_ab_bandwidth_bps), rate(row.probed_ba_bandwidth_bps)),
            ),
            Column(
                "asked delay", lambda row: _both(seconds(row.asked_ab_delay_s), seconds(row.asked_ba_delay_s))
            ),
            Column(
                "probed", lambda row: _both(seconds(row.probed_ab_delay_s), seconds(row.probed_ba_delay_s))
            ),
            Column("peak a → b", lambda row: rate(row.peak_ab_bps)),
            Column("peak b → a", lambda row: rate(row.peak_ba_bps)),
            Column("sent a → b", lambda row: size(row.bytes_ab)),
            Column("sent b → a", lambda row: size(row.bytes_ba)),
            Column(
                "drops a → b / b → a",
                lambda row: _both(number(row.drops_ab), number(row.drops_ba), always=True),
            ),
            Column(
                "peak backlog",
                lambda row: _both(
                    size(row.backlog_peak_ab_bytes), size(row.backlog_peak_ba_bytes), always=True
                ),
            ),
        ),
        rows=collected.links,
        marked=lambda row: row.straggler,
        notes=_link_notes(collected, summary),
        missing="No links: environment.json lists none, because the network was not built.",
    )


def _both(a: str, b: str, *, always: bool = False) -> str:
    """Both directions in one cell; only once if they are the same."""
    return a if a == b and (not always or a == UNKNOWN) else f"{a} / {b}"


def _link_notes(collected: Collected, summary: Summary) -> list[str]:
    nfqueue = "; nfqueue delays whole paths here, so that no link has a delay of its own"
    units = (
        "Rates and times in emulated units, one way; two values if the directions differ. Probed: as measured before "
        f"training{nfqueue if summary.delay_backend == 'nfqueue' else ''}. Peak: the highest rate in one sampling "
        "interval. Stragglers' links in colour."
    )
    probe = _probe_note(collected)
    return [units, *([probe] if probe else []), _round_trip_note(collected)]


def _probe_note(collected: Collected) -> str | None:
    """The result of the probe before training, in a sentence; None if there was none."""
    probe = collected.last("probe")
    if probe is None:
        return None
    rates, delays = probed_bandwidths(probe), probed_delays(probe)
    parts = []
    if rates:
        errors = [probed.measured / probed.asked - 1 for probed in rates]
        parts.append(f"bandwidth of {len(rates)} directions {min(errors):+.2%} to {max(errors):+.2%}")
    if delays:
        errors_ms = [1e3 * (probed.measured - probed.asked) for probed in delays]
        parts.append(
            f"delay of {len(delays)} directions or paths {min(errors_ms):+.2f} to {max(errors_ms):+.2f} ms"
        )
    limited = sum(bool(row.get("limited_by_machine")) for row in probe.get("directions") or ())
    if limited:
        parts.append(f"{limited} directions are faster than this machine could saturate for the probe")
    if probe.get("skipped"):
        parts.append(f"{probe['skipped']} directions were not measured")
    return f"Probe before training, compared with what was asked for: {'; '.join(parts) or 'nothing was measured'}."


def _round_trip_note(collected: Collected) -> str:
    errors = round_trip_errors(collected)
    if errors is None:
        return "No measured round trips: agents report them when they end."
    return (
        f"Measured delay: the minimum round trip of {errors.num_connections} TCP connections was "
        f"{1e3 * errors.median_s:+.2f} ms off the sum of the links' delays (median; from {1e3 * errors.least_s:+.2f} "
        f"ms to {1e3 * errors.largest_s:+.2f} ms on {errors.largest_on}; emulated time). Connections on links that "
        "were never idle include their queues."
    )


# --- nodes ---


def node_table(collected: Collected, scores: Scores) -> Table[NodeRecords]:
    """A row for each node: its last scores, its totals, and how it ended."""
    metric, _ = task_metric(collected.experiment)
    return Table(
        heading="Nodes",
        columns=(
            Column("node", lambda node: node.name),
            Column("kind", lambda node: "straggler" if node.straggler else "", text=True),
            Column(metric, lambda node: score(_last_score(node, scores, metric), metric)),
            Column("loss", lambda node: number(_last_score(node, scores, "loss"))),
            Column("rounds", lambda node: number(len(node.rounds))),
            Column("steps", lambda node: number(node.steps())),
            Column("sent", lambda node: size(_total(node, "bytes_sent"))),
            Column("received", lambda node: size(_total(node, "bytes_received"))),
            Column("dropped stale", lambda node: number(_total(node, "fragments_dropped_stale"))),
            Column("overruns", lambda node: number(_total(node, "overruns"))),
            Column("total lateness", lambda node: seconds(_total(node, "late_s"))),
            Column("waited", lambda node: seconds(_total(node, "waited_s"))),
            Column("frame transit, mean / longest", _one_way),
            Column("CPU", lambda node: seconds(node.end.get("cpu_s") if node.end else None)),
            Column("end", _end),
        ),
        rows=list(collected.nodes.values()),
        marked=lambda node: node.straggler,
        missing="No nodes: no agent was started.",
    )


def _last_score(node: NodeRecords, scores: Scores, key: str) -> float | None:
    """Of the node's own model at its last snapshot."""
    last = node.snapshots[-1].get("instant") if node.snapshots else None
    return None if last is None else scores.value(node.name, last, key)


def _total(node: NodeRecords, counter: str) -> float | None:
    counters = node.counters()
    return None if counters is None else float(getattr(counters, counter))


def _one_way(node: NodeRecords) -> str:
    """Mean over all senders' frames, and the longest."""
    times: Sequence[Sequence[float]] = list((node.end.get("one_way_s") or {}).values()) if node.end else []
    if not times:
        return UNKNOWN
    mean = fmean(mean for _, mean, _ in times)
    return f"{seconds(mean)} / {seconds(max(longest for *_, longest in times))}"


def _end(node: NodeRecords) -> str:
    reason = node.end.get("reason") if node.end else None
    return str(reason or ("no end recorded" if node.ready else "never ready"))


# --- metrics.csv ---


def metric_table(scores: Scores) -> Table[Metric]:
    """A row for each column of metrics.csv."""
    return Table(
        columns=(
            Column("column", lambda metric: metric.name),
            Column("unit", lambda metric: metric.unit, text=True),
            Column("meaning", lambda metric: metric.meaning, text=True),
        ),
        rows=columns(scores),
    )
