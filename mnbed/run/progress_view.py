"""What the user sees during a run: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mnbed.results.fidelity import MAX_LATENESS_SHARE, MAX_OVERRUN_SHARE
from mnbed.run.agent_state import AgentState
from node_agent.control_messages import Status

# Between two plain lines: the log of an hour-long run stays readable.
_LINE_EVERY_S = 5.0
# Fewer local steps than this, over all nodes, are not enough to judge by.
_MIN_STEPS_TO_JUDGE = 100
# More rows than this do not fit a screen; the slowest nodes are shown.
_MAX_ROWS = 24


class LiveView:
    """Shows phase, times, progress and every node's state."""

    def __init__(self, console: Console, duration_s: float) -> None:
        self._console = console
        self._duration_s = duration_s
        self._phase = ""
        self._started = time.monotonic()
        self._last_line = 0.0
        self._emulated_s: Callable[[], float] | None = None
        self._agents: Mapping[str, AgentState] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("", total=None)
        self._live: Live | None = None
        self._doubted = False

    def __enter__(self) -> LiveView:
        self._started = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
            )
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)
            self._live = None

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Leave the terminal to someone else for a while."""
        live = self._live
        if live is not None:
            live.stop()
        try:
            yield
        finally:
            if live is not None:
                live.start()

    def phase(self, name: str) -> None:
        """Show that another phase of the run begins."""
        self._phase = name
        self._last_line = time.monotonic()
        self._progress.reset(self._bar, description=name, total=None, start=True)
        self._console.print(f"[dim]{time.monotonic() - self._started:7.1f} s[/dim]  {name}", highlight=False)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(f"           {text}", highlight=False, markup=False)

    def watch(self, agents: Mapping[str, AgentState], emulated_s: Callable[[], float]) -> None:
        """Show these agents from now on."""
        self._agents, self._emulated_s = agents, emulated_s

    def unwatch(self) -> None:
        """Stop showing agents."""
        self._emulated_s = None

    def progress(self, done: float, total: float) -> None:
        """Show how much of the phase is done."""
        self._progress.update(self._bar, completed=done, total=total)
        self._line(lambda: f"{self._phase}: {done:.0f} of {total:.0f}")

    def update(self) -> None:
        """Show what has changed; call this often."""
        if self._emulated_s is None:
            return
        now = min(max(self._emulated_s(), 0.0), self._duration_s)
        self._progress.update(self._bar, completed=now, total=self._duration_s)
        self._line(lambda: f"emulated {now:.0f} of {self._duration_s:.0f} s, {self._totals()}")
        if not self._doubted and (doubt := self.doubt()) is not None:
            self._doubted = True
            self._console.print(f"           [yellow]warning[/yellow]: {doubt}", highlight=False)

    def doubt(self) -> str | None:
        """Why the verdict will be `degraded` if the run goes on like this; None if there is no sign of it.

        Printed once, when it first appears, and shown beside the totals as long as it holds.
        """
        statuses = self._statuses()
        counters = [status["counters"] for status in statuses]
        steps = sum(status["steps"] for status in statuses)
        elapsed_s = sum(status["t"] or 0.0 for status in statuses)
        if steps < _MIN_STEPS_TO_JUDGE or elapsed_s <= 0:
            return None
        overran = sum(totals["overruns"] for totals in counters) / steps
        # A node that an event paused has one long overrun, which says nothing about the machine.
        late = sum(totals["late_s"] - totals["late_max_s"] for totals in counters) / elapsed_s
        if overran <= MAX_OVERRUN_SHARE and late <= MAX_LATENESS_SHARE:
            return None
        return (
            f"the run is degrading: {overran:.0%} of the local steps took longer than step_time, {late:.0%} of the "
            "time was lost; this machine cannot keep up: raise time.dilation, or end other programs"
        )

    def _line(self, text: Callable[[], str]) -> None:
        if self._live is None and time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.note(text())

    def _statuses(self) -> list[Status]:
        return [agent.status for agent in self._agents.values() if agent.status]

    def _totals(self) -> str:
        statuses = self._statuses()
        losses = [status["train_loss"] for status in statuses if status["train_loss"] is not None]
        rounds = [status["round"] for status in statuses] or [0]
        counters = [status["counters"] for status in statuses]
        text = f"rounds {min(rounds)}-{max(rounds)}"
        if losses:
            text += f", train loss {sum(losses) / len(losses):.3f}"
        text += f", sent {sum(totals['bytes_sent'] for totals in counters) / 1e6:.1f} MB"
        text += f", dropped {sum(totals['fragments_dropped_stale'] for totals in counters)} stale fragments"
        text += f", {sum(totals['overruns'] for totals in counters)} overruns"
        dead = [agent.name for agent in self._agents.values() if agent.failure is not None]
        return text + (f", dead: {', '.join(dead)}" if dead else "")

    def _render(self) -> Group:
        if self._emulated_s is None or not self._statuses():
            return Group(self._progress)
        now = max(self._emulated_s(), 0.0)
        wall = time.monotonic() - self._started
        times = f"emulated {min(now, self._duration_s):.1f} of {self._duration_s:.0f} s, wall {wall:.0f} s"
        doubt = self.doubt()
        warning = [Text(doubt, style="yellow")] if doubt is not None else []
        return Group(self._table(), f"{times}, {self._totals()}", *warning, self._progress)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("node", "round", "train loss", "sent MB", "received MB", "dropped", "overruns"):
            table.add_column(column, justify="left" if column == "node" else "right")
        agents = [(agent, agent.status) for agent in self._agents.values() if agent.status]
        shown = (
            sorted(agents, key=lambda known: known[1]["steps"])[:_MAX_ROWS]
            if len(agents) > _MAX_ROWS
            else agents
        )
        for agent, status in shown:
            counters, loss = status["counters"], status["train_loss"]
            table.add_row(
                agent.name + (" [red]dead[/red]" if agent.failure is not None else ""),
                str(status["round"]),
                "" if loss is None else f"{loss:.3f}",
                f"{counters['bytes_sent'] / 1e6:.1f}",
                f"{counters['bytes_received'] / 1e6:.1f}",
                str(counters["fragments_dropped_stale"]),
                str(counters["overruns"]),
            )
        if len(agents) > len(shown):
            table.caption = f"the {len(shown)} of {len(agents)} nodes that are furthest behind"
        return table
