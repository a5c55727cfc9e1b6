"""report.html: one self-contained page, and its figures as files in plots/.

Missing data leaves out its section, with a sentence that says why. No run is too broken for a page, because the broken
ones are those that people look at.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mnbed.results import network_plot, plot_style, plots
from mnbed.results.collect import Collected, NodeRecords
from mnbed.results.evidence import Applied, applied, probed_bandwidths, probed_delays
from mnbed.results.exchange import task_metric
from mnbed.results.files import replacing
from mnbed.results.links import LinkRow
from mnbed.results.metrics import columns
from mnbed.results.notes import notes
from mnbed.results.page import template
from mnbed.results.round_trips import round_trip_errors
from mnbed.results.scores import Scores
from mnbed.results.summary import Summary, TrafficSummary, task_score
from mnbed.results.text import fraction, number, rate, score, seconds, size
from mnbed.results.wait_lines import wait_lines
from mnbed.run_directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from node_agent.records import End


@dataclass(frozen=True, kw_only=True)
class FigureSection:
    """A figure of the page."""

    name: str
    """Also its file name in plots/."""
    draw: Callable[[plots.RunData], Figure | None]
    caption: str
    missing: str
    """Text shown instead of the figure if there is no data for it."""
    wide: bool = False


SECTIONS = (
    FigureSection(
        name="accuracy",
        draw=plots.accuracy,
        caption="Each node's own model on the test samples, and the mean of all models as one.",
        missing="No accuracy: no snapshot was evaluated, or the task has none.",
    ),
    FigureSection(
        name="loss",
        draw=plots.loss,
        caption="The same snapshots' test loss.",
        missing="No test loss: no snapshot was evaluated.",
    ),
    FigureSection(
        name="train_loss",
        draw=plots.train_loss,
        caption="Mean loss of each round's mini-batches on the node's own data.",
        missing="No training loss: no round was finished.",
    ),
    FigureSection(
        name="staleness",
        draw=plots.staleness,
        caption="Mean time since sending of the fragments averaged in.",
        missing="No staleness: no node averaged a fragment in.",
    ),
    FigureSection(
        name="traffic",
        draw=plots.traffic,
        caption="Totals per node. Dropped stale: replaced by newer data before being sent.",
        missing="No traffic: no node reached its first snapshot.",
        wide=True,
    ),
    FigureSection(
        name="fragment_life",
        draw=plots.fragment_life,
        caption="From the ledger, messages.csv. Sent only: in transit at the end, or lost with a connection.",
        missing="No data on fragments: nothing was sent, or the ledger was off (agents.ledger).",
    ),
    FigureSection(
        name="rounds",
        draw=plots.rounds,
        caption="One round is a local phase of task.local_steps steps.",
        missing="No rounds: no node finished one.",
    ),
    FigureSection(
        name="network",
        draw=network_plot.network,
        caption="The width of a link shows the bandwidth asked for.",
        missing="No drawing: environment.json lists no links, because the network was not built.",
    ),
    FigureSection(
        name="machine",
        draw=plots.machine,
        caption="Sampled once per wall second. Dotted: limits of the verdict.",
        missing="No samples of the machine: the run was too short, or ended before training.",
    ),
    FigureSection(
        name="partition",
        draw=plots.partition,
        caption="How the training data is split over the nodes.",
        missing="No split: environment.json does not record it.",
    ),
)


def write_report(run: RunDirectory, collected: Collected, scores: Scores, summary: Summary) -> None:
    """Write report.html and plots/*.svg, *.png."""
    data = plots.RunData(collected, scores, standin=bool(summary.standin))
    page = template("report.html.j2").render(
        summary=summary,
        figures=_figures(run, data),
        cards=_cards(summary),
        details=_details(summary),
        exchange=_exchange_rows(summary),
        waits=wait_lines(summary.waits),
        notes=notes(summary),
        nodes=_node_table(collected, scores),
        links=[_link_cells(row) for row in collected.links],
        round_trips=round_trip_errors(collected),
        probe=_probe_text(collected),
        events=[_event_cells(number, event) for number, event in enumerate(applied(collected), start=1)],
        environment=_environment(collected.environment),
        problems=[*collected.problems, *scores.errors()],
        agent_errors=[record for node in collected.nodes.values() for record in node.errors],
        experiment=_text_of(run),
        command=_command(collected.environment),
        run_path=str(run.path),
        metrics=columns(scores),
        num_records=collected.num_records,
    )
    with replacing(run.report) as partial:
        partial.write_text(page)


def _figures(run: RunDirectory, data: plots.RunData) -> dict[str, dict[str, Any]]:
    """Name -> {section, svg or None, why not}."""
    run.plots.mkdir(exist_ok=True)
    figures = {}
    with plot_style.style():
        for section in SECTIONS:
            svg, why = None, section.missing
            try:
                figure = section.draw(data)
                if figure is not None:
                    svg = plot_style.save(figure, section.name, run.plots)
            except (KeyError, TypeError, ValueError) as error:
                # Only a damaged journal or environment gets here; the other sections are still good.
                why = f"This figure could not be drawn ({type(error).__name__}: {error})."
            figures[section.name] = {"section": section, "svg": svg, "why": why}
    return figures


def _cards(summary: Summary) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the most important results."""
    compared, traffic, metric = task_score(summary), summary.traffic, summary.metric
    what = metric.capitalize() if metric == "accuracy" else metric.upper()
    spread = "" if compared.final_std is None else f"± {score(compared.final_std, metric)} over nodes"
    rounds = summary.rounds
    least_most = "" if rounds.min is None else f"minimum {rounds.min}, maximum {rounds.max}"
    if rounds.expected is not None:
        least_most += f"; {number(rounds.expected)} without waiting"
    made = None
    if traffic.fragments_sent is not None and traffic.fragments_dropped_stale is not None:
        total = traffic.fragments_sent + traffic.fragments_dropped_stale
        made = traffic.fragments_dropped_stale / total if total else None
    cards = [
        (f"{what}, mean of nodes", score(compared.final_mean, metric), spread),
        (f"{what}, averaged model", score(compared.mean_model, metric), "mean of all nodes' parameters"),
    ]
    if summary.stragglers:
        others = f"others {score(compared.others_final_mean, metric)}"
        cards.append((f"{what}, stragglers", score(compared.stragglers_final_mean, metric), others))
    return [
        *cards,
        (
            "Test loss, mean of nodes",
            number(summary.loss.final_mean),
            f"best {number(summary.loss.best_mean)}",
        ),
        ("Rounds per node", number(rounds.mean), least_most),
        ("Sent", size(traffic.bytes_sent), f"{number(traffic.fragments_sent)} fragments"),
        ("Dropped stale", fraction(made), f"{number(traffic.fragments_dropped_stale)} fragments"),
        ("Emulated time", seconds(summary.emulated_s), f"in {seconds(summary.wall_s)} of wall time"),
    ]


def _details(summary: Summary) -> list[tuple[str, str]]:
    times = [
        (f"Time to {summary.metric} {target}", "not reached" if t is None else f"{seconds(t)} (emulated)")
        for target, t in summary.time_to.items()
    ]
    return [
        ("Algorithm", summary.algorithm or "–"),
        ("Task", summary.task or "–"),
        ("Data", summary.data or "–"),
        ("Nodes", f"{summary.nodes}, of which {summary.stragglers} stragglers"),
        ("Seed", number(summary.seed)),
        *times,
        (f"Best {summary.metric}, mean of nodes", score(task_score(summary).best_mean, summary.metric)),
        ("Fragments received", number(summary.traffic.fragments_received)),
        ("Bytes received", size(summary.traffic.bytes_received)),
        ("Frames rejected", number(summary.traffic.frames_rejected)),
        *_rare(summary.traffic),
        ("Dilation", "–" if summary.dilation is None else f"{summary.dilation:g} wall s per emulated s"),
        ("Delay backend", summary.delay_backend or "–"),
        ("Switch", summary.switch or "–"),
        ("Start-up", seconds(summary.startup_s)),
        ("Teardown", seconds(summary.teardown_s)),
        ("Memory per agent", "–" if summary.agent_memory_mb is None else f"{summary.agent_memory_mb:.1f} MB"),
    ]


def _rare(traffic: TrafficSummary) -> list[tuple[str, str]]:
    """What hardly ever happens, where it did."""
    counts = (
        ("Frames with infinite values or NaN", traffic.frames_not_finite),
        ("Connections closed before a HELLO", traffic.strangers_closed),
        ("Waits for a file descriptor", traffic.descriptor_shortages),
    )
    return [(what, number(count)) for what, count in counts if count]


def _exchange_rows(summary: Summary) -> list[tuple[str, ...]]:
    """(class, nodes, staleness, age, copies per parameter and round, share dropped, rounds)"""
    return [
        (
            name,
            str(exchange.nodes),
            seconds(exchange.staleness_s),
            seconds(exchange.age_s),
            number(None if exchange.copies_per_round is None else float(f"{exchange.copies_per_round:.3g}")),
            fraction(exchange.dropped_share),
            number(exchange.rounds),
        )
        for name, exchange in summary.exchange.items()
    ]


def _node_table(collected: Collected, scores: Scores) -> list[dict[str, str]]:
    metric, _ = task_metric(collected.experiment)
    return [_node_cells(node, scores, metric) for node in collected.nodes.values()]


def _node_cells(node: NodeRecords, scores: Scores, metric: str) -> dict[str, str]:
    last = node.snapshots[-1].get("instant") if node.snapshots else None
    counters, end = node.counters(), node.end
    counted = asdict(counters) if counters is not None else {}
    return {
        "name": node.name,
        "straggler": "straggler" if node.straggler else "",
        "score": score(None if last is None else scores.value(node.name, last, metric), metric),
        "loss": number(None if last is None else scores.value(node.name, last, "loss")),
        "rounds": number(len(node.rounds)),
        "steps": number(node.steps()),
        "sent": size(counted.get("bytes_sent")),
        "received": size(counted.get("bytes_received")),
        "dropped": number(counted.get("fragments_dropped_stale")),
        "overruns": number(counted.get("overruns")),
        "late": seconds(counted.get("late_s")),
        "waited": seconds(counted.get("waited_s")),
        "one_way": _one_way(end),
        "cpu": seconds(end.get("cpu_s") if end else None),
        "end": str((end and end.get("reason")) or ("no end recorded" if node.ready else "never ready")),
    }


def _one_way(end: End | None) -> str:
    """Mean over all senders' frames, and the longest."""
    times = list((end.get("one_way_s") or {}).values()) if end else []
    if not times:
        return "–"
    return (
        f"{seconds(fmean(mean for _, mean, _ in times))} / {seconds(max(largest for *_, largest in times))}"
    )


def _link_cells(row: LinkRow) -> dict[str, Any]:
    return {
        "name": f"{row.a} – {row.b}",
        "straggler": row.straggler,
        "asked_rate": _both(rate(row.asked_ab_bandwidth_bps), rate(row.asked_ba_bandwidth_bps)),
        "asked_delay": _both(seconds(row.asked_ab_delay_s), seconds(row.asked_ba_delay_s)),
        "probed_rate": _both(rate(row.probed_ab_bandwidth_bps), rate(row.probed_ba_bandwidth_bps)),
        "probed_delay": _both(seconds(row.probed_ab_delay_s), seconds(row.probed_ba_delay_s)),
        "peak_ab": rate(row.peak_ab_bps),
        "peak_ba": rate(row.peak_ba_bps),
        "bytes_ab": size(row.bytes_ab),
        "bytes_ba": size(row.bytes_ba),
        "drops": _both(number(row.drops_ab), number(row.drops_ba), always=True),
        "backlog": _both(size(row.backlog_peak_ab_bytes), size(row.backlog_peak_ba_bytes), always=True),
    }


def _event_cells(number: int, event: Applied) -> dict[str, str]:
    return {
        "number": str(number),
        "at": seconds(event.planned_s),
        "late": f"{1e3 * event.late_s:.1f} ms",
        "text": event.text,
    }


def _probe_text(collected: Collected) -> str | None:
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


def _both(a: str, b: str, *, always: bool = False) -> str:
    """Both directions in one cell; only once if they are the same."""
    return a if a == b and (not always or a == "–") else f"{a} / {b}"


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Everything that has no section of its own."""
    elsewhere = {"hosts", "switches", "labels", "links", "branches", "partition", "versions", "command"}
    rows = [(key, _plain(key, value)) for key, value in environment.items() if key not in elsewhere]
    versions = environment.get("versions")
    return rows + (
        [(key, str(value)) for key, value in versions.items()] if isinstance(versions, dict) else []
    )


def _plain(key: str, value: Any) -> str:
    if key == "memory_bytes":
        return size(value)
    if key == "step_wall_s":
        return seconds(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _text_of(run: RunDirectory) -> str:
    return run.experiment.read_text(errors="replace")


def _command(environment: Mapping[str, Any]) -> str | None:
    command = environment.get("command")
    return shlex.join(map(str, command)) if isinstance(command, list) and command else None
