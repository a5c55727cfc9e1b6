"""Plan -> Mininet network, as a context manager: build, verify, hand out, tear down.

Hosts and bridges are in namespaces of their own; nothing of the network ever appears in the root namespace. A node's
configuration (sysctls, addresses, static ARP, qdiscs, bridge) is one script; qdiscs and forwarding are read back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host

from mnbed.errors import MachineError, RunError
from mnbed.machine import raise_open_files
from mnbed.network import shaping
from mnbed.network.counters import CounterReader
from mnbed.network.forwarding import Bridges, Forwarding
from mnbed.network.mark import note
from mnbed.network.mininet_net import EmulatedNet
from mnbed.network.namespaces import heredoc, network_namespace, run_script_in
from mnbed.network.nfqueue.delay import DelayProcess
from mnbed.network.open_vswitch import OpenVSwitch
from mnbed.network.shaping import Readback, ShapedLink
from mnbed.plan.model import Direction, LinkPlan, Plan
from mnbed.plan.properties import LinkProperties

_CARRIER_PATIENCE_S = 10.0
# Linux: TCP_RTO_MIN and TCP_RTO_MAX (include/net/tcp.h).
_RTO_MIN_MS, _RTO_MAX_MS = 200, 120_000


@dataclass(frozen=True, kw_only=True)
class LinkReadback:
    """What the kernel reports about a link's two interfaces."""

    link: LinkPlan
    a: Readback
    b: Readback


class Network:
    """A live network. `mininet` is the Mininet object, for its prompt and for popen."""

    def __init__(self, plan: Plan, mininet: Any, forwarding: Forwarding) -> None:
        self.plan = plan
        self.mininet = mininet
        self.forwarding = forwarding
        self.delay: DelayProcess | None = None
        self.wires = {ends: direction.wire for ends, direction in plan.directions.items()}
        """(source, target) of a direction -> what its shaping should be now; `live_changes` updates it."""

    def ailment(self) -> str | None:
        """What keeps the network from carrying packets; None if nothing is seen to be wrong."""
        if self.forwarding.died():
            return "the program that runs the switches has ended"
        if self.delay is not None and self.delay.died():
            return "the process that delays packets has ended"
        if self.delay is not None and self.delay.stopped():
            return "the process that delays packets was stopped (SIGSTOP): no packet passed"
        return None

    def pid(self, node: str) -> int:
        """A process that holds the node's namespace. Raises KeyError."""
        return int(self.mininet.nameToNode[node].pid)

    def read_back(self) -> list[LinkReadback]:
        """Every link's qdiscs and their counters, as they are now. Raises RunError."""
        by_interface: dict[str, Readback] = {}
        for pid, devices in self.interfaces_by_namespace():
            text = run_script_in(
                pid, shaping.show_script(devices), what=f"reading the qdiscs of {devices[0]}"
            )
            by_interface.update(shaping.parse_shapes(text, devices))
        return [
            LinkReadback(link=link, a=by_interface[link.a_interface], b=by_interface[link.b_interface])
            for link in self.plan.links
        ]

    def verify(self) -> list[LinkReadback]:
        """Compare every link with what it should be now. Raises RunError naming all interfaces that differ."""
        readbacks = self.read_back()
        wrong = self.differences(readbacks)
        if wrong:
            raise RunError(f"not shaped as asked: {'; '.join(wrong)}")
        return readbacks

    def differences(self, readbacks: Sequence[LinkReadback]) -> list[str]:
        """Every interface that is not shaped as it should be now, in words. Raises RunError."""
        wrong = []
        for entry in readbacks:
            for direction, actual in zip(entry.link.directions, (entry.a, entry.b), strict=True):
                wire = self.wires[direction.source, direction.target]
                asked = shaping.asked_shape(wire, self.plan.delay_backend)
                texts = shaping.differences(asked, actual.shape)
                texts += shaping.branch_differences(
                    self.leaves(direction), actual.branches, self.plan.delay_backend
                )
                if texts:
                    wrong.append(f"{direction.interface}: {', '.join(texts)}")
        return wrong

    def leaves(self, direction: Direction, wire: LinkProperties | None = None) -> tuple[shaping.Leaf, ...]:
        """The queues by destination on that direction's interface, for the link as it should be now, or as given."""
        wire = self.wires[direction.source, direction.target] if wire is None else wire
        return shaping.leaves_of(direction, wire, lambda host: self.plan.host(host).address)

    def interfaces(self, node: str) -> list[str]:
        """Names of the node's shaped interfaces, in port order."""
        return [
            interface
            for link in self.plan.links
            for end, interface in ((link.a, link.a_interface), (link.b, link.b_interface))
            if end == node
        ]

    def interfaces_by_namespace(self) -> list[tuple[int, list[str]]]:
        """(process in the namespace, shaped interfaces); switches may share a namespace."""
        places: dict[int, tuple[int, list[str]]] = {}
        for node in self.node_names():
            pid, devices = self.pid(node), self.interfaces(node)
            places.setdefault(network_namespace(pid), (pid, []))[1].extend(devices)
        return [(pid, devices) for pid, devices in places.values() if devices]

    def node_names(self) -> list[str]:
        """Hosts, then switches."""
        return [host.name for host in self.plan.hosts] + list(self.plan.switches)


