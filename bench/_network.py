"""What the network benchmarks share: plans without an experiment file, processes in hosts, and tables."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnbed.experiment.sections import parse
from mnbed.machine import probe
from mnbed.network.build import Network
from mnbed.plan.make import make_plan
from mnbed.plan.model import Plan
from node_agent.namespaces import enter_network_namespace

FACTS = probe()


def star_plan(nodes: int, bandwidth: str, delay: str, backend: str = "auto", **sections: Any) -> Plan:
    """A star of equal links."""
    network = {
        "topology": {"kind": "star", "nodes": nodes},
        "link": {"bandwidth": bandwidth, "delay": delay},
        "delay_backend": backend,
    }
    return plan_of(network=network, **sections)


def plan_of(**sections: Any) -> Plan:
    """A plan of that network; its agents do not matter."""
    defaults = {"task": {"name": "digits"}, "algorithm": {"name": "local"}, "evaluate": {"every": "1s"}}
    return make_plan(parse({**defaults, **sections}), FACTS)


def in_host(network: Network, host: str, work: Callable[[], Any]) -> tuple[int, int]:
    """Fork a process into that host's namespace; returns its pid and a descriptor that gives its result as JSON."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            enter_network_namespace(network.pid(host))
            os.write(write, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            print(f"{host}: {error!r}", file=sys.stderr)
            os._exit(1)
    os.close(write)
    return pid, read


def result_of(process: tuple[int, int]) -> Any:
    """Wait for such a process and return its result. Raises RuntimeError if it failed."""
    pid, read = process
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("a process in a host failed")
    return json.loads(data)


def iperf3(network: Network, client: str, server: str, seconds: float) -> float:
    """The rate at iperf3's receiver, bit/s."""
    hosts = network.mininet.nameToNode
    daemon = hosts[server].popen(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    address = network.plan.host(server).address
    command = ["iperf3", "-c", address, "-t", str(seconds), "-O", "1", "-J"]
    done = hosts[client].popen(command, stdout=subprocess.PIPE, text=True)
    output, _ = done.communicate()
    daemon.wait()
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"])


def ping(network: Network, source: str, target: str, count: int = 30) -> tuple[float, float, float]:
    """Least, mean and largest round-trip time in seconds, user to user (`ping -U`)."""
    address = network.plan.host(target).address
    command = ["ping", "-U", "-c", str(count), "-i", "0.05", address]
    process = network.mininet.nameToNode[source].popen(command, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate()
    least, mean, largest, _ = output.rsplit("=", 1)[1].split()[0].split("/")
    return float(least) / 1e3, float(mean) / 1e3, float(largest) / 1e3


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for row in [header, *rows]:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
