"""The agents of one run, from launch to the last one's end: start barrier, supervision, failures, link counters.

Knows sockets and processes only through the events that `control` and `launch` report.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnbed.errors import InputError, MachineError, MnbedError, RunError
from mnbed.network.build import Network
from mnbed.network.counters import CounterReader, InterfaceCounters
from mnbed.run.control import AgentGone, AgentJoined, AgentMessage, ControlServer
from mnbed.run.launch import ExecLauncher, Exited, LauncherGone, Loaded, PreforkLauncher
from mnbed.run.signals import Signals
from node_agent.journal import Journal

# Nothing a healthy machine does takes this long; without a bound a lost message would hang the run for ever.
_BARRIER_PATIENCE_S = 300.0
_END_PATIENCE_S = 20.0
_POLL_S = 0.2
# Shorter intervals would show bursts, not rates.
_SAMPLE_S = 1.0
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
    failure: MnbedError | None = None
    failure_rank: int = -1
    status: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LinkTotals:
    """Counters of one interface over the run; peak in wall-clock bit/s."""

    bytes_sent: int
    drops: int
    peak_bps: float | None


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
        on_update: Callable[[], None],
    ) -> None:
        self.agents = {name: AgentState(name) for name in names}
        self.loaded: Loaded | None = None
        self._failed: list[AgentState] = []
        self._general_error: MnbedError | None = None
        self._selector = selector
        self._control = control
        self._launcher = launcher
        self._journal = journal
        self._signals = signals
        self._on_update = on_update

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
        while self.loaded is None:
            self.poll()
            self._raise_failure()
        return self.loaded

    def wait_ready(self) -> None:
        """The start barrier: every agent is connected, listening and warm. Raises the first one's failure."""
        deadline = time.monotonic() + _BARRIER_PATIENCE_S
        while not all(agent.ready for agent in self.agents.values()):
            self.poll()
            self._raise_failure()
            if time.monotonic() > deadline:
                late = [agent.name for agent in self.agents.values() if not agent.ready]
                raise RunError(
                    f"{', '.join(late[:10])} did not reach the start barrier in {_BARRIER_PATIENCE_S:.0f} s"
                )

    def start(self) -> float:
        """Give the common start; returns it, on the monotonic clock."""
        start = time.monotonic() + _START_AHEAD_S + 0.002 * len(self.agents)
        self._control.broadcast("start", start_monotonic_s=start)
        return start

    def supervise(self, network: Network, until_monotonic_s: float) -> dict[str, LinkTotals]:
        """Watch until every agent has ended; the first failure or signal stops all of them.

        Returns interface -> totals. `error` says what failed, if anything did.
        """
        sampler = LinkSampler(network)
        deadline, stopping = until_monotonic_s + _END_PATIENCE_S, False
        try:
            while not all(agent.ended or agent.gone for agent in self.agents.values()):
                self.poll()
                sampler.sample()
                if network.delay is not None and network.delay.died():
                    self._fail(RunError("the process that delays packets has ended"))
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
            sampler.close()

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
            self.agents[event.name].pid = event.pid
        elif isinstance(event, AgentMessage) and event.name in self.agents:
            self._take_message(self.agents[event.name], event.message)
        elif isinstance(event, AgentGone) and event.name in self.agents:
            agent = self.agents[event.name]
            agent.gone = True
            if not agent.ended:
                self._agent_failed(agent, RunError(f"{agent.name}'s agent has gone"), _GONE)
        elif isinstance(event, Exited) and event.name in self.agents:
            agent = self.agents[event.name]
            agent.gone = True
            if not agent.ended:
                self._agent_failed(agent, RunError(f"{agent.name}'s agent {_manner(event.status)}"), _EXITED)

    def _take_message(self, agent: AgentState, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "ready":
            agent.ready = message
        elif kind == "status":
            agent.status = message
        elif kind == "ended":
            agent.ended = True
        elif kind == "failed":
            error = {2: InputError, 3: MachineError}.get(message["exit_status"], RunError)
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


class LinkSampler:
    """Samples every interface's counters while agents train."""

    def __init__(self, network: Network) -> None:
        self._interfaces = {
            interface for link in network.plan.links for interface in (link.a_interface, link.b_interface)
        }
        self._reader = CounterReader({name: network.pid(name) for name in network.node_names()})
        self._first = self._last = self._reader.read()
        self._at = time.monotonic()
        self._peak: dict[str, float] = {}

    def sample(self) -> None:
        """Read the counters, at most once a second."""
        now = time.monotonic()
        if now - self._at < _SAMPLE_S:
            return
        counters = self._reader.read()
        for interface in self._interfaces & counters.keys() & self._last.keys():
            rate = (counters[interface].bytes_sent - self._last[interface].bytes_sent) * 8 / (now - self._at)
            self._peak[interface] = max(rate, self._peak.get(interface, 0.0))
        self._last, self._at = counters, now

    def totals(self) -> dict[str, LinkTotals]:
        """Interface -> what it carried since the sampler was made."""
        none = InterfaceCounters(0, 0, 0)
        last = self._reader.read()
        return {
            interface: LinkTotals(
                bytes_sent=last.get(interface, none).bytes_sent - self._first.get(interface, none).bytes_sent,
                drops=last.get(interface, none).drops - self._first.get(interface, none).drops,
                peak_bps=self._peak.get(interface),
            )
            for interface in sorted(self._interfaces)
        }

    def close(self) -> None:
        self._reader.close()


def memory_mb(pids: Iterable[int]) -> float | None:
    """Mean proportional set size of those processes, megabytes; None where it cannot be read."""
    sizes = []
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes += [int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")]
    return sum(sizes) / len(sizes) * 1024 / 1e6 if sizes else None


def _manner(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status} before its end"
