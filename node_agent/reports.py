"""What a process of ours that has failed tells the controller."""

from __future__ import annotations

import traceback

from node_agent import control_messages as messages


def report_of(error: BaseException) -> messages.Report:
    """The fields of an `error` message. Call this while the error is being handled."""
    remedy = getattr(error, "remedy", None)
    if isinstance(error, ImportError):
        remedy = "run install.sh, which installs what is missing"
    return {
        "message": str(error) or type(error).__name__,
        "remedy": remedy,
        "exit_status": 3 if remedy else 2 if isinstance(error, ValueError) else 1,
        "traceback": traceback.format_exc(),
    }
