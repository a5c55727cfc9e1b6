"""The whole job as one story: directory, warm parent, network, agents, training, collection, teardown, results.

This process is root, so it touches none of the run's files: `UserSide` does that, as the user.

Everything that is started is owned by one ExitStack, so every way out (done, failed, Ctrl-C) takes it down in order.
What was collected is kept and evaluated on every way out.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from typing_extensions import Unpack

from mnbed.errors import Interrupted, MachineError, MnbedError, RunError
from mnbed.experiment.loading import dump_experiment
from mnbed.machine import raise_open_files
from mnbed.network.build import Network, build_network
from mnbed.network.leftovers import remove_leftovers
from mnbed.network.mark import marked
from mnbed.network.probe import probe_network
from mnbed.plan.model import Plan
from mnbed.plan.rerun import rerunnable
from mnbed.records.controller import Finished, LinkCounts
from mnbed.records.environment import Environment
from mnbed.records.outcome import COMPLETED, FAILED, INTERRUPTED, Status
from mnbed.run import record
from mnbed.run.agents import AgentGroup
from mnbed.run.disk_errors import disk_error
from mnbed.run.journal import ControllerJournal
from mnbed.run.launch import PreforkLauncher
from mnbed.run.lock import run_lock
from mnbed.run.progress_view import LiveView
from mnbed.run.sampling import LinkTotals, memory_mb
from mnbed.run.signals import Signals
from mnbed.run.supervisor import Supervisor
from mnbed.run.timeline import Conductor
from mnbed.run.user import data_root
from mnbed.run.user_side import UserSide
from mnbed.run_directory import RunDirectory
from node_agent import full_disk

if TYPE_CHECKING:
    from mnbed.results.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `error` is what to tell the user, if anything; there may be a summary all the same."""

    run: RunDirectory
    summary: Summary | None
    error: MnbedError | None
    report: Path | None
    """The page, if one was made."""


@dataclass
class _Finish:
    """What the controller knows about a run once training is over."""

    error: MnbedError | None = None
    emulated_s: float = 0.0
    startup_s: float | None = None
    agent_memory_mb: float | None = None


