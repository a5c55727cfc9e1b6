"""environment.json: everything that could explain a difference between two runs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import mininet.net

import mnbed
from mnbed.network.build import LinkReadback
from mnbed.plan.budget import budget
from mnbed.plan.model import Plan
from mnbed.plan.rerun import left_to_machine
from mnbed.records.environment import Budget, Environment, Link, MachineFacts, Step
from mnbed.run.launch import Loaded, agent_environment
from mnbed.run.step_measurement import processor_name

_MAX_HOSTS_WITH_PAIRS = 100
_TOOLS = {
    "ip": ["ip", "-V"],
    "tc": ["tc", "-V"],
    "bridge": ["bridge", "-V"],
    "iptables": ["iptables", "--version"],
    "openvswitch": ["ovs-vsctl", "--version"],
}
# Settings that change how TCP behaves; hosts' namespaces start with these values.
_SYSCTLS = (
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.default_qdisc",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_min_tso_segs",
    "net.ipv4.tcp_rto_min_us",
    "net.ipv4.tcp_no_metrics_save",
)
_VARIABLES = ("MNBED_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "MALLOC_", "TORCH_", "PYTHON", "LD_", "GLIBC_")
_PACKAGES = ("torch", "torchvision", "numpy", "networkx", "pydantic", "scikit-learn", "matplotlib")


def describe(plan: Plan, started: datetime, revision: str | None) -> Environment:
    """What is known before anything is built. `revision`: see `git_revision`."""
    return {
        "mnbed": mnbed.__version__,
        "versions": _versions(),
        "tools": _tools(),
        "torch": _torch_build(),
        "kernel": platform.release(),
        "kernel_version": platform.version(),
        "machine": _machine(),
        "sysctl": {name: _first_line(Path("/proc/sys") / name.replace(".", "/")) for name in _SYSCTLS},
        "environment": _environment(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "git_revision": revision,
        "command": sys.argv,
        "started": started.isoformat(timespec="seconds"),
        "delay_backend": plan.delay_backend,
        "switch": plan.experiment.network.switch,
        "dilation": plan.dilation,
        "dilation_asked": plan.dilation_asked,
        "left_to_machine": left_to_machine(plan.experiment),
        "step": None if plan.step is None else cast("Step", asdict(plan.step)),
        "budget": _budget(plan),
        "hosts": [
            {
                "name": host.name,
                "label": host.label,
                "region": host.region,
                "index": host.index,
                "address": host.address,
                "straggler": host.straggler,
                "step_time_s": host.step_time_s,
                "peers": list(host.peers),
            }
            for host in plan.hosts
        ],
        "switches": list(plan.switches),
        "labels": dict(plan.labels),
        "branches": _branches(plan),
        "round_trip_s": _round_trips(plan),
    }


def describe_links(readbacks: list[LinkReadback]) -> list[Link]:
    """Each link as asked for, as put on the wire, and as read back from the kernel."""
    return [
        {
            "a": entry.link.a,
            "b": entry.link.b,
            "a_interface": entry.link.a_interface,
            "b_interface": entry.link.b_interface,
            "straggler": entry.link.straggler,
            "asked": {"a": asdict(entry.link.forward.asked), "b": asdict(entry.link.backward.asked)},
            "wire": {"a": asdict(entry.link.forward.wire), "b": asdict(entry.link.backward.wire)},
            "readback": {
                "a": None if entry.a.shape is None else entry.a.shape.record(),
                "b": None if entry.b.shape is None else entry.b.shape.record(),
            },
            "readback_branches": [shape.record() for shape in entry.a.branches],
        }
        for entry in readbacks
    ]


def describe_data(loaded: Loaded) -> Environment:
    """What the warm parent loaded."""
    return {
        "standin": loaded.standin,
        "data": loaded.description,
        "step_wall_s": loaded.step_wall_s,
        "num_parameters": loaded.num_parameters,
        "partition": loaded.partition,
    }


def _branches(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Host -> the limits on its packets by destination, in addition to its link; emulated units."""
    return {
        direction.source: [
            {"targets": list(branch.targets), **asdict(branch.asked)} for branch in direction.branches
        ]
        for direction in plan.directions.values()
        if direction.branches
    }


def _round_trips(plan: Plan) -> dict[str, dict[str, float]] | None:
    """Host -> host -> round trip asked for, in emulated seconds; None if there are too many pairs to list."""
    if len(plan.hosts) > _MAX_HOSTS_WITH_PAIRS:
        return None

    def delay_s(source: str, target: str) -> float:
        return plan.path(source, target).delay_s / plan.dilation

    return {
        host.name: {
            other.name: delay_s(host.name, other.name) + delay_s(other.name, host.name)
            for other in plan.hosts
            if other.name != host.name
        }
        for host in plan.hosts
    }


def _budget(plan: Plan) -> Budget:
    """The processor load that was expected: cores kept busy by each source, and in total."""
    costs = budget(plan, len(os.sched_getaffinity(0)), plan.step)
    return {
        "sources": {source.name: round(source.cores(plan.dilation), 4) for source in costs.sources},
        "demand_cores": costs.demand_cores,
        "cores": costs.cores,
        "fitting_dilation": costs.fitting_dilation,
    }


def _machine() -> MachineFacts:
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "cores_used": len(os.sched_getaffinity(0)),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_average": list(os.getloadavg()),
        "clock_source": _first_line(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        "virtualisation": _output(["systemd-detect-virt"]) or _hypervisor(),
    }


def _hypervisor() -> str | None:
    """Whether the processor reports a hypervisor, for machines where no tool can name it."""
    try:
        flags = re.search(r"^flags\s*:.*\bhypervisor\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return "yes" if flags else None


def _environment() -> dict[str, str]:
    """Environment variables that change what agents do, as agents get them."""
    variables = agent_environment()
    return {name: variables[name] for name in sorted(variables) if name.startswith(_VARIABLES)}


def _tools() -> dict[str, str | None]:
    """The first line that each prints about its version; None if it is missing."""
    return {"mininet": mininet.net.VERSION} | {name: _output(command) for name, command in _TOOLS.items()}


def _torch_build() -> dict[str, str]:
    """What torch's own version file says; torch itself is not imported here."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    try:
        text = (Path(spec.origin).parent / "version.py").read_text()
    except OSError:
        return {}
    pairs = re.findall(
        r"^(__version__|cuda|git_version|hip|debug)\b[^=\n]*= *'?([^'\n]*)", text, re.MULTILINE
    )
    return {name.strip("_"): value for name, value in pairs}


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().strip().split("\n")[0]
    except OSError:
        return None


def _output(command: list[str]) -> str | None:
    """The first line that a program prints, whatever its exit status; None if it prints nothing."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().split("\n")[0] or None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
