"""One node's agent: builds its parts and runs the round loop. The only file that knows all the others.

Two threads: this one trains, the transport's does all I/O with peers. The loop is the same for every algorithm:

    1. wait until the algorithm allows the next round; most never wait
    2. average in what has arrived
    3. run H local steps, each paced to its emulated cost
    4. hand the algorithm's fragments to the transport, without waiting for them to be sent
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from node_agent import control_messages, failures, full_disk, wire
from node_agent.algorithms import Context, create_algorithm
from node_agent.clock import EmulatedClock
from node_agent.control import ControlChannel
from node_agent.counters import Counters
from node_agent.incoming import receivers
from node_agent.journal import Journal
from node_agent.settings import AgentSettings
from node_agent.snapshots import SnapshotSchedule, save_snapshot
from node_agent.streams import stream, stream_seed
from node_agent.tasks import Task
from node_agent.training import FlatModel, Trainer
from node_agent.transport import Transport

log = logging.getLogger(__name__)

# An agent that has fallen behind catches up by shortening its waits, but makes up for this many steps at most:
# one stall of the machine must not make the agent race afterwards.
_MAX_STEPS_BEHIND = 2


class _Stopped(Exception):
    """The controller sent `stop`, or its socket closed."""


class Agent:
    """One node. Constructed in the host's namespace, after privileges have been dropped."""

    def __init__(self, settings: AgentSettings, task: Task, part: np.ndarray) -> None:
        """Connects to the controller and listens. Raises OSError."""
        self._settings = settings
        self._clock: EmulatedClock | None = None
        self._run = Path(settings.run_directory)
        self.journal = Journal(
            self._run / "nodes" / f"{settings.name}.jsonl",
            settings.name,
            lambda: None if self._clock is None else self._clock.now(),
        )
        self.control = ControlChannel.connect(settings.control_socket)
        self.control.send("hello", name=settings.name, token=settings.token)
        resume = settings.resume
        self._counters = Counters() if resume is None else Counters(**resume.counters)
        self._task, self._part = task, part
        self._model = FlatModel(task.make_model())
        if resume is not None and resume.snapshot is not None:
            self._model.values[:] = np.load(self._run / resume.snapshot)
        # A restarted agent must not repeat its earlier random draws.
        self._life: tuple[str | int, ...] = () if resume is None else ("life", resume.life)
        batches = stream(settings.seed, "batches", settings.index, *self._life)
        self._trainer = Trainer(task, self._model, part, batches)
        self._algorithm = create_algorithm(
            settings.algorithm,
            Context(
                index=settings.index,
                peers=tuple(peer.index for peer in settings.peers),
                num_parameters=self._model.num_parameters,
                rng=stream(settings.seed, "peers", settings.index, *self._life),
                permutation_seed=stream_seed(settings.seed, "permutation"),
                num_nodes=settings.num_nodes,
                overlay=settings.overlay_by_index,
                restarted=resume is not None,
            ),
        )
        # What snapshots show: a copy made at each aggregation, or the parameters themselves.
        aggregated = settings.snapshot_model == "aggregated"
        self._shown = self._model.values.copy() if aggregated else self._model.values
        self._shown_since_s = 0.0
        self._names = {peer.index: peer.name for peer in settings.peers}
        self._local_steps = int(settings.task["local_steps"])
        self._round_s = self._local_steps * settings.step_time_s
        self._round = 0 if resume is None else resume.round
        self._steps = 0 if resume is None else resume.steps
        self._losses: list[float] = []
        self._train_loss: float | None = None
        self._staleness_s: float | None = None
        # How long this round had to wait, and which peers were still missing at the last check: they held it up.
        self._waited_s, self._waited_for = 0.0, list[str]()
        self._stop = threading.Event()
        self._started = threading.Event()
        self._exit = threading.Event()
        self._arrived = threading.Condition()
        self._transport = Transport(
            settings,
            counters=self._counters,
            journal=self.journal,
            new_receiver=receivers(
                settings,
                num_parameters=self._model.num_parameters,
                num_fragments=self._algorithm.num_fragments,
                permutation_seed=self._algorithm.permutation_seed,
            ),
            on_fragment=self._on_fragment,
            on_peer=self._on_peer,
            control=self.control,
            on_control=self._on_control,
            status=self._status,
            exchange=self._algorithm.settings.exchange,
        )

    def run(self) -> None:
        """Wait for the common start, train to the end of the experiment, wait for the other agents to end."""
        self._rehearse()
        self._transport.start()
        resume = self._settings.resume
        self.journal.write("ready", pid=os.getpid(), life=0 if resume is None else resume.life)
        self.control.send("ready", standin=self._task.standin, data=self._task.description)
        self._started.wait()
        if self._transport.error is not None:
            raise self._transport.error
        if self._clock is None:
            return  # asked to stop, or lost the controller, before the start
        reason: Literal["finished", "stopped"] = "finished"
        try:
            self._train(self._clock)
        except _Stopped:
            reason = "stopped"
        self._transport.finish()
        self._end(reason)

    def _rehearse(self) -> None:
        """Run one step before the barrier, to fault this process's memory in, and restore the model."""
        initial = self._model.values.copy()
        batches = stream(self._settings.seed, "rehearsal", self._settings.index)
        Trainer(self._task, self._model, self._part, batches).step()
        self._model.values[:] = initial

    def _end(self, reason: Literal["finished", "stopped"]) -> None:
        if self._transport.error is not None:
            raise self._transport.error
        self.journal.write(
            "end",
            reason=reason,
            **self._counters.totals(),
            cpu_s=round(time.process_time(), 3),
            rtt_s=self._transport.round_trip_times(),
            one_way_s=self._transport.one_way_times(),
        )
        self.control.send("ended", reason=reason)
        self._exit.wait()
        self._transport.close()

    # The training thread

    def _train(self, clock: EmulatedClock) -> None:
        settings = self._settings
        schedule = SnapshotSchedule(settings.snapshot_every_s, settings.duration_s)
        slot = self._first_slot(clock)
        if not clock.wait_until(slot, self._stop):
            raise _Stopped
        if settings.resume is not None:
            schedule.skip_until(slot)
        self._take_snapshots(schedule, slot + settings.step_time_s)
        while slot + settings.step_time_s <= settings.duration_s:
            if not self._algorithm.may_start_round():
                if not self._wait_for_turn(clock):
                    break
                # The model did not change during the wait; the next step begins when the wait is over.
                slot = max(slot, clock.now())
                self._take_snapshots(schedule, slot)
                if slot + settings.step_time_s > settings.duration_s:
                    break
            aggregated = self._algorithm.before_local_phase(self._model.values, clock.now())
            averaged_at = clock.now()
            if self._shown is not self._model.values:
                np.copyto(self._shown, self._model.values)
            self._shown_since_s = averaged_at
            self._counters.fragments_aggregated += len(aggregated.of)
            self._staleness_s = aggregated.mean_age_s
            overruns, late_s = self._counters.overruns, 0.0
            for _ in range(self._local_steps):
                if slot + settings.step_time_s > settings.duration_s:
                    break
                slot, late = self._step(clock, slot, schedule)
                late_s = max(late_s, late)
            self._finish_round(aggregated.of, averaged_at, self._counters.overruns - overruns, late_s)
        self._take_snapshots(schedule, math.inf)
        self._wait_until(clock, settings.duration_s)

    def _first_slot(self, clock: EmulatedClock) -> float:
        """When the first step begins: the nodes' first steps are spread evenly over one step's time.

        Independent machines do not begin their steps at the same instant. And if many agents share a few cores, steps
        that begin together queue for them: measured, agents waited 60 % of the time, and 10 % when spread like this.
        """
        step_s = self._settings.step_time_s
        phase_s = step_s * self._settings.index / self._settings.num_nodes
        if self._settings.resume is None:
            return phase_s
        return phase_s + math.ceil(max(0.0, clock.now() - phase_s) / step_s) * step_s

    def _wait_until(self, clock: EmulatedClock, instant_s: float) -> None:
        """Sleep until that emulated instant, and record how late the wake-up was."""
        if not clock.wait_until(instant_s, self._stop):
            raise _Stopped
        late_s = max(0.0, clock.now() - instant_s)
        self._counters.timer_waits += 1
        self._counters.timer_late_s += late_s
        self._counters.timer_late_max_s = max(self._counters.timer_late_max_s, late_s)

    def _step(self, clock: EmulatedClock, slot: float, schedule: SnapshotSchedule) -> tuple[float, float]:
        """One local step in the slot that begins at `slot`; returns the next slot and how late this one ended."""
        self._losses.append(self._trainer.step())
        self._steps += 1
        end = slot + self._settings.step_time_s
        late = clock.now() - end
        if self._shown is self._model.values:
            self._shown_since_s = end + late
        if late > 0:
            self._counters.overruns += 1
            self._counters.late_s += late
            self._counters.late_max_s = max(self._counters.late_max_s, late)
            end = max(end, clock.now() - _MAX_STEPS_BEHIND * self._settings.step_time_s)
        else:
            self._wait_until(clock, end)
        if self._stop.is_set():
            raise _Stopped
        # Snapshot instants between this step's end and the next one's see the model as it is now.
        self._take_snapshots(schedule, end + self._settings.step_time_s)
        return end, max(late, 0.0)

    def _wait_for_turn(self, clock: EmulatedClock) -> bool:
        """Wait until the algorithm allows the next round; False if the experiment ends first."""
        since_s, reported, watched = clock.now(), False, frozenset[int]()
        may_start = False
        with self._arrived:
            while not (may_start := self._algorithm.may_start_round()):
                over = self._stop.is_set() or clock.now() >= self._settings.duration_s
                waits_for = frozenset(self._algorithm.waits_for())
                # An algorithm that names nobody may be waiting for any peer.
                peers = waits_for or frozenset(self._algorithm.context.peers)
                self._transport.watch(peers - watched)
                watched = peers
                self._waited_for = sorted(self._names[peer] for peer in waits_for)
                if not reported and (over or clock.now() - since_s > self._round_s):
                    reported = True
                    self.journal.write(
                        "waiting", round=self._round, since=round(since_s, 6), of=self._waited_for
                    )
                if over:
                    break
                self._arrived.wait(timeout=0.05)
        self._waited_s = max(0.0, min(clock.now(), self._settings.duration_s) - since_s)
        self._counters.waited_s += self._waited_s
        if self._stop.is_set():
            raise _Stopped
        return may_start

    def _finish_round(
        self, aggregated: Sequence[tuple[int, int, int]], averaged_at: float, overruns: int, late_s: float
    ) -> None:
        self._train_loss = float(np.mean(self._losses))
        self._losses.clear()
        self._transport.submit(self._algorithm.after_local_phase(self._round, self._model.values))
        self.journal.write(
            "round",
            round=self._round,
            steps=self._steps,
            train_loss=self._train_loss,
            aggregated=len(aggregated),
            staleness_s=self._staleness_s,
            overruns=overruns,
            late_s=round(late_s, 6),
            waited_s=round(self._waited_s, 6),
            waited_for=self._waited_for,
        )
        self._waited_s, self._waited_for = 0.0, []
        if self._settings.ledger and aggregated:
            of = [(self._names[sender], sent_round, fragment) for sender, sent_round, fragment in aggregated]
            self.journal.write("aggregated", round=self._round, at=round(averaged_at, 6), of=of)
        self._round += 1

    def _take_snapshots(self, schedule: SnapshotSchedule, until_s: float) -> None:
        """Save the model to be evaluated, as it is now, for every instant before `until_s` that is still due."""
        for instant in schedule.due(until_s):
            path = save_snapshot(self._run, self._settings.name, instant, self._shown)
            instant_s = schedule.time_of(instant)
            self.journal.write(
                "snapshot",
                instant=instant,
                file=str(path.relative_to(self._run)),
                instant_s=instant_s,
                # A late step has changed the model before a snapshot of the instant could be taken.
                taken_s=max(instant_s, round(self._shown_since_s, 6)),
                round=self._round,
                steps=self._steps,
                train_loss=self._train_loss,
                staleness_s=self._staleness_s,
                **self._counters.totals(),
            )

    # Called from the I/O thread

    def _on_fragment(self, fragment: wire.Fragment) -> Any:
        reply = self._algorithm.on_fragment(fragment)
        with self._arrived:
            self._arrived.notify()
        return reply

    def _on_peer(self, index: int, joined: bool) -> None:
        if joined:
            self._algorithm.peer_joined(index)
        else:
            self._algorithm.peer_lost(index)
        with self._arrived:
            self._arrived.notify()

    def _on_control(self, message: control_messages.Message | None) -> None:
        if message is not None and message["kind"] == "start":
            clock = EmulatedClock(message["start_monotonic_s"], self._settings.dilation)
            self._transport.begin(clock)
            if self._settings.resume is not None:
                # So that peers that wait for something from the earlier life learn that it will never come.
                self._transport.watch(self._names)
            self._clock = clock
            self._started.set()
        elif message is not None and message["kind"] == "stop":
            self._stop.set()
            self._started.set()
        else:  # "exit", or the controller is gone
            self._stop.set()
            self._exit.set()
            self._started.set()

    def now(self) -> float | None:
        """Emulated seconds since the common start; None before it."""
        return None if self._clock is None else self._clock.now()

    def _status(self) -> control_messages.Status:
        return {
            "t": self.now(),
            "round": self._round,
            "steps": self._steps,
            "train_loss": self._train_loss,
            "counters": self._counters.totals(),
        }


