"""Plans for network tests, made as `mnbed run` makes them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from mnbed.experiment.sections import parse
from mnbed.machine import MachineFacts, probe
from mnbed.network.build import Network
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan

needs_open_vswitch = pytest.mark.skipif(
    shutil.which("ovs-vswitchd", path="/usr/sbin:/usr/bin") is None,
    reason="Open vSwitch is not installed (install.sh --dev)",
)
_FACTS: list[MachineFacts] = []


def facts() -> MachineFacts:
    """This machine's facts, gathered once."""
    if not _FACTS:
        _FACTS.append(probe())
    return _FACTS[0]


def plan_for(
    topology: dict[str, Any], *, bandwidth: str = "60mbit", delay: str = "1ms", **sections: Any
) -> Plan:
    """A plan of that topology; `sections` are further sections of the experiment, `network` merged in."""
    network = {
        "topology": topology,
        "link": {"bandwidth": bandwidth, "delay": delay},
        **sections.pop("network", {}),
    }
    task = {"name": "digits", "partition": {"kind": "iid"}}
    experiment = parse({"network": network, "task": task, "algorithm": {"name": "local"}, **sections})
    return make_plan(experiment, facts())


def ping(network: Network, source: str, target: str, *, count: int = 10) -> list[float]:
    """Round-trip times in seconds, measured in user space (`-U`): the kernel's stamp is taken before an NFQUEUE."""
    address = network.plan.host(target).address
    output = network.mininet.nameToNode[source].cmd(f"ping -U -c {count} -i 0.02 -W 2 {address}")
    times = [float(part.split()[0]) / 1e3 for part in output.split("time=")[1:]]
    assert times, output
    return times


def iperf3(network: Network, source: str, target: str, *, seconds: int = 2) -> float:
    """What iperf3's receiver got, bit/s."""
    hosts, address = network.mininet.nameToNode, network.plan.host(target).address
    server = hosts[target].popen(["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()  # it listens once it has printed
        command = ["iperf3", "-c", address, "-t", str(seconds), "-J"]
        output, _ = hosts[source].popen(command, stdout=subprocess.PIPE).communicate()
    finally:
        server.kill()
        server.communicate()
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"])
