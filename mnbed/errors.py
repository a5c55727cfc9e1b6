"""Every error mnbed reports to its user, with the exit status it maps to.

This module imports nothing. `cli.py` catches MnbedError in one place and prints it without a traceback.

    MnbedError            exit status
      RunError            1    the run failed
      InputError          2    the input is wrong
      MachineError        3    this machine cannot do it
      Interrupted       130    Ctrl-C or SIGTERM
"""

from __future__ import annotations


class MnbedError(Exception):
    """Base of all errors meant for the user: one clear message and, where there is one, a remedy."""

    exit_status = 1

    def __init__(self, message: str, remedy: str | None = None, agent_traceback: str | None = None) -> None:
        """`agent_traceback`: where in an agent's process it happened; shown with --debug."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.agent_traceback = agent_traceback

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class RunError(MnbedError):
    """The run started and failed."""

    exit_status = 1


class InputError(MnbedError):
    """What the user wrote is wrong: the message names file, key, value and what is allowed."""

    exit_status = 2


class MachineError(MnbedError):
    """This machine cannot do what was asked: the remedy says what to install or change."""

    exit_status = 3


class Interrupted(MnbedError):
    """The user stopped the run; everything collected so far has been kept."""

    exit_status = 130


_BY_STATUS: dict[int, type[MnbedError]] = {
    kind.exit_status: kind for kind in (RunError, InputError, MachineError, Interrupted)
}


def error_from(
    exit_status: int, message: str, remedy: str | None = None, agent_traceback: str | None = None
) -> MnbedError:
    """An error that another process reported, by the exit status that it is to end mnbed with; else a RunError."""
    return _BY_STATUS.get(exit_status, RunError)(message, remedy, agent_traceback)
