"""What can be done by hand to a live network and its agents; `prompt.py` turns this into verbs.

All quantities are emulated. A run started here is a complete run, with its own directory and results, in a separate
thread.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from mnbed.errors import InputError, MnbedError, RunError
from mnbed.experiment.link_settings import PartialLinkSettings
from mnbed.network.build import Network
from mnbed.network.capture import Capture
from mnbed.network.counters import CounterReader
from mnbed.network.live_changes import LiveNetwork
from mnbed.plan.link_property import unable
from mnbed.plan.links import direction_problems, in_words, merged, no_such_link
from mnbed.plan.model import Direction, Plan
from mnbed.plan.properties import PROPERTIES, LinkProperties
from mnbed.records.controller import Change
from mnbed.run.agent_state import DOWN, AgentState, Phase
from mnbed.run.job import Job, Outcome
from mnbed.run.supervisor import Supervisor
from mnbed.run.user_side import UserSide

# Wall time over which a rate is measured.
_RATE_S = 0.5
_STOP_PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class LinkState:
    """One direction of a link, now; emulated units."""

    source: str
    target: str
    asked: LinkProperties
    rate_bps: float
    """Carried at this moment, including Ethernet headers."""
    bytes_sent: int
    drops: int
    backlog_bytes: int
    up: bool


class Workbench:
    """A live network, and the runs on it."""

    def __init__(
        self, network: Network, live: LiveNetwork, side: UserSide, out: Path, job: Job | None = None
    ) -> None:
        """`job`: a run that has just ended on this network; without one, runs may be started."""
        self.network = network
        self.plan: Plan = network.plan
        self._live = live
        # Not the run's own user side, which is busy for long periods.
        self._side = side
        self._out = out
        self._ended_job = job
        self._job: Job | None = job
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | MnbedError | None = None
        self._asked = {ends: direction.asked for ends, direction in network.plan.directions.items()}
        if job is not None:
            # Events may have changed links.
            for ends, wire in network.wires.items():
                self._asked[ends] = wire.dilated(1 / network.plan.dilation)
        self._shut: set[frozenset[str]] = set()
        self._captures: list[Capture] = []
        self.on_end: Callable[[], None] = lambda: None
        """Called in the run's thread when a run has ended."""

    @classmethod
    @contextlib.contextmanager
    def of(cls, network: Network, out: Path, job: Job | None = None) -> Iterator[Workbench]:
        """On exit, captures end, and so does a run in progress; what was collected is kept and evaluated."""
        with UserSide.start() as side, LiveNetwork.of(network) as live:
            bench = cls(network, live, side, out, job)
            try:
                yield bench
            finally:
                bench.stop_captures()
                bench.stop_run()

    # Links

    def shape(self, a: str, b: str, change: PartialLinkSettings, *, one_way: bool) -> list[Direction]:
        """Change a link's properties at once; returns its directions as they are now. Raises InputError, RunError."""
        ways = [(a, b)] if one_way else [(a, b), (b, a)]
        changed = []
        for ends in ways:
            direction = self.direction(*ends)
            asked = merged(self._asked[ends], change)
            changed.append(replace(direction, asked=asked, wire=asked.dilated(self.plan.dilation)))
        problems = [text for direction in changed for _, text in direction_problems(direction)]
        if problems:
            raise InputError(problems[0])
        backend = self.plan.delay_backend
        for row in unable(PROPERTIES, [direction.asked for direction in changed], backend):
            if backend == "none":
                raise InputError(
                    "this kernel has neither netem nor NFQUEUE: links can have no delay, jitter or loss"
                )
            raise InputError(
                f"{row.key}: the delay backend {backend} cannot do it; {' or '.join(row.backends)} can"
            )
        self._live.reshape(changed)
        for direction in changed:
            self._asked[direction.source, direction.target] = direction.asked
        links = [[direction.source, direction.target] for direction in changed]
        self._note(f"{a} - {b} by hand: {in_words(change)}", {"kind": "reshape", "directions": links})
        return changed

    def set_link(self, a: str, b: str, up: bool) -> None:
        """Take a link down in both directions, or up again. Raises InputError, RunError."""
        self.direction(a, b)
        self._live.set_link(a, b, up)
        if up:
            self._shut.discard(frozenset((a, b)))
        else:
            self._shut.add(frozenset((a, b)))
        self._note(
            f"{a} - {b} {'up' if up else 'down'} by hand", {"kind": "reshape", "directions": [[a, b], [b, a]]}
        )

    def direction(self, a: str, b: str) -> Direction:
        """The direction from a to b. Raises InputError, naming the links that exist, if there is none."""
        try:
            return self.plan.directions[a, b]
        except KeyError:
            import networkx as nx

            raise InputError(no_such_link(nx.Graph(self.plan.directions.keys()), a, b)) from None

    def link_states(self, ends: tuple[str, str] | None = None) -> list[LinkState]:
        """All directions, or the two of one link; takes half a second. Raises InputError, OSError."""
        if ends is None:
            chosen = list(self.plan.directions.values())
        else:
            chosen = [self.direction(*ends), self.direction(*reversed(ends))]
        nodes = {direction.source for direction in chosen}
        reader = CounterReader({node: self.network.pid(node) for node in nodes})
        try:
            before, began = reader.read(), time.monotonic()
            time.sleep(_RATE_S)
            after, took = reader.read(), time.monotonic() - began
        finally:
            reader.close()
        return [
            LinkState(
                source=direction.source,
                target=direction.target,
                asked=self._asked[direction.source, direction.target],
                rate_bps=(now.bytes_sent - before[direction.interface].bytes_sent)
                * 8
                / took
                * self.plan.dilation,
                bytes_sent=now.bytes_sent,
                drops=now.drops,
                backlog_bytes=now.backlog_bytes,
                up=frozenset((direction.source, direction.target)) not in self._shut,
            )
            for direction in chosen
            for now in (after[direction.interface],)
        ]

    # Captures

    def capture(self, a: str, b: str, path: Path) -> Capture:
        """Write what passes a's interface towards b to a pcap file, until `stop_captures`. Raises InputError."""
        direction = self.direction(a, b)
        descriptor = self._side.open_new(path)
        try:
            capture = Capture(self.network.pid(a), direction.interface, path, descriptor)
        except OSError as error:
            raise InputError(f"{path}: cannot write a capture there: {error.strerror}") from None
        self._captures.append(capture)
        return capture

    def stop_captures(self) -> list[Capture]:
        """End all of them; returns those that were running."""
        captures, self._captures = self._captures, []
        for capture in captures:
            capture.stop()
        return captures

    # Agents

    @property
    def running(self) -> bool:
        """Whether a run is going on or being evaluated."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def job(self) -> Job | None:
        """The run in progress, or the last one."""
        return self._job

    @property
    def agents(self) -> Mapping[str, AgentState]:
        """What is known about each agent of the current or last run; empty before the first."""
        supervisor = self._job.supervisor if self._job is not None else None
        return supervisor.agents if supervisor is not None else {}

    def start_run(self) -> Path:
        """Start agents on all hosts; returns the run directory. Raises InputError, RunError."""
        if self._ended_job is not None:
            raise InputError(
                "the run on this network is over; `mnbed cli FILE` opens a prompt that can start runs"
            )
        if self.running:
            raise InputError("a run is going on; `stop` ends it")
        job = self._job = Job(
            self.plan,
            out=self._out,
            report=True,
            console=Console(file=io.StringIO(), quiet=True),
            network=self.network,
        )
        self._outcome = None
        self._thread = threading.Thread(target=self._execute, args=(job,), name="run", daemon=True)
        self._thread.start()
        return job.run.path

    def start_agent(self, name: str, state: str) -> None:
        """Start one agent that was stopped. Raises InputError, MnbedError."""
        supervisor, agent = self._agent(name)
        if agent.phase not in DOWN:
            raise InputError(f"{name} is running")
        supervisor.restart(name, state)
        self._note(f"{name} started by hand", {"kind": "node", "host": name, "action": "restart"})

    def stop_agent(self, name: str) -> None:
        """End one agent's process; the run goes on. Raises InputError."""
        supervisor, agent = self._agent(name)
        if agent.phase in DOWN or agent.phase is Phase.ENDED:
            raise InputError(f"{name} is not running")
        supervisor.kill(name)
        self._note(f"{name} stopped by hand", {"kind": "node", "host": name, "action": "kill"})

    def restart_agent(self, name: str, state: str) -> None:
        """Stop and start one agent. Raises InputError, MnbedError."""
        _, agent = self._agent(name)
        if agent.phase not in DOWN:
            self.stop_agent(name)
        self.start_agent(name, state)

    def stop_run(self) -> None:
        """End the run as Ctrl-C would, and wait for its results."""
        if self._thread is None:
            return
        if self._thread.is_alive() and self._job is not None:
            self._job.stop()
        self._thread.join()

    def outcome(self) -> Outcome | MnbedError | None:
        """How the last run ended; reported only once."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def tail(self, name: str, count: int) -> list[str]:
        """The last lines of a node's log. Raises InputError, RunError."""
        if self._job is None:
            raise InputError("no agent has run yet: `start` starts them")
        known = [host.name for host in self.plan.hosts]
        if name not in (*known, "controller"):
            raise InputError(f"no host {name!r}; there are: {', '.join(known)}")
        return self._side.tail(self._job.run.path, name, count)

    def _agent(self, name: str) -> tuple[Supervisor, AgentState]:
        if not self.running:
            raise InputError("no run is going on: `start` starts one")
        if not self.agents:
            raise InputError("the run is still starting")
        if name not in self.agents:
            raise InputError(f"no agent {name!r}; there are: {', '.join(self.agents)}")
        assert self._job is not None
        assert self._job.supervisor is not None
        if self._job.supervisor.over:
            raise InputError(
                "training has ended, and the run is being evaluated: `start` starts another after it"
            )
        agent = self.agents[name]
        if agent.ready is None and agent.phase not in DOWN:
            raise InputError(f"{name} is still starting")
        return self._job.supervisor, agent

    def _execute(self, job: Job) -> None:
        try:
            self._outcome = job.execute()
        except MnbedError as error:
            self._outcome = error
        except Exception as error:
            self._outcome = RunError(f"the run failed: {type(error).__name__}: {error}")
        self.on_end()

    def _note(self, text: str, change: Change) -> None:
        """Record what was done by hand in the journal of the run that it affects."""
        job = self._job
        now = None if job is None else job.emulated_now()
        if not self.running or job is None or job.journal is None or now is None:
            return
        job.journal.write(
            "applied",
            text=text,
            entry=None,
            planned_s=now,
            late_s=0.0,
            by_hand=True,
            **change,
        )
