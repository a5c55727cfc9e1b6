"""The lifecycle of a run: the order of its steps and of its clean-up, its outcome and its files, whatever fails."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnbed.errors import InputError, Interrupted, MachineError, MnbedError, RunError
from mnbed.records.controller import ControllerRecord
from mnbed.records.environment import Environment
from mnbed.run.job import Job
from tests.record_types import problems, record_problems
from tests.unit.mnbed.run.job_bench import DURATION_S, HELD, Bench

BEFORE = ["new_run", "lock", "leftovers", "create_run", "revision", "algorithm_digest", "write_environment"]
BEFORE += ["open_in_run"]
EMULATION = [
    "mark",
    "open files",
    "agents",
    "network",
    "verify",
    "write_environment",
    "join",
    "load",
    "write_environment",
    "probe",
    "launch",
    "barrier",
    "write_environment",
    "write_experiment",
    "timeline",
    "start",
    "training",
    "read back",
    "dismissal",
]
EVALUATION = ["evaluate", "results"]
# Here the first Ctrl-C is kept in mind; elsewhere it ends what is being done.
GENTLE = ("network", "training")
ONCE = [step for step in EMULATION if EMULATION.count(step) == 1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    made.put_in_place(monkeypatch)
    return made


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/runs/x/file")


def ends(*, of: list[str]) -> list[str]:
    """What is taken down, in order, where those steps had been reached."""
    held = [f"{name} ends" for name in HELD if name in of and name != "lock"]
    return [*(["no more"] if "timeline" in of else []), *held[::-1]]


def finished(bench: Bench) -> dict[str, Any]:
    """The controller's last word; what else it wrote is checked on the way."""
    journal = bench.directory / "nodes" / "controller.jsonl"
    assert record_problems(journal, ControllerRecord) == []
    environment = bench.directory / "environment.json"
    assert problems(Environment, environment.read_bytes(), environment.name) == []
    assert len(bench.records("torn_down")) == 1
    (record,) = bench.records("finished")
    return record


def test_a_run_does_one_thing_after_the_other_and_takes_them_down_in_reverse(bench: Bench) -> None:
    outcome = bench.run()
    assert bench.steps == [*BEFORE, *EMULATION, *ends(of=EMULATION), *EVALUATION, "lock ends"]
    assert outcome.error is None
    assert outcome.run.path == bench.directory
    assert outcome.summary is not None
    assert (outcome.summary.status, outcome.summary.emulated_s) == ("completed", DURATION_S)
    record = finished(bench)
    assert (record["status"], record["error"], record["reasons"]) == ("completed", None, [])
    assert (record["emulated_s"], record["agent_memory_mb"]) == (DURATION_S, 18.5)
    assert 0 < record["startup_s"] <= record["wall_s"]
    assert bench.phases == [
        "loading data and torch, building the network",
        "probing the links",
        "starting 2 agents",
        "training for 2 emulated s (2 s)",
        "tearing down the network",
        "evaluating snapshots",
        "writing results",
    ]


def test_a_run_leaves_experiment_environment_journal_tables_and_summary(bench: Bench) -> None:
    bench.run()
    environment = json.loads((bench.directory / "environment.json").read_text())
    assert (environment["links"], environment["data"], environment["standin"]) == ([], "made up", False)
    assert "data_root" in environment
    assert "name: experiment" in (bench.directory / "experiment.yaml").read_text()
    left = {path.name for path in bench.directory.iterdir() if path.is_file()}
    assert {"experiment.yaml", "environment.json", "events.jsonl", "metrics.csv", "summary.json"} <= left
    assert "report.html" not in left


