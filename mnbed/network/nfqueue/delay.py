"""The controller's side of the NFQUEUE delay: an iptables rule in each host, and the process that serves the queues."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple, cast

from mnbed.errors import MachineError, RunError
from mnbed.network.mark import note
from mnbed.network.namespaces import run_in
from mnbed.network.processes import is_stopped
from mnbed.plan.model import Plan, Reshape
from mnbed.plan.properties import LinkProperties, PathProperties, along
from mnbed.programs import our_program
from mnbed.records.controller import DelayStatistics
from node_agent.descriptors import wait_readable
from node_agent.streams import stream_seed

_ANSWER_PATIENCE_S = 5.0
# It takes about 2 ms per host.
_START_PATIENCE_S = 30.0
_MAX_TICK_S = 1e-3

Hop = tuple[str, str]
"""(from node, to node) of one direction of a link."""
HostPair = tuple[str, str]
"""(source, destination) of a path."""


class Effect(NamedTuple):
    """What a path does to its packets, wall-clock."""

    delay_s: float
    jitter_s: float
    distribution: str
    loss: float
    bursts: tuple[tuple[int, float, float, float, float], ...] = ()
    """(seed, p, r, loss_bad, loss_good) of each link on the path that loses in bursts. Paths over one link share its
    state, which is identified by the seed."""

    @property
    def lossy(self) -> bool:
        """Whether packets may get lost."""
        return bool(self.loss or self.bursts)


@dataclass(frozen=True, kw_only=True)
class HostPaths:
    """What happens to the packets that arrive at one host, by source."""

    host: str
    sources: Mapping[str, Effect]
    """Address -> effect, of every other host."""
    lossy: bool
    """Whether some source's packets may get lost, now or after a later event."""


def tick_s(dilation: float) -> float:
    """Wall time between two rounds of the process while it is busy.

    0.5 ms of emulated time, but not so long that many packets would count as late.
    """
    return min(0.5e-3 * max(1.0, dilation), _MAX_TICK_S)


def effect_of(path: PathProperties, seeds: Sequence[int]) -> Effect:
    """Rounded to microseconds, so that paths of the same links have the same delay. `seeds`: of the path's links."""
    return Effect(
        delay_s=round(path.delay_s, 6),
        jitter_s=round(path.jitter_s, 6),
        distribution=path.distribution,
        loss=path.loss,
        bursts=tuple((seeds[number], *astuple(model)) for number, model in path.bursts),
    )


class Paths:
    """Which links each path takes, and so which paths a change of links affects."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._routes: dict[HostPair, tuple[Hop, ...]] = {}
        self._over: dict[Hop, list[HostPair]] = {}
        self._seeds = {hop: stream_seed(plan.experiment.seed, "burst_loss", *hop) for hop in plan.directions}
        self._addresses = {host.name: host.address for host in plan.hosts}
        for source in self._addresses:
            for target in self._addresses:
                if source != target:
                    directions = plan.route(source, target)
                    route = tuple((direction.source, direction.target) for direction in directions)
                    self._routes[source, target] = route
                    for hop in route:
                        self._over.setdefault(hop, []).append((source, target))

    def effects(
        self, wires: Mapping[Hop, LinkProperties], changed: Iterable[Hop] | None = None
    ) -> dict[str, dict[str, Effect]]:
        """Host -> source's address -> effect, of all paths or of those that take one of the changed directions."""
        pairs: Iterable[HostPair] = self._routes
        if changed is not None:
            pairs = dict.fromkeys(pair for hop in changed for pair in self._over.get(hop, ()))
        effects: dict[str, dict[str, Effect]] = {}
        for source, target in pairs:
            route = self._routes[source, target]
            path = along((wires[hop] for hop in route), self._plan.pair(source, target))
            effect = effect_of(path, [self._seeds[hop] for hop in route])
            effects.setdefault(target, {})[self._addresses[source]] = effect
        return effects


def host_paths(plan: Plan, paths: Paths, everyone: bool = False) -> list[HostPaths]:
    """Every host whose packets are delayed or lost at some time in the run, in the hosts' order; or every host."""
    wires = {hop: direction.wire for hop, direction in plan.directions.items()}
    now = paths.effects(wires)
    ever: dict[str, list[Effect]] = {host: list(effects.values()) for host, effects in now.items()}
    for event in plan.timeline:
        if isinstance(event, Reshape):
            changed = {(direction.source, direction.target): direction.wire for direction in event.directions}
            wires.update(changed)
            for host, effects in paths.effects(wires, changed).items():
                ever[host] += effects.values()
    return [
        HostPaths(
            host=host.name, sources=now[host.name], lossy=any(effect.lossy for effect in ever[host.name])
        )
        for host in plan.hosts
        if everyone
        or any(effect.delay_s or effect.jitter_s or effect.lossy for effect in ever.get(host.name, ()))
    ]


