"""Every process of a run may open as many files as the plan says, whatever the limit of the user's shell."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.plan import feasible
from tests.system.conftest import Cli, agent_pid

pytestmark = [pytest.mark.root]

_SHELL_LIMIT = 100


@pytest.fixture(autouse=True)
def _a_shell_with_few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_SHELL_LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("launch", ["prefork", "exec"])
def test_agents_are_born_with_the_limit_that_they_need(cli: Cli, launch: str) -> None:
    process = cli.start_run(f"agents.launch={launch}")
    run = cli.wait_for_round()
    limits = Path(f"/proc/{agent_pid(run, 'h1')}/limits").read_text()
    assert cli.finish(process).returncode == 0
    found = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
    assert found is not None
    assert int(found[1]) >= feasible.open_files(4, 1, 3) > _SHELL_LIMIT
