"""What a failed agent reports: what happened, where, and which file says more. And how a process ended, in words."""

from __future__ import annotations

import signal
import traceback
from pathlib import Path


def in_words(error: BaseException, *, name: str, module: str | None, log: Path) -> str:
    """One line for the user. `module`: a user's own algorithm, whose lines say more than those of what it called.

    An error that is meant for users (one with an exit status) speaks for itself; anything else is a bug, and is
    reported with its type, the place where it was raised, and the agent's log.
    """
    text = " ".join(str(error).split())
    if hasattr(error, "exit_status"):
        return f"{name}: {text or type(error).__name__}"
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{name}: {what}{_place(error, module)}; see {log}"


def end_in_words(status: int) -> str:
    """ "exited with status 1"; of a negative status, which is the signal that ended it, "was killed by SIGKILL"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-status}"


def _place(error: BaseException, module: str | None) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if module is not None and frame.filename == module]
    chosen = own or list(frames)
    if not chosen:
        return ""
    frame = chosen[-1]
    return f" ({frame.filename}:{frame.lineno}, in {frame.name})"
