"""Changes a network while packets flow: link properties, links that go down, groups that cannot reach each other.

A change of properties loses nothing that is on its way. Nothing announces a link that is down or a partition: packets
are lost, as behind a router that has died. Interfaces stay up, because the kernel takes up to a second to notice a
carrier again.
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

# No interface has this address, no switch knows it, and nothing is flooded: frames to it end at the first switch. It is
# locally administered, unlike those of hosts, which count from 1.
_NOBODY = "02:00:00:00:00:00"


class _Shell:
    """A shell that waits in a namespace: with it a change takes 2 ms, compared with 20 ms if one must be started."""

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
        """Have it run that script, without waiting for it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `finish` finds out
            self._process.stdin.write(f"(set -e\n{script}\n) </dev/null\ns=$?; echo; echo @$s\n")
            self._process.stdin.flush()

    def finish(self, what: str) -> None:
        """Wait for the script to end. Raises RunError, with its output, if it failed."""
        assert self._process.stdout is not None
        output: list[str] = []
        for line in self._process.stdout:
            if line.startswith("@"):
                if line.strip() != "@0":
                    raise RunError(f"{what}: {'; '.join(output[:5]) or 'no reason given'}")
                return
            if line.strip():
                output.append(line.strip())
        raise RunError(f"{what}: the shell in the namespace has ended")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class LiveNetwork:
    """The changes that can be made to a live network. Not thread-safe."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._plan = network.plan
        self._shells: dict[str, _Shell] = {}
        self._groups: tuple[tuple[str, ...], ...] = ()

    @classmethod
    @contextlib.contextmanager
    def of(cls, network: Network, nodes: Iterable[str] = ()) -> Iterator[LiveNetwork]:
        """`nodes`: those where changes are expected, so that the first change is as fast as the others."""
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
        for direction in directions:
            wire, interface = direction.wire, direction.interface
            leaves = self._network.leaves(direction, wire)
            script = heredoc("tc -batch -", shaping.change_commands(interface, wire, backend, leaves))
            if direction.source in hosts:
                script += f"ip link set {interface} gso_max_size {shaping.gso_bytes(wire, leaves)}\n"
            scripts[direction.source] = scripts.get(direction.source, "") + script
        self._run(scripts, "changing links")
        changed = {(direction.source, direction.target): direction.wire for direction in directions}
        self._network.wires.update(changed)
        if self._network.delay is not None:
            self._network.delay.update(self._network.wires, changed)

    def set_link(self, a: str, b: str, up: bool) -> None:
        """Take a link down in both directions, or up again. Raises KeyError for an unknown link, RunError."""
        direction = self._plan.directions[a, b]
        names = set(self._plan.switches)
        # One closed port is enough: it lets nothing in and nothing out.
        switch, interface = next(
            (node, port)
            for node, port in ((direction.source, direction.interface), (direction.target, direction.arrival))
            if node in names
        )
        self._network.forwarding.set_port(switch, interface, up)

    def partition(self, groups: tuple[tuple[str, ...], ...]) -> None:
        """From now on hosts of different groups cannot reach each other, and all others can. Raises RunError."""
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
        """Run every node's script, all at the same time."""
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
