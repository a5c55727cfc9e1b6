"""What a failed agent reports: what happened, where, and which file says more."""

from __future__ import annotations

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


def _place(error: BaseException, module: str | None) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if module is not None and frame.filename == module]
    chosen = own or list(frames)
    if not chosen:
        return ""
    frame = chosen[-1]
    return f" ({frame.filename}:{frame.lineno}, in {frame.name})"