def run_agent(settings: AgentSettings, task: Task, part: np.ndarray) -> int:
    """Run one agent in this process and return its exit status; failures go to controller, journal and log."""
    agent: Agent | None = None

    def add_time(record: logging.LogRecord) -> bool:
        now = None if agent is None else agent.now()
        record.t = "-" if now is None else f"{now:.3f}"
        return True

    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s t=%(t)s {settings.name} %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(add_time)
    try:
        agent = Agent(settings, task, part)
        agent.run()
    except Exception as error:
        log.exception("the agent failed")
        report_failure(settings, agent, error)
        return 1
    log.info("ended")
    return 0


def report_failure(settings: AgentSettings, agent: Agent | None, error: Exception) -> None:
    """Tell controller and journal; `agent` is None if it was never built. Call this while `error` is being handled."""
    message = failures.in_words(
        error,
        name=settings.name,
        module=settings.algorithm.get("module"),
        log=Path(settings.run_directory) / "nodes" / f"{settings.name}.log",
    )
    remedy, status = getattr(error, "remedy", None), getattr(error, "exit_status", 1)
    if isinstance(error, OSError) and full_disk.is_full(error):
        message = f"{settings.name}: {full_disk.in_words(error, settings.run_directory)}"
        remedy, status = full_disk.remedy(error, settings.run_directory), 3
    fields: control_messages.Failed = {
        "message": message,
        "remedy": remedy,
        "exit_status": status,
        "traceback": traceback.format_exc(),
    }
    try:
        # The controller first: if the disk is full, writing to the journal fails.
        if agent is not None:
            agent.control.send("failed", **fields)
            agent.journal.write("error", message=message, traceback=fields["traceback"])
        else:
            fields["name"], fields["token"] = settings.name, settings.token
            ControlChannel.connect(settings.control_socket).send("failed", **fields)
    except OSError:
        log.exception("the failure could not be reported")
