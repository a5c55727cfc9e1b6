"""What the user sees during a run: a warning that it is degrading comes while something can be done about it."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from mnbed.run.agent_state import AgentState
from mnbed.run.progress_view import LiveView
from tests.fakes_run import status_of


def agents(num_steps: int, **counted: float) -> dict[str, AgentState]:
    """Two nodes after ten emulated seconds."""
    return {name: AgentState(name, status=status_of(num_steps, **counted)) for name in ("h1", "h2")}


def shown(states: dict[str, AgentState], *, terminal: bool = False) -> str:
    """What two updates write."""
    file = StringIO()
    console = Console(file=file, width=400, force_terminal=terminal)
    with LiveView(console, 60.0) as view:
        view.watch(states, lambda: 10.0)
        view.update()
        view.update()
    return file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_degrading_run_says_so_once_while_it_runs(terminal: bool) -> None:
    text = shown(agents(500, overruns=200, late_s=1.0, late_max_s=0.1), terminal=terminal)
    assert "the run is degrading: 40% of the local steps took longer than step_time, 9% of the time" in text
    assert "raise time.dilation" in text
    if not terminal:
        assert text.count("degrading") == 1


@pytest.mark.parametrize(
    "states",
    [
        agents(500, overruns=20, late_s=0.1),
        agents(5, overruns=5, late_s=5.0),  # too early to tell
        agents(500, overruns=1, late_s=5.01, late_max_s=5.0),  # an event had paused them
        agents(0),
    ],
)
def test_a_run_that_keeps_up_is_left_in_peace(states: dict[str, AgentState]) -> None:
    assert "degrading" not in shown(states)


def test_many_short_overruns_that_add_up_are_reported_too() -> None:
    assert "degrading: 4% of the local steps" in shown(agents(500, overruns=20, late_s=0.8, late_max_s=0.1))
