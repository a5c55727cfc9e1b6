"""What is known about each agent, and how reports of agents and launcher, and the experiment's events, change it.

Only for the supervisor's loop; nothing in here waits. Launcher and control socket both report the same processes, so
the same news may come twice and in any order, and news of a killed process even after its successor has started.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

from mnbed.errors import MnbedError, RunError, error_from
from mnbed.run.agent_state import DOWN, LIVING, AgentState, Phase, Source
from mnbed.run.control import AgentGone, AgentJoined, AgentMessage
from mnbed.run.journal import ControllerJournal
from mnbed.run.launch import Exited, Launched
from mnbed.run.ports import Control, Launcher, Restarter
from node_agent import control_messages as messages
from node_agent.failures import end_in_words
from node_agent.settings import ResumeSettings

AgentEvent = Launched | AgentJoined | AgentMessage | AgentGone | Exited


class Roster:
    """The agents of a run."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        control: Control,
        launcher: Launcher,
        restarter: Restarter,
        journal: ControllerJournal,
    ) -> None:
        self.agents = {name: AgentState(name) for name in names}
        self.failed: list[AgentState] = []
        """Agents that failed, in the order in which that became known."""
        self.start_monotonic_s: float | None = None
        """The common start, once it is set; an agent that becomes ready later receives it at once."""
        self._control = control
        self._launcher = launcher
        self._restarter = restarter
        self._journal = journal

    @property
    def all_done(self) -> bool:
        """Whether nothing more is expected of any of them."""
        return all(agent.done for agent in self.agents.values())

    @property
    def late_for_the_start(self) -> list[str]:
        """Names of the agents that have not reached the start barrier yet."""
        return [
            agent.name for agent in self.agents.values() if agent.ready is None and agent.phase not in DOWN
        ]

    @property
    def pids(self) -> list[int]:
        """The processes of all agents that have one."""
        return [agent.pid for agent in self.agents.values() if agent.pid is not None]

    @property
    def causes_missing(self) -> bool:
        """Whether an agent has disappeared whose exit status, which says why, is still to come."""
        return any(agent.failure_source is Source.DISAPPEARANCE for agent in self.failed)

    # What is done to them

    def kill(self, agent: AgentState) -> None:
        """End its process; from now on its absence is not a failure."""
        if agent.phase in LIVING or agent.phase is Phase.ENDED:
            agent.enter(Phase.KILLED)
        # Otherwise it is already killed, or it has failed, and its end is still a failure.
        if agent.pid is not None:
            self._kill_process(agent, agent.pid)

    def _kill_process(self, agent: AgentState, pid: int) -> None:
        agent.killed.add(pid)
        self._launcher.send_signal(pid, signal.SIGKILL)

    def pause(self, agent: AgentState) -> None:
        """Stop its process, if it is alive."""
        if agent.phase in LIVING - {Phase.PAUSED}:
            agent.enter(Phase.PAUSED)
            self._signal(agent, signal.SIGSTOP)

    def resume(self, agent: AgentState) -> None:
        """Continue its process, if it is paused."""
        if agent.phase is Phase.PAUSED:
            agent.enter(agent.activity)
            self._signal(agent, signal.SIGCONT)

    def resume_all(self) -> None:
        """At the end: no agent stays paused."""
        for agent in self.agents.values():
            self.resume(agent)

    def about_to_restart(self, agent: AgentState) -> bool:
        """Whether it is down, so that it can be restarted. Raises RunError if its old process cannot be found."""
        if agent.phase is Phase.KILLED and agent.pid is None:
            raise RunError(
                f"{agent.name} was killed while it was starting, and its process has not been seen"
            )
        return agent.phase in DOWN

    def restart(self, agent: AgentState, resume: ResumeSettings) -> None:
        """Start a new process for it if it is down. If that fails, raises MnbedError and changes nothing."""
        if agent.phase in DOWN:  # checked again: another thread may have been quicker
            self._restarter.launch(agent.name, resume)
            agent.start_again()

    def _signal(self, agent: AgentState, number: signal.Signals) -> None:
        if agent.pid is not None:
            self._launcher.send_signal(agent.pid, number)

    # What they report

    def take(self, event: AgentEvent) -> None:
        """Process a report; one about an unknown agent is ignored."""
        agent = self.agents.get(event.name)
        if agent is None:
            return
        if isinstance(event, (Launched, AgentJoined)):
            self._take_process(agent, event.pid)
        elif isinstance(event, AgentMessage):
            self._take_message(agent, event.pid, event.message)
        elif isinstance(event, AgentGone):
            self._take_end(agent, event.pid, "disappeared", Source.DISAPPEARANCE)
        else:
            early = "" if event.status < 0 else " before its end"
            self._take_end(agent, event.pid, end_in_words(event.status) + early, Source.EXIT_STATUS)

    def _take_process(self, agent: AgentState, pid: int) -> None:
        """Launcher and control socket both report a process, in any order."""
        if pid in agent.killed or pid == agent.pid:
            return
        if agent.phase in DOWN:  # an event was quicker
            if agent.phase is Phase.KILLED:
                agent.pid = pid
            self._kill_process(agent, pid)
        elif agent.pid is None and agent.phase in LIVING:
            agent.pid = pid
            if agent.phase is Phase.PAUSED:
                self._signal(agent, signal.SIGSTOP)

    def _take_end(self, agent: AgentState, pid: int, manner: str, source: Source) -> None:
        """Launcher and control socket both report the end of a process, in any order."""
        former = pid in agent.killed
        if pid == agent.pid or (agent.pid is None and not former):
            agent.pid = None
            if agent.phase is Phase.KILLED:
                agent.killed.add(pid)
                agent.enter(Phase.GONE)
        if not former and agent.phase in LIVING | {Phase.FAILED}:
            self._agent_failed(agent, RunError(f"{agent.name}'s agent {manner}"), source)

    def _take_message(self, agent: AgentState, pid: int, message: messages.Message) -> None:
        """A message from a killed process may be read long afterwards, even after the restart."""
        former = pid in agent.killed
        if message["kind"] == "failed":
            failure = error_from(
                message["exit_status"], message["message"], message["remedy"], message["traceback"]
            )
            self._agent_failed(agent, failure, Source.OWN_WORDS)
        elif message["kind"] == "status" and (not former or agent.phase in DOWN):
            agent.status = message
            if agent.phase is Phase.READY:
                agent.enter(Phase.TRAINING)
        elif message["kind"] == "ready" and not former and agent.phase in (Phase.STARTING, Phase.PAUSED):
            self._take_ready(agent, message)
        elif message["kind"] == "ended" and not former and agent.phase in LIVING:
            if agent.phase is Phase.PAUSED:  # it sent this before it was stopped, and still has to exit
                self._signal(agent, signal.SIGCONT)
            agent.enter(Phase.ENDED)

    def _take_ready(self, agent: AgentState, message: messages.Ready) -> None:
        agent.ready = message
        if agent.phase is Phase.STARTING:
            agent.enter(agent.activity)
        if self.start_monotonic_s is not None:  # it was restarted after the common start
            self._control.send(agent.name, "start", start_monotonic_s=self.start_monotonic_s)

    def _agent_failed(self, agent: AgentState, error: MnbedError, source: Source) -> None:
        """Keep the best explanation of a failure: exit status over disappearance, the agent's own message over both."""
        if agent.failure_source is not None and source <= agent.failure_source:
            return
        if agent.phase is not Phase.FAILED:
            agent.enter(Phase.FAILED)
            self.failed.append(agent)
        agent.failure, agent.failure_source = error, source
        if source > Source.DISAPPEARANCE:
            self._journal.write("agent_died", agent=agent.name, cause=error.message)
