"""environment.json: all that could explain a difference between two runs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import mnbed
from mnbed.network.build import LinkReadback
from mnbed.plan import Plan
from mnbed.run.launch import Loaded

_MAX_HOSTS_WITH_PAIRS = 100
_PACKAGES = ("torch", "torchvision", "numpy", "networkx", "pydantic", "scikit-learn", "matplotlib")


def describe(plan: Plan, started: datetime) -> dict[str, Any]:
    """What is known before anything is built."""
    return {
        "mnbed": mnbed.__version__,
        "versions": _versions(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "git_revision": _git_revision(),
        "command": sys.argv,
        "started": started.isoformat(timespec="seconds"),
        "delay_backend": plan.delay_backend,
        "switch": plan.experiment.network.switch,
        "dilation": plan.dilation,
        "hosts": [
            {
                "name": host.name,
                "index": host.index,
                "address": host.address,
                "straggler": host.straggler,
                "step_time_s": host.step_time_s,
                "peers": list(host.peers),
            }
            for host in plan.hosts
        ],
        "switches": list(plan.switches),
        "round_trip_s": _round_trips(plan),
    }


def describe_links(readbacks: list[LinkReadback]) -> list[dict[str, Any]]:
    """Each link as asked, as put on the wire, and as the kernel gave it back."""
    return [
        {
            "a": entry.link.a,
            "b": entry.link.b,
            "a_interface": entry.link.a_interface,
            "b_interface": entry.link.b_interface,
            "straggler": entry.link.straggler,
            "asked": {end: asdict(one.asked) for end, one in zip("ab", entry.link.directions, strict=True)},
            "wire": {end: asdict(one.wire) for end, one in zip("ab", entry.link.directions, strict=True)},
            "readback": {
                end: None if found.shape is None else asdict(found.shape)
                for end, found in (("a", entry.a), ("b", entry.b))
            },
        }
        for entry in readbacks
    ]


def describe_data(loaded: Loaded) -> dict[str, Any]:
    """What the warm parent found."""
    return {
        "standin": loaded.standin,
        "data": loaded.description,
        "step_wall_s": loaded.step_wall_s,
        "num_parameters": loaded.num_parameters,
        "partition": loaded.partition,
    }


def _round_trips(plan: Plan) -> dict[str, dict[str, float]] | None:
    """Host -> host -> asked round trip in emulated seconds; None for networks whose pairs are too many to list."""
    if len(plan.hosts) > _MAX_HOSTS_WITH_PAIRS:
        return None

    def delay_s(source: str, target: str) -> float:
        return plan.path(source, target).delay_s / plan.dilation

    return {
        one.name: {
            other.name: delay_s(one.name, other.name) + delay_s(other.name, one.name)
            for other in plan.hosts
            if other.name != one.name
        }
        for one in plan.hosts
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _git_revision() -> str | None:
    """The source's revision, with + where it was changed since; None outside a checkout."""
    source = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={source}", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