@pytest.mark.parametrize("step", ONCE)
@pytest.mark.parametrize("what", ["machine", "disk"])
def test_wherever_it_fails_all_that_was_begun_ends_and_the_rest_is_kept(
    bench: Bench, step: str, what: str
) -> None:
    error = MachineError("no luck", "buy some") if what == "machine" else full_disk()
    bench.steps.at[step] = failing(error)
    outcome = bench.run()
    done = EMULATION[: EMULATION.index(step)]
    results = EVALUATION if "barrier" in done else []
    assert bench.steps == [*BEFORE, *done, *ends(of=done), *results, "lock ends"]
    assert isinstance(outcome.error, MachineError)
    if what == "machine":
        assert (outcome.error.message, outcome.error.remedy) == ("no luck", "buy some")
    else:
        assert outcome.error.message == "No space left on device: /data/runs/x/file"
        assert "what was collected is in" in str(outcome.error.remedy)
    record = finished(bench)
    assert (record["status"], record["error"]) == ("failed", outcome.error.message)
    assert record["emulated_s"] == (DURATION_S if "start" in done else 0.0)
    assert (record["startup_s"] is not None) == ("barrier" in done)
    assert (outcome.summary is not None) == ("barrier" in done)
    assert (bench.directory / "summary.json").exists() == ("barrier" in done)


