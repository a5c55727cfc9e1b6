"""The drawing of the emulated network: hosts, switches, stragglers, and links as wide as their bandwidth.

A tree (such as a star) is drawn with its centre in the middle and each branch in its own sector, so that no links
cross; in any other graph, switches are placed by distance or by forces, with their hosts around them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from mnbed.results.links import LinkRow
from mnbed.results.plot_style import GRID, INK, MUTED, OTHERS, PAPER, STRAGGLERS, new_figure
from mnbed.results.plots import RunData
from mnbed.results.text import rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]

_MIN_WIDTH, _MAX_WIDTH = 0.8, 4.0
# With more links than this, thick lines would fill the drawing.
_MANY_LINKS = 24
# With more nodes than this, names would hide the drawing.
_MAX_NAMES = 90
# Placing nodes by all their distances takes time cubic in their number.
_MAX_BY_DISTANCE = 120


def network(data: RunData) -> Figure | None:
    """The network of hosts and switches; None if the environment has no links."""
    links = data.collected.links
    if not links:
        return None
    title = data.title("The emulated network")
    return draw_network(title, links, set(data.collected.nodes), set(data.collected.stragglers()))


def draw_network(
    title: str,
    links: Sequence[LinkRow],
    hosts: Set[str],
    stragglers: Set[str],
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Hosts and switches in different shapes, links as wide as their bandwidth; readable up to a few hundred nodes.

    labels: node -> text below it.
    """
    import networkx as nx

    graph = nx.Graph((link.a, link.b) for link in links)
    places = _tree_layout(graph) if nx.is_tree(graph) else _meshed_layout(graph, hosts)
    side = min(11.0, 4.2 + 0.06 * len(graph))
    figure, (axes,) = new_figure(width=max(7.2, side), height=side)
    _draw_links(axes, links, places)
    _draw_nodes(axes, hosts, stragglers, places, labels or {})
    axes.set_title(title)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.axis("off")
    _legend(axes, links)
    return figure


def _tree_layout(graph: Any) -> dict[str, Point]:
    """Every node in the middle of a sector as wide as its share of leaves, one ring further out than its parent."""
    import networkx as nx

    centre = nx.center(graph)[0]
    children = {node: list(graph_children) for node, graph_children in nx.bfs_successors(graph, centre)}
    leaves: dict[str, int] = {}
    for node in reversed([centre, *(child for siblings in children.values() for child in siblings)]):
        leaves[node] = sum(leaves[child] for child in children.get(node, ())) or 1
    places: dict[str, Point] = {centre: (0.0, 0.0)}
    # (node, ring, first angle, last angle)
    waiting = [(centre, 0, math.pi / 2, math.pi / 2 - 2 * math.pi)]
    while waiting:
        node, ring, begin, end = waiting.pop()
        per_leaf = (end - begin) / leaves[node]
        for child in children.get(node, ()):
            share = per_leaf * leaves[child]
            angle = begin + share / 2
            places[child] = ((ring + 1) * math.cos(angle), (ring + 1) * math.sin(angle))
            waiting.append((child, ring + 1, begin, begin + share))
            begin += share
    return places


def _meshed_layout(graph: Any, hosts: Set[str]) -> dict[str, Point]:
    """Switches by their distances, or by forces if there are many; hosts in a fan on the outside of their switch."""
    import networkx as nx

    core = graph.subgraph([node for node in graph if node not in hosts])
    if len(core) <= _MAX_BY_DISTANCE:
        layout = nx.kamada_kawai_layout(core)
    else:
        # A fixed seed, so that the same network looks the same in every report.
        layout = nx.spring_layout(core, seed=1, iterations=150, k=2.2 / math.sqrt(len(core)))
    places = {node: (float(x), float(y)) for node, (x, y) in layout.items()}
    away = _shortest(places, core) * 0.55
    for switch, (x, y) in list(places.items()):
        mine = [node for node in graph.neighbors(switch) if node in hosts]
        outward = math.atan2(y, x) if math.hypot(x, y) > 1e-6 else math.pi / 2
        width = min(2 * math.pi * (1 - 1 / max(1, len(mine))), 0.5 * len(mine)) if len(mine) > 1 else 0.0
        for number, host in enumerate(mine):
            share = 0.0 if len(mine) == 1 else number / (len(mine) - 1) - 0.5
            angle = outward + width * share
            places[host] = (x + away * math.cos(angle), y + away * math.sin(angle))
    return places


