"""One function per figure: from a collected run and its scores to a matplotlib figure, or None without data.

The figure of the network is in network_plot.py. To add one, write it and list it in `report.SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from mnbed.results.collect import Collected, NodeRecords
from mnbed.results.evidence import applied, machine_samples
from mnbed.results.exchange import task_metric
from mnbed.results.fidelity import MAX_RUN_DELAY, SATURATED
from mnbed.results.journals import time_of
from mnbed.results.messages import FragmentLife
from mnbed.results.plot_style import AVERAGED, DROPPED, INK, MUTED, OTHERS, PAPER, STRAGGLERS, new_figure
from mnbed.results.scores import MEAN_MODEL, Scores
from mnbed.units import format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIME_LABEL = "emulated time (s)"
# Size in inches of a figure as wide as the page, so that text has the same size in all.
WIDE = 14.8
# Points of a curve over rounds: more cannot be seen at this width and would only make the page larger.
_MAX_BINS = 80
# More numbers than this would overlap.
_MAX_NUMBERED_EVENTS = 30
# Events closer than this share of the axis share a number.
_SAME_PLACE = 0.012
# Names of nodes below bars.
_MAX_TICKS = 32


@dataclass(frozen=True)
class Group:
    """Nodes drawn in the same style."""

    label: str
    colour: str
    nodes: tuple[NodeRecords, ...]


@dataclass(frozen=True)
class RunData:
    """The data of all figures."""

    collected: Collected
    scores: Scores
    standin: bool = False

    def groups(self) -> list[Group]:
        """Stragglers and others separately; empty groups are left out."""
        nodes = self.collected.nodes.values()
        slow = tuple(node for node in nodes if node.straggler)
        others = tuple(node for node in nodes if not node.straggler)
        label = "others" if slow else "nodes"
        groups = [Group(label, OTHERS, others), Group("stragglers", STRAGGLERS, slow)]
        return [group for group in groups if group.nodes]

    def title(self, text: str) -> str:
        """A figure's title, marked if the data is a stand-in."""
        return f"{text} (stand-in data)" if self.standin else text


def accuracy(data: RunData) -> Figure | None:
    """The score by which the task is compared, accuracy or another, against emulated time."""
    metric, _ = task_metric(data.collected.experiment)
    if metric == "accuracy":
        return _score(data, "accuracy", "Test accuracy", "accuracy (fraction)")
    return _score(data, metric, f"Test {metric.upper()}", metric.upper())


def loss(data: RunData) -> Figure | None:
    """Test loss against emulated time."""
    return _score(data, "loss", "Test loss", "loss")


def _score(data: RunData, key: str, title: str, label: str) -> Figure | None:
    if not data.scores.curve(key, data.collected.nodes.keys()).t:
        return None
    figure, (axes,) = new_figure()
    for group in data.groups():
        curve = data.scores.curve(key, {node.name for node in group.nodes})
        _band(
            axes,
            curve.t,
            curve.mean,
            [mean - std for mean, std in zip(curve.mean, curve.std, strict=True)],
            [mean + std for mean, std in zip(curve.mean, curve.std, strict=True)],
            group.colour,
            f"{group.label} ({len(group.nodes)}): mean ± std",
        )
    averaged = data.scores.curve(key, {MEAN_MODEL})
    axes.plot(averaged.t, averaged.mean, color=AVERAGED, linestyle=(0, (4, 2)), label="averaged model")
    _label(axes, data.title(f"{title} against emulated time"), TIME_LABEL, label, legend_above=True)
    if key in ("accuracy", "loss"):
        axes.set_ylim(bottom=0)
    _mark_events(axes, data)
    return figure


def train_loss(data: RunData) -> Figure | None:
    """Training loss of each round, by group."""
    title = data.title("Training loss of the rounds")
    return _rounds_figure(data, "train_loss", title, "training loss")


def staleness(data: RunData) -> Figure | None:
    """Age of the fragments averaged in, by group."""
    title = data.title("Staleness: age of the fragments averaged in")
    return _rounds_figure(data, "staleness_s", title, "age (emulated s)")


