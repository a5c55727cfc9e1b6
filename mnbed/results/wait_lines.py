"""Lines of the report that say how long nodes waited for others."""

from __future__ import annotations

from collections.abc import Sequence

from mnbed.results.summary import NodeWait, WaitSummary
from mnbed.results.text import fraction, seconds

_MAX_WAITS = 12
_MAX_NAMES = 4


def wait_lines(waits: WaitSummary) -> list[str]:
    """A line for all nodes, and one for each that waited most of its time or stood still; empty if there is none."""
    if not waits.nodes:
        return []
    lines = [f"nodes waited for others' models {fraction(waits.mean_share)} of their time on average"]
    lines += [_line(wait) for wait in waits.nodes[:_MAX_WAITS]]
    if len(waits.nodes) > _MAX_WAITS:
        lines.append(f"{len(waits.nodes) - _MAX_WAITS} more nodes: summary.json, `waits`")
    return lines


def _line(wait: NodeWait) -> str:
    text = f"{wait.node}: {seconds(wait.waited_s)}, {fraction(wait.share)} of its time"
    if wait.waited_for:
        text += f", for {_listed(wait.waited_for)}"
    if wait.since_s is not None:
        text += f"; from {seconds(wait.since_s)} to the end of the run"
    if wait.last_round_s is not None:
        text += f"; last round at {seconds(wait.last_round_s)}"
    return text + ("; it stood still" if wait.stands_still else "")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else shown
