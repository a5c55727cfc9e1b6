"""Where to put rate and delay on a link: TCLink's plain arrangement, or the delay on the receiving side.

sudo .venv/bin/python bench/placement.py [--seconds 4] [--repeat 3] [--guest]

    plain       HTB and below it netem, both on the sending interface: what mnbed and Mininet's TCLink do
    receiving   HTB alone on the sending interface; what arrives goes through an IFB with netem

One path of two links, h1 - s1 - h2, 10 ms each way. Bandwidth: the link's rate from TCP payload (x 1514 / 1448)
compared with the rate asked for, with our socket that keeps little unsent data (as agents do) and with iperf3. Delay:
half the mean of 40 round trips compared with 10 ms. Needs netem and ifb: --guest runs it under user-mode-linux, which
has one processor.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _flows import tcp_flows
from _network import iperf3, median, ping, star_plan, table
from fidelity import in_guest, percent, rate_error

from mnbed.network.build import Network, build_network
from mnbed.network.namespaces import heredoc, run_script_in

RATES = (1, 5, 20, 60, 200, 500, 1000, 2000)
_DELAY_MS = 5


@contextlib.contextmanager
def arranged(arrangement: str, rate: int) -> Iterator[Network]:
    """The network, shaped that way. Both have the same queues."""
    plan = star_plan(2, f"{rate}mbit", f"{_DELAY_MS}ms", "netem", time={"dilation": 1})
    if arrangement == "receiving":
        plan = replace(plan, delay_backend="none")
    with build_network(plan) as network:
        if arrangement == "receiving":
            for direction in plan.directions.values():
                delay_on_arrival(network, direction.target, direction.arrival)
        yield network


def delay_on_arrival(network: Network, node: str, interface: str) -> None:
    ifb = f"i{interface}"[:15]
    everything = "protocol all u32 match u32 0 0"
    lines = [
        f"qdisc add dev {interface} ingress",
        f"filter add dev {interface} parent ffff: {everything} action mirred egress redirect dev {ifb}",
        f"qdisc add dev {ifb} root netem limit 100000 delay {_DELAY_MS}ms",
    ]
    script = f"ip link add {ifb} type ifb\nip link set {ifb} up\n" + heredoc("tc -batch -", lines)
    run_script_in(network.pid(node), script, what="delaying on arrival")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--guest", action="store_true")
    options = parser.parse_args()
    if options.guest:
        return in_guest(sys.argv[1:], Path(__file__))
    subprocess.run(["modprobe", "-a", "ifb", "act_mirred", "sch_ingress", "cls_u32"], check=False)
    rows = []
    for rate in options.rates:
        measured: dict[str, list[list[float]]] = {"plain": [], "receiving": []}
        for _ in range(options.repeat):
            for arrangement, results in measured.items():
                with arranged(arrangement, rate) as network:
                    (ours,) = tcp_flows(network, [("h1", "h2")], options.seconds)
                    theirs = iperf3(network, "h1", "h2", options.seconds)
                with arranged(arrangement, rate) as network:
                    trip = ping(network, "h1", "h2", 40)[1]
                errors = [rate_error(ours, rate * 1e6), rate_error(theirs, rate * 1e6)]
                results.append([*errors, trip * 1e3 / 2 - 2 * _DELAY_MS])
        cells = [
            [median([result[column] for result in results]) for results in measured.values()]
            for column in range(3)
        ]
        rows.append(
            (
                f"{rate}",
                *(percent(value) for value in cells[0] + cells[1]),
                *(f"{value:+.3f}" for value in cells[2]),
            )
        )
        print(rows[-1], flush=True)
    table(
        "rate and delay on the sending side (plain), and the delay on the receiving side: medians",
        (
            *("asked Mbit/s", "our socket: plain", "receiving", "iperf3: plain", "receiving"),
            *("delay error ms: plain", "receiving"),
        ),
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