class Job:
    """One run. `execute` does everything, in order."""

    def __init__(
        self,
        plan: Plan,
        *,
        out: Path,
        report: bool,
        console: Console,
        side: UserSide | None = None,
        network: Network | None = None,
        before_teardown: Callable[[Job, MnbedError | None], None] | None = None,
    ) -> None:
        """side: what touches the user's files; None: one of its own, until `execute` ends. Raises MachineError.

        network: an existing one, which is kept; None: build one, and take it down.
        before_teardown: called with the error, if any, while the network and the agents' states still exist.
        """
        self._standing = network
        self._before_teardown = before_teardown
        self.network: Network | None = network
        self.supervisor: Supervisor | None = None
        self.journal: ControllerJournal | None = None
        self._finish = _Finish()
        self._plan = plan
        self._experiment = plan.experiment
        self._report = report
        self._view = LiveView(console, plan.experiment.time.duration)
        self._own_side = contextlib.ExitStack()
        self._side = side or self._own_side.enter_context(UserSide.start())
        self._began = time.monotonic()
        self._started = datetime.now()
        try:
            path, self._absolute = self._side.new_run(out, self._experiment.name, self._started)
        except BaseException:
            self._own_side.close()
            raise
        self._run = RunDirectory(path)
        self._signals = Signals()
        self._start_monotonic_s: float | None = None
        self._unwritten: OSError | None = None

    def execute(self) -> Outcome:
        """Run to the end. Raises only if nothing was collected yet; otherwise the error is in the outcome."""
        try:
            with self._own_side:
                return self._execute()
        except OSError as error:
            if not full_disk.is_full(error):
                raise
            raise self._disk_error(error) from None

    def _execute(self) -> Outcome:
        with contextlib.ExitStack() as stack:
            if self._standing is None:
                stack.enter_context(self._signals.handled())
                stack.enter_context(run_lock(f"run {self._run.run_id}"))
                remove_leftovers()
            stack.enter_context(self._view)
            self._prepare_directory()
            descriptor = self._side.open_in_run(self._run.controller_journal.name)
            self.journal = ControllerJournal(
                self._run.controller_journal, "controller", self._now, descriptor
            )
            try:
                self._emulate()
                with self._signals.ignored():
                    self._record(lambda journal: journal.write("finished", **self._finished_fields()))
                self._evaluate()
            finally:
                self.journal.close()
            return self._outcome()

    @property
    def run(self) -> RunDirectory:
        return self._run

    def emulated_now(self) -> float | None:
        """Emulated seconds since the common start; None before it."""
        return self._now()

    def stop(self) -> None:
        """End the run as Ctrl-C would: agents stop, what was collected is evaluated. Call it from another thread."""
        self._signals.interrupted = True

    # Emulation: everything that needs the network

    def _emulate(self) -> None:
        finish, before_teardown = self._finish, self._before_teardown
        with contextlib.ExitStack() as torn_down:
            self._try(lambda: self._train(torn_down))
            finish.emulated_s = finish.emulated_s or self._emulated_s()
            if self._signals.interrupted and finish.error is None:
                finish.error = Interrupted("interrupted")
            self._view.unwatch()
            if before_teardown is not None and self.network is not None:
                with self._view.suspended():
                    self._try(lambda: before_teardown(self, finish.error))
            with self._signals.ignored():
                self._phase("tearing down the network" if self._standing is None else "ending the agents")
                began = time.monotonic()
                self._try(torn_down.close)
                wall_s = time.monotonic() - self._began
                teardown_s = time.monotonic() - began
                self._record(lambda journal: journal.write("torn_down", teardown_s=teardown_s, wall_s=wall_s))

    def _try(self, step: Callable[[], None]) -> None:
        """Do it, and keep what goes wrong. A bug travels on, unless the run has an error already."""
        try:
            step()
        except MnbedError as error:
            self._keep(error)
        except OSError as error:
            self._keep(self._disk_error(error))
        except Exception as error:
            if self._finish.error is None:
                raise
            self._keep(RunError(f"internal error: {type(error).__name__}: {error}"))

    def _keep(self, error: MnbedError) -> None:
        """The first error is the run's; what goes wrong after it is only shown."""
        if self._finish.error is None:
            self._finish.error = error
        else:
            self._view.note(f"after the error: {error.message}")

    def _train(self, stack: contextlib.ExitStack) -> None:
        self._phase("loading data and torch, building the network")
        if self._standing is None:
            # Processes started after the run are not part of it and must not be mistaken for its leftovers.
            stack.enter_context(marked(self._run.run_id))
        # Before anything is started: the warm parent and its agents keep the limit that they start with.
        raise_open_files(self._plan.open_files)
        group = stack.enter_context(AgentGroup.start(self._plan, self._absolute, self._side))
        network = self.network = self._standing or self._build(stack)
        self._signals.check()
        readbacks = network.verify()
        self._write_environment(links=record.describe_links(readbacks))
        supervisor = self.supervisor = group.join(network, self._journal, self._signals, self._view.update)
        if isinstance(group.launcher, PreforkLauncher):
            loaded = supervisor.wait_loaded(group.launcher)
            self._write_environment(**record.describe_data(loaded))
            self._view.note(loaded.description)
        if self._experiment.network.probe:
            self._phase("probing the links")
            self._journal.write("probe", **asdict(probe_network(network, self._signals.check)))
        self._phase(f"starting {len(self._plan.hosts)} agents")
        group.launcher.launch(network, group.settings)
        supervisor.wait_ready()
        self._finish.startup_s = time.monotonic() - self._began
        self._note_data(supervisor)
        pids = [agent.pid for agent in supervisor.agents.values() if agent.pid is not None]
        self._finish.agent_memory_mb = memory_mb(pids)
        self._supervise(stack, supervisor, network)

    def _build(self, stack: contextlib.ExitStack) -> Network:
        with self._signals.gently():
            return stack.enter_context(build_network(self._plan, self._signals.check))

    def _note_data(self, supervisor: Supervisor) -> None:
        """Without a warm parent, only the agents know what data was loaded; it is the same for all."""
        ready = next(agent.ready for agent in supervisor.agents.values() if agent.ready)
        self._write_environment(standin=ready["standin"], data=ready["data"])
        if not ready["standin"]:
            self._side.write_experiment(dump_experiment(rerunnable(self._plan, real_data=True)))

    def _supervise(self, stack: contextlib.ExitStack, supervisor: Supervisor, network: Network) -> None:
        journal, wall_s = self._journal, self._duration * self._plan.dilation
        conductor = stack.enter_context(Conductor.of(network, supervisor, journal))
        # The conductor's thread may be waiting for an answer when it is ended.
        stack.callback(supervisor.take_no_more)
        if network.delay is not None and self._standing is not None:
            network.delay.take_statistics()  # discard those from before this run
        start = self._start_monotonic_s = supervisor.start()
        conductor.start(start)
        self._phase(f"training for {self._duration:g} emulated s ({wall_s:g} s)")
        self._view.watch(supervisor.agents, lambda: self._now() or 0.0)
        with self._signals.gently():
            totals = supervisor.supervise(network, conductor, start + wall_s)
        conductor.stop()
        self._finish.emulated_s = self._emulated_s()
        self._finish.error = supervisor.error
        journal.write("link_counters", links=self._link_counters(totals))
        journal.write("shaping_checked", differences=network.differences(network.read_back()))
        if network.delay is not None:
            journal.write("delay_queue", **network.delay.take_statistics())
        supervisor.dismiss()

    # Results: everything after the network is down

    def _evaluate(self) -> None:
        if self._finish.startup_s is None:
            return  # the agents never started: there is nothing to evaluate
        try:
            self._phase("evaluating snapshots")
            self._side.evaluate(self._experiment.evaluate.keep_snapshots, self._view.progress)
        except MnbedError as error:
            self._finish.error = self._finish.error or error
            self._view.note(f"evaluation: {error.message}; snapshots are kept")
        self._phase("writing results" + (" and report" if self._report else ""))

    def _outcome(self) -> Outcome:
        finish, summary, report = self._finish, None, None
        if finish.startup_s is not None:
            try:
                summary, report = self._side.results(self._report)
            except MnbedError as failure:
                self._keep(failure)
        error = finish.error
        if error is None and self._unwritten is not None:
            error = self._disk_error(self._unwritten)
        return Outcome(run=self._run, summary=summary, error=error, report=report)

    # Small things

    @property
    def _duration(self) -> float:
        return self._experiment.time.duration

    def _now(self) -> float | None:
        if self._start_monotonic_s is None:
            return None
        return (time.monotonic() - self._start_monotonic_s) / self._plan.dilation

    def _emulated_s(self) -> float:
        """How much of the experiment's duration has passed."""
        return min(max(self._now() or 0.0, 0.0), self._duration)

    @property
    def _journal(self) -> ControllerJournal:
        """The controller's journal; only once the run directory exists."""
        assert self.journal is not None
        return self.journal

    def _phase(self, name: str) -> None:
        self._view.phase(name)
        wall_s = round(time.monotonic() - self._began, 3)
        self._record(lambda journal: journal.write("phase", name=name, wall_s=wall_s))

    def _record(self, write: Callable[[ControllerJournal], None]) -> None:
        """For records around the run: a full disk is reported at the end, and never prevents teardown."""
        try:
            write(self._journal)
        except OSError as error:
            self._unwritten = self._unwritten or error

    def _disk_error(self, error: OSError) -> MachineError:
        # Any other error that names no file need not be about a file of this run.
        return disk_error(error, self._run if full_disk.is_full(error) else None)

    def _prepare_directory(self) -> None:
        self._side.create_run(self._run.path, dump_experiment(rerunnable(self._plan)))
        revision = self._side.revision()
        self._environment: Environment = record.describe(self._plan, self._started, revision)
        self._write_environment(
            data_root=str(data_root(self._experiment.data_root, self._side.user)),
            algorithm_digest=self._side.algorithm_digest(self._experiment.algorithm.module),
        )

    def _write_environment(self, **more: Unpack[Environment]) -> None:
        self._environment.update(more)
        self._side.write_environment(json.dumps(self._environment, indent=1) + "\n")

    def _finished_fields(self) -> Finished:
        finish, error = self._finish, self._finish.error
        status: Status = (
            COMPLETED if error is None else INTERRUPTED if isinstance(error, Interrupted) else FAILED
        )
        return {
            "status": status,
            "reasons": [] if error is None else [error.message],
            "error": None if error is None else error.message,
            "emulated_s": finish.emulated_s,
            "startup_s": finish.startup_s,
            "agent_memory_mb": finish.agent_memory_mb,
            "wall_s": time.monotonic() - self._began,
        }

    def _link_counters(self, totals: Mapping[str, LinkTotals]) -> list[LinkCounts]:
        rows: list[LinkCounts] = []
        for link in self._plan.links:
            a, b = totals[link.a_interface], totals[link.b_interface]
            rows.append(
                {
                    "a": link.a,
                    "b": link.b,
                    "a_bytes": a.bytes_sent,
                    "b_bytes": b.bytes_sent,
                    "a_drops": a.drops,
                    "b_drops": b.drops,
                    "a_backlog_peak_bytes": a.backlog_peak_bytes,
                    "b_backlog_peak_bytes": b.backlog_peak_bytes,
                    "a_peak_bps": self._emulated_bps(a.peak_bps),
                    "b_peak_bps": self._emulated_bps(b.peak_bps),
                }
            )
        return rows

    def _emulated_bps(self, wall_bps: float | None) -> float | None:
        return None if wall_bps is None else wall_bps * self._plan.dilation
