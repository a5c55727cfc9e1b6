"""The agents of a run: the launcher that forks them, the sockets that reach them, and the settings of each."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import secrets
import selectors
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from mnbed.experiment.foreign import plain
from mnbed.network.build import Network
from mnbed.network.mark import RUNTIME_DIRECTORY
from mnbed.plan.model import Plan
from mnbed.plan.rerun import keeps_ledger
from mnbed.run.control import ControlServer
from mnbed.run.journal import ControllerJournal
from mnbed.run.launch import ExecLauncher, PreforkLauncher, orders_for
from mnbed.run.mailbox import Mailbox
from mnbed.run.signals import Signals
from mnbed.run.supervisor import Supervisor
from mnbed.run.user import data_root
from mnbed.run.user_side import UserSide
from mnbed.run_directory import RunDirectory
from node_agent.control_messages import Status
from node_agent.settings import AgentSettings, PeerSettings, ResumeSettings

# At the prompt, one process may execute several runs.
_numbers = itertools.count(1)


class AgentGroup:
    """Started before the network is built, so that data and torch load meanwhile; `join` connects the two."""

    def __init__(
        self,
        plan: Plan,
        run: Path,
        side: UserSide,
        control: ControlServer,
        launcher: PreforkLauncher | ExecLauncher,
        selector: selectors.BaseSelector,
        mailbox: Mailbox,
        token: str,
    ) -> None:
        self._plan = plan
        self._run = run
        self._side = side
        self._control = control
        self._selector = selector
        self._mailbox = mailbox
        self._token = token
        self.launcher = launcher
        self.settings = self._agent_settings()

    @classmethod
    @contextlib.contextmanager
    def start(cls, plan: Plan, run: Path, side: UserSide) -> Iterator[AgentGroup]:
        """`run`: the run directory, for the agents. On exit, every agent is ended."""
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            mailbox = Mailbox(selector)
            stack.callback(mailbox.close)
            token = secrets.token_hex(16)
            directory = RUNTIME_DIRECTORY / f"run-{os.getpid()}-{next(_numbers)}"
            control = ControlServer(directory, token, side.user, selector)
            stack.callback(control.close)
            experiment = plan.experiment
            orders = orders_for(
                asdict(experiment.task),
                data_root(experiment.data_root, side.user),
                experiment.seed,
                len(plan.hosts),
                side.user,
            )
            launcher: PreforkLauncher | ExecLauncher
            if experiment.agents.launch == "exec":
                launcher = stack.enter_context(ExecLauncher.start(orders))
            else:
                log = side.open_in_run("parent.log")
                path = RunDirectory(run).nodes / "parent.log"
                launcher = stack.enter_context(PreforkLauncher.start(orders, path, log, selector))
            yield cls(plan, run, side, control, launcher, selector, mailbox, token)

    def join(
        self, network: Network, journal: ControllerJournal, signals: Signals, on_update: Callable[[], None]
    ) -> Supervisor:
        """The supervisor that drives the agents on that network."""
        return Supervisor(
            (host.name for host in self._plan.hosts),
            selector=self._selector,
            mailbox=self._mailbox,
            control=self._control,
            launcher=self.launcher,
            restarter=_Restarter(self, network, self._side),
            journal=journal,
            signals=signals,
            on_update=on_update,
        )

    def _max_round(self) -> int:
        """A round that no node reaches: twice as many as the fastest node could do without ever waiting."""
        experiment = self._plan.experiment
        step_time_s = min(host.step_time_s for host in self._plan.hosts)
        round_s = step_time_s * int(getattr(experiment.task, "local_steps", 1))
        return 16 + 2 * math.ceil(experiment.time.duration / round_s)

    def _agent_settings(self) -> list[AgentSettings]:
        experiment, port = self._plan.experiment, self._plan.experiment.agents.port
        peers = {
            host.name: PeerSettings(name=host.name, index=host.index, address=host.address, port=port)
            for host in self._plan.hosts
        }
        indices = {host.name: host.index for host in self._plan.hosts}
        neighbours = {host.name: [indices[peer] for peer in host.peers] for host in self._plan.hosts}
        complete = all(len(indices) == len(self._plan.hosts) - 1 for indices in neighbours.values())
        return [
            AgentSettings(
                name=host.name,
                index=host.index,
                num_nodes=len(self._plan.hosts),
                address=host.address,
                port=port,
                peers=tuple(peers[name] for name in host.peers),
                token=self._token,
                run_directory=str(self._run),
                control_socket=str(self._control.path),
                seed=experiment.seed,
                dilation=self._plan.dilation,
                duration_s=experiment.time.duration,
                step_time_s=host.step_time_s,
                snapshot_every_s=experiment.evaluate.every,
                snapshot_model=experiment.evaluate.model,
                algorithm=plain(experiment.algorithm),
                task=asdict(experiment.task),
                data_root=str(data_root(experiment.data_root, self._side.user)),
                ledger=keeps_ledger(self._plan),
                overlay=None
                if complete
                else {str(indices[name]): neighbours[name] for name in (host.name, *host.peers)},
                max_round=self._max_round(),
            )
            for host in self._plan.hosts
        ]


class _Restarter:
    """Restarts a killed agent on its host."""

    def __init__(self, group: AgentGroup, network: Network, side: UserSide) -> None:
        self._group = group
        self._network = network
        self._side = side

    def resume(self, name: str, state: str, life: int, status: Status | None) -> ResumeSettings:
        return self._side.resume(name, state, life, status)

    def launch(self, name: str, resume: ResumeSettings) -> None:
        (settings,) = [settings for settings in self._group.settings if settings.name == name]
        self._group.launcher.launch(self._network, [replace(settings, resume=resume)])