@contextlib.contextmanager
def build_network(
    plan: Plan, check: Callable[[], None] = lambda: None, *, changeable: bool = False
) -> Iterator[Network]:
    """Build the plan's network, verify it, and tear it down again whatever happens.

    `check` is called between steps that must not be interrupted, and may raise to abort: a shell that Mininet has
    started but does not know yet would be left behind. `changeable`: whether any link may be given a delay later.
    Raises MachineError if the machine lacks something, RunError if the kernel did not do as asked.
    """
    _check_mnexec()
    raise_open_files(plan.open_files)
    setLogLevel("warning")
    # Mininet's own initialisation changes system-wide sysctls for good, and is not needed here. Its constructor asks
    # Mininet itself, not the subclass.
    Mininet.inited = True
    mininet = EmulatedNet(topo=None, build=False, controller=None, link=ShapedLink)
    with contextlib.ExitStack() as stack:
        forwarding = stack.enter_context(_start_switches(plan))
        stack.callback(_tear_down, mininet)
        network = Network(plan, mininet, forwarding)
        _add_nodes(network, check)
        _add_links(network, check)
        _configure(network)
        check()
        mininet.built = True
        mininet.start()
        if plan.delay_backend == "nfqueue":
            network.delay = stack.enter_context(
                DelayProcess.start(plan, network.pid, network.interfaces_by_namespace(), changeable)
            )
        check()
        network.verify()
        _wait_until_up(network)
        yield network


def _start_switches(plan: Plan) -> contextlib.AbstractContextManager[Forwarding]:
    if plan.experiment.network.switch == "ovs":
        return OpenVSwitch.start(plan.datapath or "kernel")
    return contextlib.nullcontext(Bridges())


def _check_mnexec() -> None:
    """Without this check, Mininet would wait for ever for a shell whose namespace could not be made."""
    try:
        done = subprocess.run(["mnexec", "-n", "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise MachineError(
            f"mnexec cannot be run: {error.strerror}", "sudo apt-get install mininet"
        ) from None
    if done.returncode != 0:
        raise MachineError(
            f"mnexec cannot make a network namespace: {' '.join(done.stderr.split()) or done.returncode}",
            "mnbed needs root and, in a container or chroot, the right to unshare and mount",
        )


def _add_nodes(network: Network, check: Callable[[], None]) -> None:
    """Start every node's shell in a new namespace."""
    mininet, plan = network.mininet, network.plan
    for host in plan.hosts:
        # Addresses come with the rest of a host's settings, in one script.
        mininet.addHost(host.name, cls=Host, ip=None, mac=None)
        note(network.pid(host.name))
        check()
    for number, switch in enumerate(plan.switches, start=1):
        network.forwarding.add_switch(mininet, switch, number)
        note(network.pid(switch))
        check()


def _add_links(network: Network, check: Callable[[], None]) -> None:
    mininet, plan = network.mininet, network.plan
    for link in plan.links:
        check()
        mininet.addLink(
            mininet.nameToNode[link.a],
            mininet.nameToNode[link.b],
            intfName1=link.a_interface,
            intfName2=link.b_interface,
            params1=_parameters(network, link.forward),
            params2=_parameters(network, link.backward),
        )


def _parameters(network: Network, direction: Direction) -> dict[str, Any]:
    backend = network.plan.delay_backend
    return {"wire": direction.wire, "backend": backend, "leaves": network.leaves(direction)}


def _configure(network: Network) -> None:
    """Run every node's script; two at a time, since each mostly waits for the kernel."""
    plan = network.plan
    prefix = plan.subnet.split("/")[1]
    congestion_control = plan.experiment.network.tcp.congestion_control
    neighbours = [f"{host.address} lladdr {host.mac}" for host in plan.hosts]
    network.forwarding.connect({switch: network.interfaces(switch) for switch in plan.switches})
    wires = {direction.interface: direction.wire for direction in plan.directions.values()}
    # Per route: outside the root namespace the sysctl refuses what tcp_allowed_congestion_control does not list.
    tcp = f"congctl {congestion_control} rto_min {_rto_min_ms(plan.dilation)}ms"

    def configure_host(index: int) -> None:
        host = plan.hosts[index]
        node = network.mininet.nameToNode[host.name]
        (device,) = network.interfaces(host.name)
        gso = shaping.gso_bytes(wires[device], node.intf(device).leaves)
        others = neighbours[:index] + neighbours[index + 1 :]
        lines = [
            "link set lo up",
            f"link set {device} address {host.mac} gso_max_size {gso}",
            f"addr add {host.address}/{prefix} dev {device} noprefixroute",
            f"link set {device} up",
            f"route add {plan.subnet} dev {device} src {host.address} {tcp}",
            *(f"neigh replace {other} dev {device} nud permanent" for other in others),
        ]
        script = (
            _sysctl_script({})
            + heredoc("ip -batch -", lines)
            + (f"ethtool -K {device} tx off tso off\n" if network.forwarding.needs_whole_frames else "")
            + heredoc("tc -batch -", node.intf(device).tc_commands())
        )
        run_script_in(node.pid, script, what=f"configuring {host.name}")
        interface = node.intf(device)
        interface.ip, interface.prefixLen, interface.mac = host.address, prefix, host.mac

    def configure_switch(name: str) -> None:
        node = network.mininet.nameToNode[name]
        ports = network.interfaces(name)
        shapes = [line for port in ports for line in node.intf(port).tc_commands()]
        script = _sysctl_script({"net/bridge/bridge-nf-call-iptables": "0"}) + heredoc("tc -batch -", shapes)
        network.forwarding.configure(name, plan.forwarding[name], script)

    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(configure_switch, name) for name in plan.switches]
        futures += [pool.submit(configure_host, index) for index in range(len(plan.hosts))]
        for future in futures:
            future.result()


def _rto_min_ms(dilation: float) -> int:
    """TCP's minimum retransmission timeout, wall clock, so that it is the kernel's usual 200 ms in emulated time.

    Other times derive from it in the kernel: slow start after idle, tail loss probes, giving up a broken connection.
    """
    return max(1, min(round(_RTO_MIN_MS * dilation), _RTO_MAX_MS))


def _wait_until_up(network: Network) -> None:
    """Wait for every interface's carrier. Raises RunError.

    The kernel informs qdiscs and bridges up to a second later, and drops what is sent before that.
    """
    interfaces = {interface for node in network.node_names() for interface in network.interfaces(node)}
    reader = CounterReader({node: network.pid(node) for node in network.node_names()})
    deadline = time.monotonic() + _CARRIER_PATIENCE_S
    try:
        while down := interfaces & reader.down():
            if time.monotonic() > deadline:
                raise RunError(
                    f"{', '.join(sorted(down)[:10])} did not come up in {_CARRIER_PATIENCE_S:.0f} s"
                )
            time.sleep(0.01)
    finally:
        reader.close()


def _sysctl_script(values: dict[str, str]) -> str:
    """Turn IPv6 off, so that links carry only the experiment; then set those keys, if the kernel has them."""
    script = "for i in all default; do f=/proc/sys/net/ipv6/conf/$i/disable_ipv6; [ ! -e $f ] || echo 1 > $f; done\n"
    for key, value in values.items():
        script += f"[ ! -e /proc/sys/{key} ] || echo {value} > /proc/sys/{key}\n"
    return script


def _tear_down(mininet: Any) -> None:
    """Kill every node's shell and its process group; interfaces and bridges vanish with the namespace."""
    nodes = mininet.hosts + mininet.switches
    for node in nodes:
        if node.shell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.shell.pid, signal.SIGKILL)
    for node in nodes:
        if node.shell is not None:
            node.shell.wait()
            # Closes both ends of the shell's terminal and forgets the node's place in Mininet's tables.
            node.cleanup()
