"""The agents of a run, from launch until the last one has ended: start barrier, supervision, failures, events.

A single loop, around `poll`, processes what `control` and `launch` report, and only it changes what is known about an
agent. Requests of the timeline and the prompt, which run in threads of their own, reach it through a mailbox.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Mapping

from mnbed.errors import MnbedError, RunError
from mnbed.network.build import Network
from mnbed.run.agent_state import AgentState, Phase, Source
from mnbed.run.journal import ControllerJournal
from mnbed.run.launch import LauncherGone, Loaded
from mnbed.run.mailbox import Mailbox, RunIsOver
from mnbed.run.patience import Patience, SleepWatch
from mnbed.run.ports import Control, Launcher, LoadingLauncher, Restarter
from mnbed.run.roster import AgentEvent, Roster
from mnbed.run.sampling import LinkTotals, Sampler
from mnbed.run.signals import Signals
from mnbed.run.timeline import Conductor
from node_agent.settings import ResumeSettings

# Nothing takes this long on a healthy machine; without a bound, a lost message would hang the run for ever.
_BARRIER_PATIENCE_S = 300.0
# A download may take hours. But the kernel gives up a connection after two minutes without an answer, and any other
# progress uses processor time or moves bytes.
_LOAD_PATIENCE_S = 180.0
_LOOK_S = 1.0
_END_PATIENCE_S = 20.0
_POLL_S = 0.2
# Time from the start message to emulated time 0, by which every agent must have read it.
_START_AHEAD_S = 0.3
# A killed process normally ends much sooner, but the kernel may have much memory to free.
_KILL_PATIENCE_S = 5.0


class Supervisor:
    """Drives the agents; `poll` is the only place that waits."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        selector: selectors.BaseSelector,
        mailbox: Mailbox,
        control: Control,
        launcher: Launcher,
        restarter: Restarter,
        journal: ControllerJournal,
        signals: Signals,
        on_update: Callable[[], None],
    ) -> None:
        """`mailbox`: on the same selector; it accepts no more work once training is over."""
        self._roster = Roster(names, control=control, launcher=launcher, restarter=restarter, journal=journal)
        self.loaded: Loaded | None = None
        self.over = False
        """Whether training has ended, after which no agent can be started."""
        self._general_error: MnbedError | None = None
        self._launcher_error: MnbedError | None = None
        self._selector = selector
        self._mailbox = mailbox
        self._control = control
        self._launcher = launcher
        self._restarter = restarter
        self._journal = journal
        self._signals = signals
        self._on_update = on_update
        self._stopping = False

    @property
    def agents(self) -> Mapping[str, AgentState]:
        """Name -> what is known about that agent, for any thread to read."""
        return self._roster.agents

    def poll(self, timeout_s: float = _POLL_S) -> None:
        """Process what agents and launcher report. Raises the error that the warm parent reports, if any."""
        for key, _ in self._selector.select(timeout_s):
            for event in key.data():
                self._take(event)
        for event in self._launcher.poll():
            self._take(event)
        self._mailbox.settle()
        self._on_update()

    # Phases

    def wait_loaded(self, launcher: LoadingLauncher) -> Loaded:
        """Wait until the data is loaded. Raises InputError, MachineError or RunError."""
        patience, looked, activity = Patience(_LOAD_PATIENCE_S), 0.0, launcher.activity()
        while self.loaded is None:
            self.poll()
            self._raise_failure()
            if time.monotonic() - looked > _LOOK_S:
                looked, activity = time.monotonic(), launcher.activity()
            if patience.ended(activity):
                raise RunError(
                    f"loading the data has made no progress for {_LOAD_PATIENCE_S:.0f} s: {launcher.standstill()}",
                    f"{launcher.log_path} says how far it got; "
                    "data that cannot be downloaded can be put under data_root by hand",
                )
        return self.loaded

    def wait_ready(self) -> None:
        """The start barrier: wait until every agent is connected, listening and warm. Raises the first failure."""
        patience = Patience(_BARRIER_PATIENCE_S)
        while late := self._roster.late_for_the_start:
            self.poll()
            self._raise_failure()
            if patience.ended():
                parent = self._launcher.standstill()
                raise RunError(
                    f"{', '.join(late[:10])} did not reach the start barrier in {_BARRIER_PATIENCE_S:.0f} s"
                    + (f"; the warm parent: {parent}" if parent else "")
                )

    def start(self) -> float:
        """Tell all agents when to start; returns that time, on the monotonic clock."""
        start = self._roster.start_monotonic_s = time.monotonic() + _START_AHEAD_S + 0.002 * len(self.agents)
        self._control.broadcast("start", start_monotonic_s=start)
        return start

    def supervise(
        self, network: Network, conductor: Conductor, until_monotonic_s: float
    ) -> Mapping[str, LinkTotals]:
        """Watch the agents until all have ended; the first failure or signal stops all of them.

        Returns interface -> totals. `error` says what failed, if anything did.
        """
        sampler, watch = Sampler(network, self._journal), SleepWatch()
        deadline = until_monotonic_s + _END_PATIENCE_S
        try:
            while self._goes_on(conductor):
                self.poll()
                if slept_s := watch.slept_s():
                    self._journal.write("slept", wall_s=round(slept_s, 3))
                    deadline += slept_s
                sampler.sample(self._roster.pids)
                if self._stopping or time.monotonic() >= until_monotonic_s:
                    conductor.break_off()
                    self._roster.resume_all()
                self._notice_failures(network, conductor)
                if not self._stopping and (self.error is not None or self._signals.interrupted):
                    self._stopping, deadline = True, time.monotonic() + _END_PATIENCE_S
                    self._control.broadcast("stop")
                if time.monotonic() > deadline:
                    late = [agent.name for agent in self.agents.values() if not agent.done]
                    self._fail(RunError(f"{', '.join(late[:10])} did not end in time"))
                    break
            self._notice_failures(network, conductor)
            if self.error is not None:
                self._wait_for_causes()
            return sampler.totals()
        finally:
            self.take_no_more()
            sampler.close()

    def _goes_on(self, conductor: Conductor) -> bool:
        # In this order, so that an agent that is being restarted is not mistaken for one that is done.
        return conductor.restarts_pending or conductor.applying or not self._roster.all_done

    def _notice_failures(self, network: Network, conductor: Conductor) -> None:
        """Failures of anything that is not an agent."""
        if conductor.error is not None:
            self._fail(conductor.error)
        if (ailment := network.ailment()) is not None:
            self._fail(RunError(ailment))

    def take_no_more(self) -> None:
        """Training is over: from now on refuse whatever other threads want done to an agent, or wait for."""
        self.over = True
        self._mailbox.refuse()

    def dismiss(self) -> None:
        """All agents have ended: let connections close and processes exit."""
        self._control.broadcast("exit")
        deadline = time.monotonic() + _END_PATIENCE_S
        while self._control.connected and time.monotonic() < deadline:
            self.poll()

    # What is done to agents; called from any thread but the loop's own. Each raises RunIsOver after the end.

    def kill(self, name: str) -> None:
        """End an agent's process; from now on its absence is not a failure."""
        self._mailbox.ask(lambda: self._roster.kill(self.agents[name]))

    def pause(self, name: str) -> None:
        """Stop an agent's process."""
        self._mailbox.ask(lambda: self._roster.pause(self.agents[name]))

    def resume(self, name: str) -> None:
        """Continue a paused agent's process."""
        self._mailbox.ask(lambda: self._roster.resume(self.agents[name]))

    def restart(self, name: str, state: str) -> None:
        """Restart a killed agent; one that is alive is left alone. Raises MnbedError."""
        agent = self.agents[name]
        # Its process must have ended: its journal is read next, and its port is needed.
        self._mailbox.wait_for(lambda: agent.phase is not Phase.KILLED, _KILL_PATIENCE_S)
        if self._mailbox.ask(lambda: self._roster.about_to_restart(agent)):
            resume = self._restarter.resume(name, state, agent.restarts + 1, agent.status)
            self._mailbox.ask(lambda: self._restart(agent, resume))

    def _restart(self, agent: AgentState, resume: ResumeSettings) -> None:
        if self._stopping:
            raise RunIsOver
        self._roster.restart(agent, resume)

    # Events and failures

    def _take(self, event: object) -> None:
        if isinstance(event, Loaded):
            self.loaded = event
        elif isinstance(event, LauncherGone):
            self._launcher_error = RunError(event.message)
            self._fail(self._launcher_error)
        elif isinstance(event, AgentEvent):
            self._roster.take(event)

    @property
    def error(self) -> MnbedError | None:
        """What failed first; None while nothing has."""
        if self._roster.failed:
            first = self._roster.failed[0]
            if self._launcher_error is not None and first.failure_source is Source.DISAPPEARANCE:
                return self._launcher_error  # agents end with the process that forked them
            return first.failure
        return self._general_error

    def _fail(self, error: MnbedError) -> None:
        if self._general_error is None:
            self._general_error = error

    def _raise_failure(self) -> None:
        if self.error is not None:
            self._wait_for_causes()
            raise self.error

    def _wait_for_causes(self) -> None:
        """Wait briefly for the exit status of an agent whose socket has closed: it says why."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and self._roster.causes_missing and self._launcher_error is None:
            self.poll(0.05)
