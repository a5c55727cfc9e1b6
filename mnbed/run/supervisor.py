"""The agents of one run, from launch to the last one's end: start barrier, supervision, failures, events.

Knows sockets and processes only through the events that `control` and `launch` report.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mnbed.errors import MnbedError, RunError, error_class
from mnbed.network.build import Network
from mnbed.run.control import AgentGone, AgentJoined, AgentMessage, ControlServer
from mnbed.run.launch import ExecLauncher, Exited, LauncherGone, Loaded, PreforkLauncher
from mnbed.run.patience import Patience, SleepWatch
from mnbed.run.sampling import LinkTotals, Sampler
from mnbed.run.signals import Signals
from mnbed.run.timeline import Conductor
from node_agent.journal import Journal

# Nothing a healthy machine does takes this long; without a bound a lost message would hang the run for ever.
_BARRIER_PATIENCE_S = 300.0
# A download may take hours. But the kernel gives a connection up after two minutes without an answer, and whatever
# else gets on uses a processor or moves bytes.
_LOAD_PATIENCE_S = 180.0
_LOOK_S = 1.0
_END_PATIENCE_S = 20.0
_POLL_S = 0.2
# From the start message to emulated time 0: every agent must have read the message by then.
_START_AHEAD_S = 0.3
# How an agent's failure became known, the more telling the higher.
_GONE, _EXITED, _SAID = 0, 1, 2


@dataclass
class AgentState:
    """What is known of one agent."""

    name: str
    pid: int | None = None
    ready: dict[str, Any] | None = None
    """Its message at the start barrier."""
    ended: bool = False
    gone: bool = False
    killed: set[int] = field(default_factory=set)
    """Processes of it that an event has killed."""
    down: bool = False
    """Killed by an event, and not back yet."""
    paused: bool = False
    """By an event."""
    failure: MnbedError | None = None
    failure_rank: int = -1
    status: dict[str, Any] = field(default_factory=dict)


class Session:
    """Drives the agents; `poll` is the only place that waits."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        selector: selectors.BaseSelector,
        control: ControlServer,
        launcher: PreforkLauncher | ExecLauncher,
        journal: Journal,
        signals: Signals,
        respawn: Callable[[str, str, int, Mapping[str, Any]], None],
        on_update: Callable[[], None],
    ) -> None:
        """`respawn(name, state, life, last status)` starts an agent that was killed."""
        self.agents = {name: AgentState(name) for name in names}
        self.loaded: Loaded | None = None
        self.over = False
        """Training has ended: no agent can be started any more."""
        self._failed: list[AgentState] = []
        self._general_error: MnbedError | None = None
        self._selector = selector
        self._control = control
        self._launcher = launcher
        self._journal = journal
        self._signals = signals
        self._respawn = respawn
        self._on_update = on_update
        self._start_monotonic_s: float | None = None

    def poll(self, timeout_s: float = _POLL_S) -> None:
        """Take in what agents and launcher report. Raises what the warm parent reports as its error."""
        for key, _ in self._selector.select(timeout_s):
            for event in key.data():
                self._take(event)
        if isinstance(self._launcher, ExecLauncher):
            for event in self._launcher.poll():
                self._take(event)
        self._on_update()

    # Phases

    def wait_loaded(self) -> Loaded:
        """Wait until the data is loaded. Raises InputError, MachineError or RunError."""
        launcher = self._launcher
        assert isinstance(launcher, PreforkLauncher)
        patience, looked, activity = Patience(_LOAD_PATIENCE_S), 0.0, launcher.activity()
        while self.loaded is None:
            self.poll()
            self._raise_failure()
            if time.monotonic() - looked > _LOOK_S:
                looked, activity = time.monotonic(), launcher.activity()
            if patience.ended(activity):
                raise RunError(
                    f"loading the data has not got on for {_LOAD_PATIENCE_S:.0f} s: {launcher.standstill()}",
                    f"{launcher.log_path} says what it came to; "
                    "data that cannot be downloaded can be put under data_root",
                )
        return self.loaded

    def wait_ready(self) -> None:
        """The start barrier: every agent is connected, listening and warm. Raises the first one's failure."""
        patience = Patience(_BARRIER_PATIENCE_S)
        while not all(agent.ready for agent in self.agents.values()):
            self.poll()
            self._raise_failure()
            if patience.ended():
                late = [agent.name for agent in self.agents.values() if not agent.ready]
                launcher = self._launcher
                parent = launcher.standstill() if isinstance(launcher, PreforkLauncher) else ""
                raise RunError(
                    f"{', '.join(late[:10])} did not reach the start barrier in {_BARRIER_PATIENCE_S:.0f} s"
                    + (f"; the warm parent: {parent}" if parent else "")
                )

    def start(self) -> float:
        """Give the common start; returns it, on the monotonic clock."""
        start = self._start_monotonic_s = time.monotonic() + _START_AHEAD_S + 0.002 * len(self.agents)
        self._control.broadcast("start", start_monotonic_s=start)
        return start

    def supervise(
        self, network: Network, conductor: Conductor, until_monotonic_s: float
    ) -> Mapping[str, LinkTotals]:
        """Watch until every agent has ended; the first failure or signal stops all of them.

        Returns interface -> totals. `error` says what failed, if anything did.
        """
        sampler, watch = Sampler(network, self._journal), SleepWatch()
        deadline, stopping = until_monotonic_s + _END_PATIENCE_S, False
        try:
            while conductor.restarts_pending or not all(
                agent.ended or agent.gone for agent in self.agents.values()
            ):
                self.poll()
                if slept_s := watch.slept_s():
                    self._journal.write("slept", wall_s=round(slept_s, 3))
                    deadline += slept_s
                sampler.sample(agent.pid for agent in self.agents.values() if agent.pid and not agent.gone)
                if stopping or time.monotonic() >= until_monotonic_s:
                    conductor.stop()
                    self._resume_all()
                    watch.slept_s()  # an event that was being applied is no sleep
                if conductor.error is not None:
                    self._fail(conductor.error)
                if (ailment := network.ailment()) is not None:
                    self._fail(RunError(ailment))
                if not stopping and (self.error is not None or self._signals.interrupted):
                    stopping, deadline = True, time.monotonic() + _END_PATIENCE_S
                    self._control.broadcast("stop")
                if time.monotonic() > deadline:
                    late = [agent.name for agent in self.agents.values() if not (agent.ended or agent.gone)]
                    self._fail(RunError(f"{', '.join(late[:10])} did not end in time"))
                    break
            if self.error is not None:
                self._wait_for_causes()
            return sampler.totals()
        finally:
            self.over = True
            sampler.close()

    # What events do to agents; called from the timeline's thread

    def kill(self, name: str) -> None:
        """End an agent's process; from here on its absence is no failure."""
        agent = self.agents[name]
        agent.down = True
        if agent.pid is not None:
            agent.killed.add(agent.pid)
            self._signal(agent, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """Stop an agent's process."""
        agent = self.agents[name]
        agent.paused = True
        self._signal(agent, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused agent go on."""
        agent = self.agents[name]
        self._signal(agent, signal.SIGCONT)
        agent.paused = False

    def restart(self, name: str, state: str) -> None:
        """Start a killed agent again. Raises MnbedError."""
        agent = self.agents[name]
        # First of all: the end of the killed process may be told only now.
        agent.down = False
        agent.pid, agent.ready, agent.gone, agent.paused = None, None, False, False
        self._respawn(name, state, len(agent.killed), agent.status)

    def _resume_all(self) -> None:
        """Nobody stays paused beyond the end."""
        for agent in self.agents.values():
            if agent.paused:
                self.resume(agent.name)

    def _signal(self, agent: AgentState, number: signal.Signals) -> None:
        if agent.pid is not None:
            self._launcher.send_signal(agent.pid, number)

    def dismiss(self) -> None:
        """Everybody has ended: let connections close and processes exit."""
        self._control.broadcast("exit")
        deadline = time.monotonic() + _END_PATIENCE_S
        while self._control.connected and time.monotonic() < deadline:
            self.poll()

    # Events

    def _take(self, event: object) -> None:
        if isinstance(event, Loaded):
            self.loaded = event
        elif isinstance(event, LauncherGone):
            self._fail(RunError(event.message))
        elif isinstance(event, AgentJoined) and event.name in self.agents:
            agent = self.agents[event.name]
            agent.pid = event.pid
            if agent.down:  # an event was quicker
                self.kill(agent.name)
            elif agent.paused:
                self._signal(agent, signal.SIGSTOP)
        elif isinstance(event, AgentMessage) and event.name in self.agents:
            self._take_message(self.agents[event.name], event.message)
        elif isinstance(event, AgentGone) and event.name in self.agents:
            self._take_end(self.agents[event.name], event.pid, "has gone", _GONE)
        elif isinstance(event, Exited) and event.name in self.agents:
            self._take_end(self.agents[event.name], event.pid, _manner(event.status), _EXITED)

    def _take_end(self, agent: AgentState, pid: int | None, manner: str, rank: int) -> None:
        if pid in agent.killed:
            # It may have been started again meanwhile.
            agent.gone = agent.gone or agent.down
            return
        agent.gone = True
        if not agent.ended:
            self._agent_failed(agent, RunError(f"{agent.name}'s agent {manner}"), rank)

    def _take_message(self, agent: AgentState, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "ready":
            agent.ready = message
            if self._start_monotonic_s is not None:  # it was restarted: the common start is long past
                self._control.send(agent.name, "start", start_monotonic_s=self._start_monotonic_s)
        elif kind == "status":
            agent.status = message
        elif kind == "ended":
            agent.ended = True
        elif kind == "failed":
            error = error_class(message["exit_status"])
            self._agent_failed(
                agent, error(message["message"], message["remedy"], message["traceback"]), _SAID
            )

    def _agent_failed(self, agent: AgentState, error: MnbedError, rank: int) -> None:
        """Keep an agent's failure; its exit status says more than its disappearance, its own words more than both."""
        if agent.failure is not None and rank <= agent.failure_rank:
            return
        agent.failure, agent.failure_rank = error, rank
        if agent not in self._failed:
            self._failed.append(agent)
        if rank > _GONE:
            self._journal.write("agent_died", agent=agent.name, cause=error.message)

    @property
    def error(self) -> MnbedError | None:
        """What failed first; None while nothing has."""
        if self._failed:
            return self._failed[0].failure
        return self._general_error

    def _fail(self, error: MnbedError) -> None:
        if self._general_error is None:
            self._general_error = error

    def _raise_failure(self) -> None:
        if self.error is not None:
            self._wait_for_causes()
            raise self.error

    def _wait_for_causes(self) -> None:
        """A moment for the exit status of an agent whose socket has closed: it says why."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and any(agent.failure_rank == _GONE for agent in self._failed):
            self.poll(0.05)


def _manner(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status} before its end"