def _shortest(places: Mapping[str, Point], core: Any) -> float:
    """Length of a typical short link between switches, so that hosts stay closer to their own switch."""
    lengths = sorted(math.dist(places[a], places[b]) for a, b in core.edges)
    return lengths[len(lengths) // 10] if lengths else 1.0


def _width(bandwidth_bps: float, links: Sequence[LinkRow]) -> float:
    """Line width, logarithmic in the bandwidth: links often differ by orders of magnitude."""
    known = _bandwidths(links)
    if not bandwidth_bps or len(known) < 2:
        return 1.5
    thick = _MAX_WIDTH if len(links) <= _MANY_LINKS else _MAX_WIDTH / 2
    share = math.log(bandwidth_bps / known[0]) / math.log(known[-1] / known[0])
    return _MIN_WIDTH + (thick - _MIN_WIDTH) * share


def _bandwidths(links: Sequence[LinkRow]) -> list[float]:
    return sorted({rate for link in links if (rate := _bandwidth(link))})


def _bandwidth(link: LinkRow) -> float:
    """Bandwidth of the faster direction."""
    return max(link.asked_ab_bandwidth_bps or 0.0, link.asked_ba_bandwidth_bps or 0.0)


def _draw_links(axes: Axes, links: Sequence[LinkRow], places: dict[str, Point]) -> None:
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        [(places[link.a], places[link.b]) for link in links],
        linewidths=[_width(_bandwidth(link), links) for link in links],
        colors=[STRAGGLERS if link.straggler else MUTED for link in links],
        alpha=0.55,
        zorder=1,
    )
    axes.add_collection(lines)


def _draw_nodes(
    axes: Axes,
    hosts: Set[str],
    slow: Set[str],
    places: dict[str, Point],
    labels: Mapping[str, str],
) -> None:
    size = 330 if len(places) <= 40 else 230 if len(places) <= _MAX_NAMES else 60
    font = 8.5 if len(places) <= 40 else 7.5
    kinds = (
        ([node for node in places if node not in hosts], "s", GRID, INK),
        ([node for node in places if node in hosts and node not in slow], "o", OTHERS, PAPER),
        ([node for node in places if node in slow], "D", STRAGGLERS, PAPER),
    )
    for nodes, marker, colour, ink in kinds:
        if not nodes:
            continue
        x, y = zip(*(places[node] for node in nodes), strict=True)
        # A diamond of the same area has less room for text.
        area = size * (1.15 if marker == "D" else 1.0)
        axes.scatter(x, y, area, color=colour, marker=marker, edgecolors=PAPER, linewidths=1, zorder=2)
        if len(places) <= _MAX_NAMES:
            for node in nodes:
                axes.text(*places[node], node, ha="center", va="center", color=ink, fontsize=font, zorder=3)
        for node in nodes:
            if node in labels and len(labels) <= _MAX_NAMES:
                axes.annotate(
                    labels[node],
                    places[node],
                    textcoords="offset points",
                    xytext=(0, -math.sqrt(size) * 0.75),
                    ha="center",
                    va="top",
                    fontsize=font * 0.85,
                    color=MUTED,
                    zorder=4,
                )


def _legend(axes: Axes, links: Sequence[LinkRow]) -> None:
    from matplotlib.lines import Line2D

    def dot(marker: str, colour: str, label: str) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=8, label=label)

    handles = [dot("o", OTHERS, "host"), dot("s", GRID, "switch")]
    if any(link.straggler for link in links):
        handles.insert(1, dot("D", STRAGGLERS, "straggler"))
    known = _bandwidths(links)
    for bandwidth in dict.fromkeys([*known[:1], *known[-1:]]):
        width = _width(bandwidth, links)
        handles.append(Line2D([], [], color=MUTED, linewidth=width, label=rate(bandwidth)))
    axes.legend(handles=handles, ncols=len(handles), loc="upper center", bbox_to_anchor=(0.5, 0.0))