def _rounds_figure(data: RunData, key: str, title: str, label: str) -> Figure | None:
    """Mean and range over the nodes of a value in the records of rounds."""
    figure, (axes,) = new_figure(height=3.2)
    drawn = False
    for group in data.groups():
        binned = _binned(group.nodes, key)
        if binned:
            t, mean, low, high = zip(*binned, strict=True)
            text = f"{group.label} ({len(group.nodes)}): mean and range"
            _band(axes, t, mean, low, high, group.colour, text)
            drawn = True
    if not drawn:
        return None
    _label(axes, title, TIME_LABEL, label, legend_above=True)
    axes.set_ylim(bottom=0)
    _mark_events(axes, data)
    return figure


def machine(data: RunData) -> Figure | None:
    """How busy the machine was, and how long agents waited for a core."""
    samples = [
        (t, record)
        for record in machine_samples(data.collected)
        if (t := time_of(record)) is not None and t >= 0
    ]
    series = (
        ("cpu_busy", "cores busy", OTHERS, "-", SATURATED),
        ("run_delay", "agents waiting for a core", STRAGGLERS, (0, (4, 2)), MAX_RUN_DELAY),
    )
    # `series` says by name which fields of a sample are drawn.
    fields = [(t, cast("dict[str, Any]", record)) for t, record in samples]
    if not any(record.get(key) is not None for _, record in fields for key, *_ in series):
        return None
    figure, (axes,) = new_figure(height=3.2)
    for key, label, colour, line, limit in series:
        points = [(t, record[key]) for t, record in fields if record.get(key) is not None]
        axes.plot(
            [t for t, _ in points], [value for _, value in points], color=colour, linestyle=line, label=label
        )
        axes.axhline(limit, color=colour, linewidth=0.8, linestyle=(0, (1, 3)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _label(
        axes, data.title("The machine while agents trained"), TIME_LABEL, "share of time", legend_above=True
    )
    axes.set_ylim(0, 1.02)
    _mark_events(axes, data)
    return figure


def _binned(nodes: Sequence[NodeRecords], key: str) -> list[tuple[float, float, float, float]]:
    """(time, mean, minimum, maximum over nodes) of that quantity, in at most _MAX_BINS bins of time."""
    end = max((t for node in nodes for t in _times(node)), default=0.0)
    if end <= 0:
        return []
    num_bins = min(_MAX_BINS, max(len(node.rounds) for node in nodes))
    width = end / num_bins
    bins: dict[int, dict[str, list[float]]] = {}
    for node in nodes:
        for record in node.rounds:
            t, value = time_of(record), record.get(key)
            if t is not None and isinstance(value, (int, float)):
                bins.setdefault(min(int(t / width), num_bins - 1), {}).setdefault(node.name, []).append(value)
    rows = []
    for place, per_node in sorted(bins.items()):
        means = [fmean(values) for values in per_node.values()]
        rows.append(((place + 0.5) * width, fmean(means), min(means), max(means)))
    return rows


def _times(node: NodeRecords) -> Iterator[float]:
    return (t for record in node.rounds if (t := time_of(record)) is not None)


def traffic(data: RunData) -> Figure | None:
    """Bytes and fragments of every node."""
    counted = [(node, counters) for node in data.collected.nodes.values() if (counters := node.counters())]
    if not counted:
        return None
    nodes = [node for node, _ in counted]
    figure, (top, bottom) = new_figure(width=WIDE, height=5.2, rows=2)
    sent, received = [c.bytes_sent for _, c in counted], [c.bytes_received for _, c in counted]
    _node_bars(top, nodes, [("sent", sent, None), ("received", received, "////")])
    top.yaxis.set_major_formatter(lambda value, _: format_size(value) if value else "0")
    _label(top, data.title("Traffic of each node"), "", "bytes", legend_above=True)
    fragments = [
        ("sent", [c.fragments_sent for _, c in counted], None),
        ("received", [c.fragments_received for _, c in counted], "////"),
    ]
    _node_bars(bottom, nodes, fragments, [c.fragments_dropped_stale for _, c in counted])
    _label(bottom, "Fragments of each node", "node", "fragments", legend_above=True)
    return figure


def rounds(data: RunData) -> Figure | None:
    """Finished rounds of every node."""
    nodes = list(data.collected.nodes.values())
    if not any(node.rounds for node in nodes):
        return None
    figure, (axes,) = new_figure(height=2.8)
    _node_bars(axes, nodes, [("finished rounds", [len(node.rounds) for node in nodes], None)])
    slow = bool(data.collected.stragglers())
    _label(axes, data.title("Rounds of each node"), "node", "finished rounds", legend_above=slow)
    return figure


def _node_bars(
    axes: Axes,
    nodes: Sequence[NodeRecords],
    series: Sequence[tuple[str, Sequence[float], str | None]],
    dropped: Sequence[float] | None = None,
) -> None:
    """Bars side by side for each node in its group's colour; hatches distinguish series, `dropped` has a colour."""
    from matplotlib.patches import Patch

    num_series = len(series) + (dropped is not None)
    width = 0.8 / num_series
    colours = [STRAGGLERS if node.straggler else OTHERS for node in nodes]
    legend = []
    for number, (label, values, hatch) in enumerate(series):
        places = [place - 0.4 + (number + 0.5) * width for place in range(len(nodes))]
        axes.bar(places, values, width, color=colours, hatch=hatch, edgecolor=PAPER, linewidth=0.4)
        if num_series > 1:
            legend.append(Patch(facecolor="#8a8f98", hatch=hatch, edgecolor=PAPER, label=label))
    if dropped is not None:
        places = [place - 0.4 + (num_series - 0.5) * width for place in range(len(nodes))]
        axes.bar(places, dropped, width, color=DROPPED, edgecolor=PAPER, linewidth=0.4)
        legend.append(Patch(facecolor=DROPPED, label="dropped stale"))
    if any(node.straggler for node in nodes):
        legend += [Patch(facecolor=OTHERS, label="others"), Patch(facecolor=STRAGGLERS, label="stragglers")]
    _node_ticks(axes, nodes)
    if legend:
        axes.legend(
            handles=legend, ncols=len(legend), loc="lower left", bbox_to_anchor=(0, 0.98), borderaxespad=0
        )


def _node_ticks(axes: Axes, nodes: Sequence[NodeRecords]) -> None:
    every = -(-len(nodes) // _MAX_TICKS)
    places = range(0, len(nodes), every)
    turned = len(places) > 16
    axes.set_xticks(list(places), [nodes[place].name for place in places], rotation=90 if turned else 0)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(nodes) - 0.4)


def fragment_life(data: RunData) -> Figure | None:
    """What became of the fragments that each group created."""
    life = data.collected.life
    if not life:
        return None
    totals = [
        (group, total)
        for group in data.groups()
        if (
            total := sum((life.get(node.name, FragmentLife()) for node in group.nodes), FragmentLife())
        ).created
    ]
    if not totals:
        return None
    figure, (axes,) = new_figure(height=1.5 + 0.5 * len(totals))
    for place, (group, total) in enumerate(totals):
        _life_bar(axes, place, _outcomes(total, group.colour))
    created = [f"{group.label}\n{total.created:,} created" for group, total in totals]
    axes.set_yticks(range(len(totals)), created)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _label(
        axes,
        data.title("Life of the fragments, by sender"),
        "share of the fragments created",
        "",
        legend_above=True,
    )
    _life_legend(axes)
    return figure


Outcome = tuple[int, str, float, str | None]
"""(number of fragments, colour, opacity, hatch)"""


def _life_bar(axes: Axes, place: int, outcomes: Sequence[Outcome]) -> None:
    """A bar at that place, divided by what became of the fragments."""
    num_fragments = sum(count for count, *_ in outcomes)
    left = 0.0
    for count, colour, alpha, hatch in outcomes:
        share = count / num_fragments
        axes.barh(place, share, 0.6, left=left, color=colour, alpha=alpha, hatch=hatch, edgecolor=PAPER)
        if share > 0.06:
            ink = PAPER if alpha == 1 else INK
            axes.text(
                left + share / 2, place, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=9
            )
        left += share


def _outcomes(total: FragmentLife, colour: str) -> list[Outcome]:
    """What became of a group's fragments, from best to worst."""
    lost = max(0, total.sent - total.arrived)
    waiting = max(0, total.created - total.sent - total.dropped)
    return [
        (total.aggregated, colour, 1, None),
        (max(0, total.arrived - total.aggregated), colour, 0.45, None),
        (lost, colour, 0.45, "////"),
        (total.dropped, DROPPED, 1, None),
        (waiting, "#8a8f98", 0.35, None),
    ]


def _life_legend(axes: Axes) -> None:
    from matplotlib.patches import Patch

    grey = "#8a8f98"
    handles = [
        Patch(facecolor=OTHERS, label="averaged in"),
        Patch(facecolor=OTHERS, alpha=0.45, label="arrived only"),
        Patch(facecolor=OTHERS, alpha=0.45, hatch="////", edgecolor=PAPER, label="sent only"),
        Patch(facecolor=DROPPED, label="dropped stale"),
        Patch(facecolor=grey, alpha=0.35, label="never sent"),
    ]
    _legend_above(axes, handles=handles, columnspacing=0.9, handlelength=1.2)


def partition(data: RunData) -> Figure | None:
    """How many training samples of each class, or group of users, every node has."""
    table: Any = data.collected.environment.get("partition")
    if not isinstance(table, list) or not table or not all(isinstance(row, list) and row for row in table):
        return None
    names = list(data.collected.nodes)[: len(table)]
    figure, (axes,) = new_figure(height=min(6.6, 1.8 + 0.22 * len(table)))
    image = axes.imshow(table, aspect="auto", cmap="cividis", interpolation="nearest", vmin=0)
    every = -(-len(table) // 30)
    axes.set_yticks(range(0, len(names), every), names[::every])
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("training samples")
    bar.outline.set_visible(False)
    _label(axes, data.title("Split of the training data"), "class (or group) of samples", "node")
    return figure


def _mark_events(axes: Axes, data: RunData) -> None:
    """A line at each event of the experiment, with its number in the page's table."""
    events = [event.planned_s + event.late_s for event in applied(data.collected)]
    for at in events:
        axes.axvline(at, color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)), alpha=0.8, zorder=0)
    if len(events) > _MAX_NUMBERED_EVENTS:
        return
    width = axes.get_xlim()[1] * _SAME_PLACE
    groups: list[list[int]] = []
    for number in range(len(events)):
        if groups and events[number] - events[groups[-1][0]] < width:
            groups[-1].append(number)
        else:
            groups.append([number])
    for group in groups:
        axes.annotate(
            f"{group[0] + 1}" if len(group) == 1 else f"{group[0] + 1}-{group[-1] + 1}",
            (events[group[0]], 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -1),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color=MUTED,
        )


def _band(
    axes: Axes,
    t: Sequence[float],
    mean: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    colour: str,
    label: str,
) -> None:
    axes.fill_between(t, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(t, mean, color=colour, label=label, marker="o" if len(t) <= 20 else None, markersize=3.5)


def _legend_above(axes: Axes, **options: Any) -> None:
    """A legend between title and axes, where no curve can cross it."""
    axes.legend(ncols=9, loc="lower left", bbox_to_anchor=(-0.01, 0.985), borderaxespad=0, **options)


def _label(axes: Axes, title: str, x: str, y: str, *, legend_above: bool = False) -> None:
    axes.set_title(title, pad=26 if legend_above else None)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if x == TIME_LABEL:
        axes.set_xlim(left=0)
        _legend_above(axes)
