"""What the NFQUEUE delay costs: processor time per Gbit/s carried, beside the same network without a delay.

sudo .venv/bin/python bench/delay_cost.py [--hosts 60] [--rate 60] [--dilation 1 4] [--seconds 5] [--repeat 3]

Every host of a star sends to the next one, with all links full in both directions. `process`: the delay process, its
own work in user space and the kernel's on its behalf, which includes a released packet's way up the receiver's stack.
`machine`: all processors, including the benchmark's own sender and receiver. Cases alternate; medians are shown.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from _flows import tcp_flows
from _network import median, star_plan, table

from mnbed.network.build import build_network


def processor_s() -> float:
    """Seconds that processors have been busy since the machine started."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def process_s(pid: int | None) -> tuple[float, float]:
    """(user, system) seconds of a process."""
    if pid is None:
        return 0.0, 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def measure(options: argparse.Namespace, dilation: float, delayed: bool) -> dict[str, float]:
    backend, delay = ("nfqueue", "1ms") if delayed else ("auto", "0s")
    plan = star_plan(options.hosts, f"{options.rate}mbit", delay, backend, time={"dilation": dilation})
    names = [host.name for host in plan.hosts]
    pairs = [(name, names[(place + 1) % len(names)]) for place, name in enumerate(names)]
    with build_network(plan) as network:
        pid = network.delay.pid if network.delay is not None else None
        before, machine, began = process_s(pid), processor_s(), time.monotonic()
        flows = tcp_flows(network, pairs, options.seconds)
        elapsed = time.monotonic() - began
        after, machine = process_s(pid), processor_s() - machine
    carried = sum(flows) * elapsed / 1e9
    statistics = network.delay.statistics if network.delay is not None else None
    return {
        "gbps": sum(flows) / 1e9,
        "user": (after[0] - before[0]) / carried,
        "system": (after[1] - before[1]) / carried,
        "machine": machine / carried,
        "late": statistics["late_over_1ms"] / statistics["packets"] if statistics else 0.0,
        "lost": statistics["lost"] if statistics else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=60)
    parser.add_argument("--rate", type=float, default=60, help="Mbit/s of each link, emulated")
    parser.add_argument("--dilation", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for dilation in options.dilation:
        results: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        for _ in range(options.repeat):
            for is_delayed, measured in results.items():
                measured.append(measure(options, dilation, is_delayed))
        delayed, plain = (
            {
                name: median([result[name] for result in results[is_delayed]])
                for name in results[is_delayed][0]
            }
            for is_delayed in (True, False)
        )
        rows.append(
            (
                f"{dilation:g}",
                f"{delayed['gbps']:.2f} / {plain['gbps']:.2f}",
                f"{delayed['user']:.3f} + {delayed['system']:.3f}",
                f"{delayed['machine']:.3f} / {plain['machine']:.3f}",
                f"{delayed['late']:.2%}",
                f"{delayed['lost']:.0f}",
            )
        )
    table(
        f"{options.hosts} links of {options.rate:g} Mbit/s, full in both directions; processors per Gbit/s carried",
        (
            *("dilation", "carried Gbit/s: delayed / not", "process: user + system"),
            *("machine: delayed / not", "late > 1 ms", "lost"),
        ),
        rows,
    )


if __name__ == "__main__":
    main()
