"""The style of every figure, and how it gets into the page and into plots/.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers can distinguish; a group
has the same colour in every figure. In the page, ink and group colours become CSS variables that follow
light and dark mode. matplotlib is imported inside functions, and pyplot not at all: it takes half a second
and keeps global state.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHERS = "#0072b2"
STRAGGLERS = "#d55e00"
AVERAGED = "#009e73"
DROPPED = "#cc79a7"
INK = "#1b1d21"
MUTED = "#6b7078"
GRID = "#d9dbdf"
PAPER = "#fefefe"

# Colours by their names in the page's style sheet.
_VARIABLES = {
    OTHERS: "var(--others)",
    STRAGGLERS: "var(--stragglers)",
    AVERAGED: "var(--averaged)",
    DROPPED: "var(--dropped)",
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
}
_PNG_DPI = 110

_SETTINGS: Any = {
    # Text stays text: it can be searched, takes the page's font, and needs no glyph outlines.
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
}


@contextmanager
def style() -> Iterator[None]:
    """A context in which figures are made and saved: matplotlib's defaults, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float = 7.2, height: float = 3.6, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of that size in inches, and its axes from top to bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, 1, squeeze=False)
    return figure, [row[0] for row in axes]


def save(figure: Figure, name: str, folder: Path) -> str:
    """Write plots/<name>.svg and .png; returns the SVG to put into the page."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        # No date: the same run gives the same file.
        figure.savefig(text, format="svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=_PNG_DPI)
    svg = text.getvalue()
    (folder / f"{name}.svg").write_text(svg)
    return _inline(svg, name)


def _inline(svg: str, name: str) -> str:
    """The <svg> element alone, with the page's colours and width, and ids that no other figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) ?width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) ?height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg
