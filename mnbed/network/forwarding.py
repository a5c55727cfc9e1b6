"""Static forwarding: every frame's path is decided before the first is sent, whatever kind of switch forwards it.

Here: what both kinds of switch offer, and Linux bridges. These have learning and flooding off on every port, so that
any graph, even with loops, carries frames along shortest paths without a spanning tree. With `flood off` alone, one
multicast packet would circle in a ring for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from mininet.node import Switch

from mnbed.errors import RunError
from mnbed.network.namespaces import heredoc, run_in, run_script_in
from mnbed.network.shaping import json_documents

_PORT_FLAGS = ("learning", "flood", "mcast_flood", "bcast_flood")
# linux/if_bridge.h: a disabled port drops what arrives and is given nothing to send.
_DISABLED, _FORWARDING = 0, 3


class Forwarding(ABC):
    """The switches of one network: `add_switch` each, `connect`, `configure` each; then they forward."""

    needs_whole_frames = False
    """True if hosts must compute checksums and cut segments themselves, as if for a real wire."""

    @abstractmethod
    def add_switch(self, mininet: Any, name: str, number: int) -> None:
        """Add the Mininet node of a switch; its shell is in the namespace where the switch's interfaces belong."""

    @abstractmethod
    def connect(self, ports: Mapping[str, list[str]]) -> None:
        """Give each switch its ports, once all links exist: switch -> interfaces. Raises RunError."""

    def died(self) -> bool:
        """Whether the program that forwards has ended although nobody stopped it."""
        return False

    @abstractmethod
    def configure(self, switch: str, table: Mapping[str, str], script: str) -> None:
        """Run the switch's shell script, apply its ports and the static entries MAC -> port, and read them back.

        Raises RunError naming the first difference.
        """

    @abstractmethod
    def set_port(self, switch: str, interface: str, up: bool) -> None:
        """Open or close a port. Raises RunError.

        A closed port drops what arrives and what would leave, at once and silently: carrier and queues stay as they
        are, and what its queue holds is still sent.
        """


class BridgeNode(Switch):  # type: ignore[misc]
    """A Mininet switch that is a Linux bridge in a namespace of its own."""

    # Mininet asks a switch for the address that its controller knows whenever a command names the switch.
    controlIntf: Any = None

    def start(self, controllers: Any) -> None:
        """Nothing to start: `build_network` has set the bridge up, and no controller takes part."""


class Bridges(Forwarding):
    """Linux bridges, one in the namespace of each switch."""

    def __init__(self) -> None:
        self._nodes: dict[str, Any] = {}
        self._ports: Mapping[str, list[str]] = {}

    def add_switch(self, mininet: Any, name: str, number: int) -> None:
        self._nodes[name] = mininet.addSwitch(name, cls=BridgeNode, inNamespace=True, dpid=f"{number:x}")

    def connect(self, ports: Mapping[str, list[str]]) -> None:
        self._ports = ports

    def configure(self, switch: str, table: Mapping[str, str], script: str) -> None:
        ports = self._ports[switch]
        output = run_script_in(
            self._nodes[switch].pid,
            script + bridge_script(switch, ports, table) + show_script(switch),
            what=f"configuring {switch}",
        )
        links, entries = json_documents(output)
        check_bridge(switch, ports, table, links, entries)

    def set_port(self, switch: str, interface: str, up: bool) -> None:
        state = _FORWARDING if up else _DISABLED
        run_in(
            self._nodes[switch].pid,
            ["bridge", "link", "set", "dev", interface, "state", str(state)],
            what=f"{'opening' if up else 'closing'} {switch}'s port {interface}",
        )


def bridge_script(bridge: str, ports: list[str], table: Mapping[str, str]) -> str:
    """Shell text that makes the bridge with those ports and the static entries MAC -> port."""
    links = [f"link add name {bridge} type bridge stp_state 0 mcast_snooping 0 ageing_time 0"]
    links += [f"link set {port} master {bridge} up" for port in ports]
    links.append(f"link set {bridge} up")
    off = " ".join(f"{flag} off" for flag in _PORT_FLAGS)
    entries = [f"link set dev {port} {off}" for port in ports]
    entries += [f"fdb add {mac} dev {port} master static" for mac, port in table.items()]
    return heredoc("ip -batch -", links) + heredoc("bridge -batch -", entries)


def show_script(bridge: str) -> str:
    """Shell text that prints the two JSON documents that `check_bridge` compares: ports, entries."""
    return f"bridge -j -d link show\nbridge -j fdb show br {bridge}\n"


def check_bridge(bridge: str, ports: list[str], table: Mapping[str, str], links: Any, entries: Any) -> None:
    """Compare what the kernel reports with what was asked. Raises RunError naming the first difference."""
    flags = {row["ifname"]: row for row in links}
    for port in ports:
        for flag in _PORT_FLAGS:
            # Older iproute2 leaves out a flag it does not know; one that is shown must be off.
            if flags.get(port, {"learning": True}).get(flag, False):
                raise RunError(f"{bridge}: {flag} is still on at port {port}")
    actual = {row["mac"]: row["ifname"] for row in entries if "static" in row.get("state", "")}
    for mac, port in table.items():
        if actual.get(mac) != port:
            raise RunError(f"{bridge}: frames for {mac} go to {actual.get(mac)} instead of {port}")
