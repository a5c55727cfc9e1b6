"""The controller's side of the NFQUEUE delay: iptables rules in each host, and the process that serves the queues."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mnbed.errors import MachineError
from mnbed.network.namespaces import run_in
from mnbed.plan import Plan

# Path delays that differ by less than this share a queue.
_RESOLUTION_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class HostQueues:
    """One host's queues: which delay each has, and which sources do not take the first."""

    delays_s: dict[int, float]
    """Queue number -> one-way delay; 0 is the host's most common delay."""
    exceptions: dict[str, int]
    """Source address -> queue number, for sources with another delay; -1: no delay at all."""


def host_queues(plan: Plan, host: str) -> HostQueues:
    """How the packets that arrive at that host are sorted into queues, by source address."""
    addresses = {other.name: other.address for other in plan.hosts if other.name != host}
    delays = {
        name: round(plan.path(name, host).delay_s / _RESOLUTION_S) * _RESOLUTION_S for name in addresses
    }
    ranked = [delay for delay, _ in Counter(delays.values()).most_common()]
    numbers = {delay: number for number, delay in enumerate(ranked)}
    return HostQueues(
        delays_s={number: delay for delay, number in numbers.items() if delay > 0},
        exceptions={
            address: (numbers[delays[name]] if delays[name] > 0 else -1)
            for name, address in addresses.items()
            if numbers[delays[name]] != 0 or delays[name] == 0
        },
    )


def iptables_rules(device: str, queues: HostQueues) -> str:
    """Text for iptables-restore: arriving packets into their queues."""
    lines = ["*mangle"]
    for address, number in queues.exceptions.items():
        target = "ACCEPT" if number < 0 else f"NFQUEUE --queue-num {number}"
        lines.append(f"-A PREROUTING -i {device} -s {address}/32 -j {target}")
    if 0 in queues.delays_s:
        lines.append(f"-A PREROUTING -i {device} -j NFQUEUE --queue-num 0")
    return "\n".join([*lines, "COMMIT", ""])


class DelayProcess:
    """The process that holds packets back. `statistics` is there after it has stopped."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.statistics: dict[str, float] | None = None

    @classmethod
    @contextlib.contextmanager
    def start(cls, plan: Plan, pid_of: Callable[[str], int]) -> Iterator[DelayProcess]:
        """Install the rules, start the process, and stop it on leaving. Raises MachineError or RunError."""
        orders = []
        for host in plan.hosts:
            queues = host_queues(plan, host.name)
            pid = pid_of(host.name)
            (device,) = [
                interface
                for link in plan.links
                for end, interface in ((link.a, link.a_interface), (link.b, link.b_interface))
                if end == host.name
            ]
            run_in(
                pid,
                ["iptables-restore", "--noflush"],
                text=iptables_rules(device, queues),
                what=f"sending {host.name}'s packets to NFQUEUE",
            )
            orders.append({"pid": pid, "queues": queues.delays_s})
        process = subprocess.Popen(
            [sys.executable, "-m", "mnbed.network.delay_queue"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C must not stop the delay before the agents have ended.
            start_new_session=True,
        )
        delay = cls(process)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"hosts": orders}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
            if answer != "ready":
                raise MachineError(
                    f"the NFQUEUE delay did not start: {answer or 'it ended'}",
                    "a kernel with sch_netem (delay_backend: netem), or with nfnetlink_queue",
                )
            yield delay
        finally:
            delay.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def died(self) -> bool:
        """True where the process has ended although nobody stopped it."""
        return self.statistics is None and self._process.poll() is not None

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
