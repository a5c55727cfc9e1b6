"""How long does it take to build a network of 60 hosts? mnbed's build and verification beside plain Mininet's build.

    sudo .venv/bin/python bench/build_time.py [--hosts 60] [--repeat 3]

Plain Mininet: SingleSwitchTopo with a LinuxBridge and TCLinks of the same rate and delay, static ARP, `net.start()`.
If the kernel has no netem, it prints errors and goes on without the delay; mnbed then builds with NFQUEUE.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from _network import median, star_plan, table

from mnbed.network.build import build_network

PLAIN = """
import sys, time
from functools import partial
from mininet.link import TCLink
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
began = time.monotonic()
net = Mininet(SingleSwitchTopo(int(sys.argv[1])), switch=LinuxBridge, controller=None,
              link=partial(TCLink, bw=60, delay="1ms"), autoSetMacs=True, autoStaticArp=True)
net.start()
print("BUILT", time.monotonic() - began)
net.stop()
"""


def plain(hosts: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(hosts)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split("BUILT")[1])


def ours(hosts: int) -> float:
    plan = star_plan(hosts, "60mbit", "1ms")
    began = time.monotonic()
    with build_network(plan):
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    pairs = [(ours(options.hosts), plain(options.hosts)) for _ in range(options.repeat)]
    rows = [
        (f"{mine:.2f}", f"{theirs:.2f}", f"{mine / theirs:.2f}")
        for mine, theirs in [*pairs, (median([a for a, _ in pairs]), median([b for _, b in pairs]))]
    ]
    labelled = [(f"run {number}", *row) for number, row in enumerate(rows[:-1], start=1)] + [
        ("median", *rows[-1])
    ]
    table(
        f"a star of {options.hosts} hosts, built and verified",
        ("", "mnbed s", "plain Mininet s", "ratio"),
        labelled,
    )


if __name__ == "__main__":
    main()
