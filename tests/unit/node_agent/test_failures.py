"""What the controller receives when an algorithm has a bug: in a real agent, at each place where its code runs.

And how a process ended, in words.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node_agent.control_messages import Failed
from node_agent.failures import end_in_words
from node_agent.journal import read_journal
from tests.unit.node_agent.real_agents import real_agents

SOURCE = '''"""Sends to everybody, and fails at {stage}."""

from dataclasses import dataclass

from node_agent.algorithms import Aggregated, Algorithm, AlgorithmSettings, Outbox, Send

FAILS_AT = "{stage}"


def fail_at(stage):
    if stage == FAILS_AT:
        undefined_name


fail_at("import")


class Mine(Algorithm):
    @dataclass(frozen=True, kw_only=True)
    class Settings(AlgorithmSettings):
        pass

    def __init__(self, settings, context):
        super().__init__(settings, context)
        fail_at("__init__")

    def before_local_phase(self, values, now_s):
        fail_at("before_local_phase")
        return Aggregated(of=[], mean_age_s=None)

    def after_local_phase(self, round, values):
        payloads = [memoryview(values.tobytes())]
        sends = [Send(peer, 0) for peer in self.context.peers]
        return Outbox(
            round=round, permutation_seed=0, num_fragments=1, payloads=payloads, sends=sends, replace_unsent=True
        )

    def on_fragment(self, fragment):
        fail_at("on_fragment")
'''


def failure_at(stage: str, folder: Path) -> Failed:
    """What the first of two agents reports when its algorithm fails there."""
    module = folder / "mine.py"
    module.write_text(SOURCE.format(stage=stage))
    with real_agents(folder, 2, {"name": "mine", "module": str(module)}) as agents:
        agents.wait_until(lambda: bool(agents.failed))
        failed = agents.failed[0]
        # It tells the controller first, and its journal then.
        name = failed["message"].split(":")[0]
        agents.wait_until(lambda: agents.has_ended(name))
        return failed


@pytest.mark.parametrize("stage", ["__init__", "before_local_phase", "on_fragment"])
def test_a_bug_is_reported_with_type_file_line_and_log(tmp_path: Path, stage: str) -> None:
    failed = failure_at(stage, tmp_path)
    line = 1 + SOURCE.splitlines().index("        undefined_name")
    assert failed["exit_status"] == 1
    name = failed["message"].split(":")[0]
    assert failed["message"] == (
        f"{name}: NameError: name 'undefined_name' is not defined ({tmp_path}/mine.py:{line}, in fail_at); "
        f"see {tmp_path}/nodes/{name}.log"
    )
    assert f"in {stage}\n" in failed["traceback"]
    if stage != "__init__":
        errors = [
            record
            for record in read_journal(tmp_path / "nodes" / f"{name}.jsonl")
            if record["event"] == "error"
        ]
        assert errors[0]["message"] == failed["message"]


def test_a_bug_at_import_names_file_and_line(tmp_path: Path) -> None:
    failed = failure_at("import", tmp_path)
    line = 1 + SOURCE.splitlines().index("        undefined_name")
    assert f"{tmp_path}/mine.py:{line}: NameError: name 'undefined_name' is not defined" in failed["message"]
    assert failed["message"].endswith(".log")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("pass", "exited with status 0"),
        ("sys.exit(7)", "exited with status 7"),
        (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", "was killed by SIGKILL"),
        # It has no name of its own.
        (f"os.kill(os.getpid(), {int(signal.SIGRTMIN) + 1})", f"was killed by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: str, words: str) -> None:
    ended = subprocess.run([sys.executable, "-S", "-c", f"import os, sys; {code}"], check=False)
    assert end_in_words(ended.returncode) == words
