"""Static forwarding through namespaced Linux bridges: every frame's way is decided before the first is sent.

Learning and flooding are off on every port, so that any graph, loops too, carries frames along shortest paths without
a spanning tree. With `flood off` alone one multicast packet would circle in a ring for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnbed.errors import RunError
from mnbed.network.namespaces import heredoc

_PORT_FLAGS = ("learning", "flood", "mcast_flood", "bcast_flood")


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
    """Shell text that prints the two JSON documents `check_bridge` compares: ports, entries."""
    return f"bridge -j -d link show\nbridge -j fdb show br {bridge}\n"


def check_bridge(bridge: str, ports: list[str], table: Mapping[str, str], links: Any, entries: Any) -> None:
    """Compare what the kernel says with what was asked. Raises RunError naming the first difference."""
    flags = {row["ifname"]: row for row in links}
    for port in ports:
        for flag in _PORT_FLAGS:
            # Older iproute2 leaves out a flag it does not know; one that is shown must be off.
            if flags.get(port, {"learning": True}).get(flag, False):
                raise RunError(f"{bridge}: {flag} is still on at port {port}")
    found = {row["mac"]: row["ifname"] for row in entries if "static" in row.get("state", "")}
    for mac, port in table.items():
        if found.get(mac) != port:
            raise RunError(f"{bridge}: frames for {mac} go to {found.get(mac)} instead of {port}")