@pytest.mark.parametrize("step", [step for step in ONCE if step not in GENTLE])
def test_wherever_it_is_interrupted_all_that_was_begun_ends_and_the_rest_is_kept(
    bench: Bench, step: str
) -> None:
    bench.steps.at[step] = ctrl_c
    outcome = bench.run()
    done = EMULATION[: EMULATION.index(step)]
    results = EVALUATION if "barrier" in done else []
    assert bench.steps == [*BEFORE, *done, *ends(of=done), *results, "lock ends"]
    assert isinstance(outcome.error, Interrupted)
    record = finished(bench)
    assert (record["status"], record["error"]) == ("interrupted", "interrupted by SIGINT")
    assert record["emulated_s"] == (DURATION_S if "start" in done else 0.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_the_runs_while_it_lasts(bench: Bench, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    bench.steps.at["probe"] = lambda: signal.raise_signal(number)
    outcome = bench.run()
    assert outcome.error is not None
    assert (type(outcome.error), outcome.error.message) == (Interrupted, f"interrupted by {number.name}")
    assert signal.getsignal(number) is before


def test_while_the_network_is_built_an_interrupt_waits_until_it_stands(bench: Bench) -> None:
    bench.steps.at["network"] = ctrl_c
    outcome = bench.run()
    done = EMULATION[: EMULATION.index("verify")]
    assert bench.steps == [*BEFORE, *done, *ends(of=done), "lock ends"]
    assert isinstance(outcome.error, Interrupted)


def test_an_interrupt_ends_the_training_and_all_that_comes_after_it_is_done(bench: Bench) -> None:
    bench.steps.at["training"] = ctrl_c
    outcome = bench.run()
    assert bench.steps == [*BEFORE, *EMULATION, *ends(of=EMULATION), *EVALUATION, "lock ends"]
    assert isinstance(outcome.error, Interrupted)
    assert finished(bench)["status"] == "interrupted"
    assert outcome.summary is not None
    assert outcome.summary.status == "interrupted"


def test_a_second_interrupt_ends_the_training_at_once(bench: Bench) -> None:
    def twice() -> None:
        ctrl_c()
        ctrl_c()

    bench.steps.at["training"] = twice
    outcome = bench.run()
    done = EMULATION[: EMULATION.index("training")]
    assert bench.steps == [*BEFORE, *done, *ends(of=done), *EVALUATION, "lock ends"]
    assert isinstance(outcome.error, Interrupted)
    assert finished(bench)["emulated_s"] == DURATION_S


def test_what_the_supervisor_says_failed_is_the_runs_error(bench: Bench) -> None:
    bench.supervisor.error = RunError("h1's agent was killed by SIGSEGV")
    outcome = bench.run()
    assert bench.steps == [*BEFORE, *EMULATION, *ends(of=EMULATION), *EVALUATION, "lock ends"]
    assert outcome.error is bench.supervisor.error
    record = finished(bench)
    assert (record["status"], record["reasons"]) == ("failed", ["h1's agent was killed by SIGSEGV"])


def test_what_fails_after_an_agent_has_does_not_hide_it(bench: Bench) -> None:
    bench.supervisor.error = RunError("h1's agent was killed by SIGSEGV")
    bench.steps.at["read back"] = failing(RunError("no such namespace"))
    outcome = bench.run()
    assert outcome.error is bench.supervisor.error
    assert finished(bench)["error"] == "h1's agent was killed by SIGSEGV"


# --- ending ---


TEARDOWN = [*ends(of=EMULATION)]


@pytest.mark.parametrize("step", TEARDOWN)
@pytest.mark.parametrize("error", [RunError("it does not go away"), full_disk()], ids=["network", "disk"])
def test_an_error_while_ending_keeps_nothing_from_ending(bench: Bench, step: str, error: Exception) -> None:
    bench.steps.at[step] = failing(error)
    outcome = bench.run()
    ended = [name for name in TEARDOWN if name != step]
    assert bench.steps == [*BEFORE, *EMULATION, *ended, *EVALUATION, "lock ends"]
    assert isinstance(outcome.error, RunError if isinstance(error, RunError) else MachineError)
    assert finished(bench)["status"] == "failed"


@pytest.mark.parametrize("step", TEARDOWN)
@pytest.mark.parametrize(
    "error",
    [RunError("it does not go away"), full_disk(), ValueError("a bug")],
    ids=["network", "disk", "bug"],
)
def test_an_error_while_ending_does_not_hide_the_first(bench: Bench, step: str, error: Exception) -> None:
    first = InputError("no such label")
    bench.steps.at |= {"training": failing(first), step: failing(error)}
    outcome = bench.run()
    assert outcome.error is first
    assert finished(bench)["error"] == "no such label"
    assert bench.steps[-3:] == [*EVALUATION, "lock ends"]
    assert "after the error: " in bench.said.getvalue()


def test_a_bug_while_ending_is_told_as_one_where_nothing_else_went_wrong(bench: Bench) -> None:
    bench.steps.at["network ends"] = failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        bench.run()
    assert bench.steps[-1] == "lock ends"


@pytest.mark.parametrize("step", TEARDOWN)
def test_no_interrupt_cuts_the_end_short(bench: Bench, step: str) -> None:
    bench.steps.at[step] = ctrl_c
    outcome = bench.run()
    assert bench.steps == [*BEFORE, *EMULATION, *TEARDOWN, *EVALUATION, "lock ends"]
    assert outcome.summary is not None
    assert outcome.summary.status == "completed"


# --- results ---


@pytest.mark.parametrize("first", [None, RunError("h1 died")], ids=["alone", "second"])
def test_an_evaluation_that_fails_costs_the_scores_alone(bench: Bench, first: MnbedError | None) -> None:
    bench.supervisor.error = first
    bench.steps.at["evaluate"] = failing(RunError("no memory"))
    outcome = bench.run()
    assert outcome.error is not None
    assert outcome.error.message == ("no memory" if first is None else "h1 died")
    assert outcome.summary is not None
    assert "evaluation: no memory; snapshots are kept" in bench.said.getvalue()


def test_an_interrupt_while_snapshots_are_evaluated_leaves_results_without_them(bench: Bench) -> None:
    bench.steps.at["evaluate"] = ctrl_c
    outcome = bench.run()
    assert isinstance(outcome.error, Interrupted)
    assert outcome.summary is not None
    assert outcome.summary.status == "completed"


@pytest.mark.parametrize("first", [None, RunError("h1 died")], ids=["alone", "second"])
@pytest.mark.parametrize("what", ["failure", "interrupt"])
def test_without_results_the_directory_and_the_first_error_are_left(
    bench: Bench, first: MnbedError | None, what: str
) -> None:
    bench.supervisor.error = first
    bench.steps.at["results"] = ctrl_c if what == "interrupt" else failing(MachineError("no room"))
    outcome = bench.run()
    assert outcome.summary is None
    assert outcome.run.path == bench.directory
    assert outcome.error is not None
    if first is not None:
        assert outcome.error is first
    else:
        assert isinstance(outcome.error, Interrupted if what == "interrupt" else MachineError)


# --- where nothing can be collected yet ---


@pytest.mark.parametrize("step", [step for step in BEFORE if step != "new_run"])
def test_what_fails_before_there_is_anything_to_collect_is_raised(bench: Bench, step: str) -> None:
    error = MachineError("another mnbed is at work")
    bench.steps.at[step] = failing(error)
    with pytest.raises(MachineError) as caught:
        bench.run()
    assert caught.value is error
    done = BEFORE[: BEFORE.index(step)]
    assert bench.steps == [*done, *(["lock ends"] if "lock" in done else [])]


def test_a_full_disk_at_the_beginning_is_named(bench: Bench) -> None:
    bench.steps.at["create_run"] = failing(full_disk())
    with pytest.raises(MachineError, match="No space left on device: /data/runs/x/file") as caught:
        bench.run()
    assert "what was collected" not in str(caught.value)


def test_a_journal_that_cannot_be_written_fails_the_run_and_not_its_end(bench: Bench) -> None:
    bench.side.journal_file = "/dev/full"
    outcome = bench.run()
    done = EMULATION[: EMULATION.index("launch")]
    assert bench.steps == [
        step for step in [*BEFORE, *done, *ends(of=done), "lock ends"] if step != "open_in_run"
    ]
    assert isinstance(outcome.error, MachineError)
    assert outcome.error.message.startswith("No space left on device")


# --- whose process, whose network ---


def test_a_process_of_its_own_ends_with_the_run(bench: Bench) -> None:
    bench.run(side=None)
    assert bench.steps[-2:] == ["lock ends", "close"]


@pytest.mark.parametrize("step", ["new_run", "lock", "network"])
def test_a_process_of_its_own_ends_however_the_run_does(bench: Bench, step: str) -> None:
    bench.steps.at[step] = failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        bench.run(side=None)
    assert bench.steps[-1] == "close"


def test_a_network_that_stands_already_stays(bench: Bench) -> None:
    before = signal.getsignal(signal.SIGINT)
    bench.steps.at["training"] = lambda: handlers.append(signal.getsignal(signal.SIGINT))
    handlers: list[Any] = []
    outcome = bench.run(network=bench.network)
    not_ours = ("lock", "leftovers", "mark", "network")
    ended = [step for step in ends(of=EMULATION) if step not in ("network ends", "mark ends")]
    begun = [step for step in [*BEFORE, *EMULATION] if step not in not_ours]
    assert bench.steps == [*begun, *ended, *EVALUATION]
    assert (outcome.error, handlers) == (None, [before])
    assert "ending the agents" in bench.phases


def test_a_run_that_is_stopped_has_been_interrupted(bench: Bench) -> None:
    job = bench.job(network=bench.network)
    bench.steps.at["training"] = job.stop
    outcome = job.execute()
    assert isinstance(outcome.error, Interrupted)
    assert finished(bench)["status"] == "interrupted"


@pytest.mark.parametrize("error", [None, RunError("h1 died")], ids=["completed", "failed"])
def test_the_prompt_comes_while_the_network_stands(bench: Bench, error: MnbedError | None) -> None:
    told: list[MnbedError | None] = []

    def prompt(job: Job, error: MnbedError | None) -> None:
        assert job.network is bench.network
        told.append(error)
        bench.steps.take("prompt")

    bench.supervisor.error = error
    bench.run(before_teardown=prompt)
    assert bench.steps == [*BEFORE, *EMULATION, "prompt", *TEARDOWN, *EVALUATION, "lock ends"]
    assert told == [error]


@pytest.mark.parametrize("first", [None, RunError("h1 died")], ids=["alone", "second"])
def test_a_prompt_that_fails_keeps_nothing_from_ending(bench: Bench, first: MnbedError | None) -> None:
    bench.supervisor.error = first
    second = RunError("no terminal")
    outcome = bench.run(before_teardown=lambda *_: failing(second)())
    assert bench.steps == [*BEFORE, *EMULATION, *TEARDOWN, *EVALUATION, "lock ends"]
    assert outcome.error is (first or second)


def test_without_a_network_there_is_no_prompt(bench: Bench) -> None:
    bench.steps.at["network"] = failing(MachineError("no bridge"))
    bench.run(before_teardown=lambda *_: bench.steps.take("prompt"))
    assert "prompt" not in bench.steps
