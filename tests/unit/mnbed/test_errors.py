"""What another process reports as an error is that error here."""

from __future__ import annotations

import pytest

from mnbed.errors import InputError, Interrupted, MachineError, MnbedError, RunError, error_from


@pytest.mark.parametrize("kind", [RunError, InputError, MachineError, Interrupted])
def test_an_error_survives_the_way_from_another_process(kind: type[MnbedError]) -> None:
    error = error_from(kind.exit_status, "no data", "get some", "File x")
    assert type(error) is kind
    assert (error.message, error.remedy, error.agent_traceback) == ("no data", "get some", "File x")


@pytest.mark.parametrize("status", [0, -9, 4, 255])
def test_a_status_that_means_nothing_here_is_a_run_that_failed(status: int) -> None:
    assert type(error_from(status, "lost")) is RunError
