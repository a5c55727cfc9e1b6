"""Changes a network while packets run: other link properties, links that go down, groups that lose each other.

Nothing that is on its way is lost by a change of properties, and nobody is told of a link that is down or of a
partition: packets get lost, as they do behind a router that has died. Interfaces stay up, for the kernel takes up to a
second to believe in a carrier again.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from mnbed.errors import RunError
from mnbed.network import shaping
from mnbed.network.build import Network
from mnbed.network.namespaces import heredoc
from mnbed.plan.model import Direction

# No interface has it, no switch knows it, and nothing is flooded: frames to it end at the first switch. Locally
# administered, unlike those of hosts, which count from 1.
_NOBODY = "02:00:00:00:00:00"


class _Shell:
    """A shell that waits in a namespace: a change takes two milliseconds there, and twenty where one is started."""

    def __init__(self, pid: int) -> None:
        self._process = subprocess.Popen(
            ["mnexec", "-a", str(pid), "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def begin(self, script: str) -> None:
        """Have it run that script, without waiting."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `finish` finds out
            self._process.stdin.write(f"(set -e\n{script}\n) </dev/null\ns=$?; echo; echo @$s\n")
            self._process.stdin.flush()

    def finish(self, what: str) -> None:
        """Wait for the script's end. Raises RunError with its words where it failed."""
        assert self._process.stdout is not None
        said: list[str] = []
        for line in self._process.stdout:
            if line.startswith("@"):
                if line.strip() != "@0":
                    raise RunError(f"{what}: {'; '.join(said[:5]) or 'no reason given'}")
                return
            if line.strip():
                said.append(line.strip())
        raise RunError(f"{what}: the shell in the namespace has ended")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class LiveNetwork:
    """The changes that a standing network can take. Not to be used from several threads."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._plan = network.plan
        self._shells: dict[str, _Shell] = {}
        self._groups: tuple[tuple[str, ...], ...] = ()

    @classmethod
    @contextlib.contextmanager
    def of(cls, network: Network, nodes: Iterable[str] = ()) -> Iterator[LiveNetwork]:
        """`nodes`: where changes are to come, so that the first of them is as quick as the others."""
        live = cls(network)
        try:
            for node in nodes:
                live._shell(node)
            yield live
        finally:
            for shell in live._shells.values():
                shell.close()

    def reshape(self, directions: Sequence[Direction]) -> None:
        """Give those directions the properties they carry, in `wire`. Raises RunError."""
        backend, hosts = self._plan.delay_backend, {host.name for host in self._plan.hosts}
        scripts: dict[str, str] = {}
        for one in directions:
            leaves = self._network.leaves(one, one.wire)
            commands = shaping.change_commands(one.interface, one.wire, backend, leaves)
            script = heredoc("tc -batch -", commands)
            if one.source in hosts:
                script += f"ip link set {one.interface} gso_max_size {shaping.gso_bytes(one.wire, leaves)}\n"
            scripts[one.source] = scripts.get(one.source, "") + script
        self._run(scripts, "changing links")
        changed = {(one.source, one.target): one.wire for one in directions}
        self._network.wires.update(changed)
        if self._network.delay is not None:
            self._network.delay.update(self._network.wires, changed)

    def set_link(self, a: str, b: str, up: bool) -> None:
        """Take a link down, both ways, or up again. Raises KeyError for an unknown link, RunError."""
        direction = self._plan.directions[a, b]
        names = set(self._plan.switches)
        # One shut port is enough: it neither takes what comes in nor lets anything out.
        switch, interface = next(
            (node, port)
            for node, port in ((direction.source, direction.interface), (direction.target, direction.arrival))
            if node in names
        )
        self._network.forwarding.set_port(switch, interface, up)

    def partition(self, groups: tuple[tuple[str, ...], ...]) -> None:
        """From now on hosts of different groups do not reach each other, and all others do. Raises RunError."""
        before, after = _separated(self._groups), _separated(groups)
        macs = {host.name: host.mac for host in self._plan.hosts}
        addresses = {host.name: host.address for host in self._plan.hosts}
        lines: dict[str, list[str]] = {}
        for host, other in sorted(before ^ after):
            mac = _NOBODY if (host, other) in after else macs[other]
            (device,) = self._network.interfaces(host)
            line = f"neigh replace {addresses[other]} lladdr {mac} dev {device} nud permanent"
            lines.setdefault(host, []).append(line)
        self._run({host: heredoc("ip -batch -", mine) for host, mine in lines.items()}, "partitioning")
        self._groups = groups

    def _run(self, scripts: dict[str, str], what: str) -> None:
        """Every node's script, all at the same time."""
        for node, script in scripts.items():
            self._shell(node).begin(script)
        problems = []
        for node in scripts:
            try:
                self._shell(node).finish(f"{what} at {node}")
            except RunError as error:
                problems.append(error.message)
        if problems:
            raise RunError("; ".join(problems[:5]))

    def _shell(self, node: str) -> _Shell:
        if node not in self._shells:
            self._shells[node] = _Shell(self._network.pid(node))
        return self._shells[node]


def _separated(groups: tuple[tuple[str, ...], ...]) -> set[tuple[str, str]]:
    """All (host, other host) in different groups."""
    return {
        (host, other)
        for mine in groups
        for theirs in groups
        if mine is not theirs
        for host in mine
        for other in theirs
    }
