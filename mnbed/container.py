"""What a container withholds from root, and how to get it: docs/container.md says what each thing is for.

Knows nothing of what mnbed does with it; `mnbed/machine.py` tries whether that works.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# linux/capability.h: number, name, and what a run does with it. Found by leaving out one at a time.
_NEEDED = {
    6: ("SETGID", "giving up root"),
    7: ("SETUID", "giving up root"),
    8: ("SETPCAP", "giving up root"),
    10: ("NET_BIND_SERVICE", "probing paths"),
    12: ("NET_ADMIN", "links, addresses, queues"),
    13: ("NET_RAW", "probing links"),
    18: ("SYS_CHROOT", "entering hosts"),
    21: ("SYS_ADMIN", "namespaces and mounts"),
}
# What each engine has to be told: not the capabilities that it gives to every container.
_ALLOWING = {
    "docker": "--cap-add NET_ADMIN --cap-add SYS_ADMIN "
    "--security-opt apparmor=unconfined --security-opt systempaths=unconfined",
    "podman": "--cap-add NET_ADMIN --cap-add NET_RAW --cap-add SYS_ADMIN --security-opt unmask=ALL",
}
_PAGE = "docs/container.md"


def kind(root: Path = Path("/")) -> str | None:
    """docker, podman, lxc, ...; None on a machine itself."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    for file, pattern in (
        ("run/systemd/container", r"(\S+)"),
        ("proc/1/environ", r"(?:^|\0)container=([\w-]+)"),
    ):
        try:
            found = re.search(pattern, (root / file).read_text(errors="replace"))
        except OSError:
            continue
        if found:
            return found[1]
    return None


def effective_capabilities() -> int | None:
    """Of this process: bit n is the capability of number n (linux/capability.h); None where /proc does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    return None if found is None else int(found[1], 16)


def missing_capabilities() -> tuple[str, ...]:
    """Those that a run needs and this process, which is root, does not have; empty where /proc does not tell."""
    effective = effective_capabilities()
    if effective is None or os.geteuid() != 0:
        return ()
    return tuple(name for number, (name, _) in _NEEDED.items() if not effective >> number & 1)


def uses(names: tuple[str, ...]) -> str:
    """`NET_ADMIN (links, addresses, queues), ...`"""
    purposes = dict(_NEEDED.values())
    return ", ".join(f"{name} ({purposes[name]})" for name in names)


def remedy(container: str | None) -> str:
    """How to start the container so that runs work in it."""
    if container is None:
        return f"run it on the machine itself, or in a container with --privileged ({_PAGE})"
    if container not in _ALLOWING:
        return (
            f"start the {container} container with all privileges, or run it on the machine itself ({_PAGE})"
        )
    return f"{container} run --privileged, or {_ALLOWING[container]} ({_PAGE})"