class DelayProcess:
    """The process that holds packets back. `statistics` is set once it has stopped."""

    def __init__(self, process: subprocess.Popen[str], paths: Paths, hosts: list[HostPaths]) -> None:
        self._process = process
        self._paths = paths
        self._numbers = {arriving.host: number for number, arriving in enumerate(hosts)}
        self.statistics: dict[str, float] | None = None
        # Events and a prompt may change links at the same time.
        self._lock = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def start(
        cls,
        plan: Plan,
        pid_of: Callable[[str], int],
        interfaces: Sequence[tuple[int, list[str]]],
        everyone: bool = False,
    ) -> Iterator[DelayProcess]:
        """Install the rules and start the process; it ends with the block. Raises MachineError or RunError.

        `interfaces`: (process in a namespace, its interfaces), all of the network's. `everyone`: include hosts
        whose packets are not delayed yet, since somebody may change links by hand.
        """
        paths = Paths(plan)
        hosts = host_paths(plan, paths, everyone)
        devices = {direction.source: direction.interface for direction in plan.directions.values()}
        entries = []
        for arriving in hosts:
            host, pid = arriving.host, pid_of(arriving.host)
            rule = f"*mangle\n-A PREROUTING -i {devices[host]} -j NFQUEUE --queue-num 0\nCOMMIT\n"
            what = f"sending {host}'s packets to NFQUEUE"
            run_in(pid, ["iptables-restore", "--noflush"], text=rule, what=what)
            seed = stream_seed(plan.experiment.seed, "delay", host)
            entries.append({"pid": pid, "gso": not arriving.lossy, "seed": seed, "sources": arriving.sources})
        process = subprocess.Popen(
            our_program("mnbed.network.nfqueue.delay_queue"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C must not stop the delay before the agents have ended.
            start_new_session=True,
        )
        delay = cls(process, paths, hosts)
        try:
            note(process.pid)
            answer = delay._ask(
                {"tick_s": tick_s(plan.dilation), "hosts": entries, "interfaces": interfaces},
                _START_PATIENCE_S,
            )
            if answer != "ready":
                silent = "it was stopped (SIGSTOP)" if delay.stopped() else "it ended or did not answer"
                raise MachineError(
                    f"the NFQUEUE delay did not start: {answer or silent}",
                    "a kernel with sch_netem (delay_backend: netem), or with nfnetlink_queue",
                )
            yield delay
        finally:
            delay.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def update(self, wires: Mapping[Hop, LinkProperties], changed: Iterable[Hop]) -> None:
        """The links in `changed` have new properties now; `wires` has those of all links. Raises RunError.

        Packets that are waiting already keep their deadlines.
        """
        effects = self._paths.effects(wires, changed)
        update = [
            {"host": self._numbers[host], "sources": sources}
            for host, sources in effects.items()
            if host in self._numbers
        ]
        if update and (answer := self._ask({"update": update}, _ANSWER_PATIENCE_S)) != "done":
            raise RunError(f"the NFQUEUE delay was not changed: {answer or 'no answer'}")

    def take_statistics(self) -> DelayStatistics:
        """What the queues did since they began, or since the last call; empty if the process has ended."""
        with contextlib.suppress(ValueError):
            return cast(
                "DelayStatistics", dict(json.loads(self._ask({"statistics": True}, _ANSWER_PATIENCE_S)))
            )
        return {}

    def _ask(self, order: object, patience_s: float) -> str:
        """The process's answer; empty if it has ended or takes too long."""
        with self._lock:
            return self._ask_alone(order, patience_s)

    def _ask_alone(self, order: object, patience_s: float) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        if patience_s is not None and not wait_readable(self._process.stdout, patience_s):
            return ""
        return self._process.stdout.readline().strip()

    def died(self) -> bool:
        """Whether the process has ended although nobody stopped it."""
        return self.statistics is None and self._process.poll() is not None

    def stopped(self) -> bool:
        """Whether something keeps it from running: SIGSTOP, or a debugger."""
        return is_stopped(self._process.pid)

    def stop(self) -> None:
        """End the process and keep its statistics; a second call does nothing."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            output, _ = self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        with contextlib.suppress(ValueError, IndexError):
            self.statistics = json.loads(output.splitlines()[-1])
