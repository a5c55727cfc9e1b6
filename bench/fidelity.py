"""Are links as asked for? Bandwidth and delay of mnbed's networks, beside plain Mininet's in the same run.

sudo .venv/bin/python bench/fidelity.py [--backend auto] [--seconds 4] [--repeat 3] [--only SECTION ...]
sudo .venv/bin/python bench/fidelity.py --guest        under user-mode-linux, for netem on a kernel without it

Sections: bandwidth, delay, dilation, star, shared. Rates are the link's (TCP payload x 1514 / 1448), in emulated
units; there is one bottleneck link. Plain Mininet: TCLink with LinuxBridge, iperf3, ping; on a kernel without netem it
has no delay, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from _flows import PAYLOAD_SHARE, tcp_flows
from _network import FACTS, iperf3, median, ping, plan_of, star_plan, table

from mnbed.network.build import build_network

RATES = (1, 5, 20, 60, 200, 500)
DELAYS_MS = (0.5, 1, 5, 20, 100, 300)
DILATIONS = (1, 4, 10)

# Prints one JSON document: goodput of each flow in bit/s, and the mean round trip in milliseconds.
PLAIN = """
import json, re, subprocess, sys, time
from functools import partial
from mininet.link import TCLink
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import Topo
kind, bandwidth, delay, seconds = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]
shape = dict(bw=bandwidth, delay=delay) if delay != "none" else dict(bw=bandwidth)
topo = Topo()
if kind == "star":
    topo.addSwitch("s1")
    for host in ("h1", "h2"):
        topo.addLink(topo.addHost(host), "s1", **shape)
    pairs = [("h1", "h2")]
else:
    fast = dict(shape, bw=10 * bandwidth)
    topo.addSwitch("s1"), topo.addSwitch("s2")
    for host, switch in (("h1", "s1"), ("h2", "s1"), ("h3", "s2"), ("h4", "s2")):
        topo.addLink(topo.addHost(host), switch, **fast)
    topo.addLink("s1", "s2", **shape)
    pairs = [("h1", "h3"), ("h2", "h4")]
net = Mininet(topo, switch=LinuxBridge, controller=None, link=TCLink, autoSetMacs=True, autoStaticArp=True)
net.start()
try:
    time.sleep(1)
    a, b = net.get(*pairs[0])
    match = re.search(r"= [0-9.]+/([0-9.]+)/", a.cmd("ping -c 20 -i 0.05 " + b.IP()))
    flows = []
    for source, target in pairs:
        source, target = net.get(source, target)
        server = target.popen(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        command = ["iperf3", "-c", target.IP(), "-t", seconds, "-O", "1", "-J"]
        flows.append((source.popen(command, stdout=subprocess.PIPE, text=True), server))
    rates = []
    for client, server in flows:
        rates.append(json.loads(client.communicate()[0])["end"]["sum_received"]["bits_per_second"])
        server.wait()
    print("RESULT", json.dumps({"rates": rates, "rtt_ms": float(match[1]) if match else None}))
finally:
    net.stop()
"""


def plain_mininet(
    kind: str, bandwidth: float, delay: str, seconds: float
) -> tuple[list[float], float | None]:
    """(goodput of each flow in bit/s, mean round trip in ms) of plain Mininet."""
    delay = delay if FACTS.netem else "none"
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, kind, str(bandwidth), delay, str(seconds)],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.split("RESULT")[1])
    return result["rates"], result["rtt_ms"]


def rate_error(goodput_bps: float, asked_bps: float) -> float:
    """The relative error of the link's rate."""
    return goodput_bps / PAYLOAD_SHARE / asked_bps - 1


def percent(value: float) -> str:
    return f"{value:+.2%}"


def bandwidth(options: argparse.Namespace) -> None:
    rows = []
    for rate in RATES:
        plan = star_plan(2, f"{rate}mbit", "1ms", options.backend, time={"dilation": 1})
        ours, theirs, plain = [], [], []
        for _ in range(options.repeat):
            with build_network(plan) as network:
                ours += tcp_flows(network, [("h1", "h2")], options.seconds)
                theirs.append(iperf3(network, "h1", "h2", options.seconds))
            plain += plain_mininet("star", rate, "1ms", options.seconds)[0]
        rows.append((f"{rate}", *(percent(rate_error(median(x), rate * 1e6)) for x in (ours, theirs, plain))))
    header = ("asked Mbit/s", "our socket", "iperf3", "plain Mininet, iperf3")
    table(f"bandwidth, one link, {plan.delay_backend}: error", header, rows)


def delay(options: argparse.Namespace) -> None:
    rows = []
    for one_way in DELAYS_MS:
        # Two links: half the delay each.
        plan = star_plan(2, "60mbit", f"{one_way / 2}ms", options.backend, time={"dilation": 1})
        ours, worst, plain = [], [], []
        for _ in range(options.repeat):
            with build_network(plan) as network:
                _, mean, largest = ping(network, "h1", "h2", 40)
            ours.append(mean * 1e3 / 2 - one_way)
            worst.append(largest * 1e3 / 2 - one_way)
            if FACTS.netem:
                round_trip_ms = plain_mininet("star", 60, f"{one_way / 2}ms", 1)[1]
                plain.append((round_trip_ms or float("nan")) / 2 - one_way)
        theirs = f"{median(plain):+.3f}" if plain else "no delay at all"
        rows.append((f"{one_way}", f"{median(ours):+.3f}", f"{median(worst):+.3f}", theirs))
    header = ("asked ms", "mean error ms", "worst packet ms", "plain Mininet, mean error ms")
    table(f"one-way delay (half the round trip), {plan.delay_backend}", header, rows)


def dilation(options: argparse.Namespace) -> None:
    rows = []
    for factor in DILATIONS:
        for rate in (5, 60, 200):
            plan = star_plan(2, f"{rate}mbit", "5ms", options.backend, time={"dilation": factor})
            errors, trips = [], []
            for _ in range(options.repeat):
                with build_network(plan) as network:
                    # The ping comes first, because a flow leaves a queue behind.
                    trips.append(ping(network, "h1", "h2", 20)[1] / factor * 1e3 / 2 - 10)
                    goodput = tcp_flows(network, [("h1", "h2")], options.seconds, skip=2.0)[0] * factor
                    errors.append(rate_error(goodput, rate * 1e6))
            rows.append((f"{factor}", f"{rate}", percent(median(errors)), f"{median(trips):+.3f}"))
    header = ("dilation", "asked Mbit/s", "bandwidth error", "error of 10 ms one way, ms")
    table(f"emulated figures at several dilations, {plan.delay_backend}", header, rows)


def star(options: argparse.Namespace) -> None:
    rows = []
    for factor, rate in ((1, 10), (4, 60), (10, 60)):
        plan = star_plan(60, f"{rate}mbit", "1ms", options.backend, time={"dilation": factor})
        names = [host.name for host in plan.hosts]
        pairs = [(name, names[(place + 1) % 60]) for place, name in enumerate(names)]
        with build_network(plan) as network:
            flows = tcp_flows(network, pairs, options.seconds, skip=2.0)
        statistics = network.delay.statistics if network.delay is not None else None
        errors = [rate_error(flow * factor, rate * 1e6) for flow in flows]
        rows.append(
            (
                f"{factor}",
                f"{rate}",
                f"{sum(flows) / 1e9:.2f}",
                percent(median(errors)),
                percent(max(errors, key=abs)),
                f"{statistics['late_over_1ms'] / statistics['packets']:.2%}" if statistics else "",
                f"{statistics['lost']:.0f}" if statistics else "",
            )
        )
    table(
        f"60 hosts on a star, every link full in both directions, {plan.delay_backend}",
        ("dilation", "asked Mbit/s", "carried Gbit/s", "median error", "worst error", "late > 1 ms", "lost"),
        rows,
    )


def shared(options: argparse.Namespace) -> None:
    rows = []
    pairs = [("h1", "h3"), ("h2", "h4")]
    for rate in (5, 20, 100):
        network_section = {
            "topology": {"kind": "dumbbell", "left": 2, "right": 2},
            "link": {"bandwidth": f"{10 * rate}mbit", "delay": "2ms"},
            "links": [{"link": ["s1", "s2"], "bandwidth": f"{rate}mbit"}],
            "delay_backend": options.backend,
        }
        plan = plan_of(network=network_section, time={"dilation": 1})
        cells = []
        seconds = 3 * options.seconds
        for flows in (
            [flow_rates(plan, pairs, seconds) for _ in range(options.repeat)],
            [plain_mininet("shared", rate, "2ms", seconds)[0] for _ in range(options.repeat)],
        ):
            cells += [
                percent(median([rate_error(sum(both), rate * 1e6) for both in flows])),
                f"{median([max(both) / (sum(both) / 2) - 1 for both in flows]):.1%}",
            ]
        rows.append((f"{rate}", *cells))
    table(
        f"3-hop paths, two flows share the middle link, {plan.delay_backend}",
        ("asked Mbit/s", "error of the sum", "off fair share", "plain: error of the sum", "off fair share"),
        rows,
    )


def flow_rates(plan: object, pairs: list[tuple[str, str]], seconds: float) -> list[float]:
    with build_network(plan) as network:  # type: ignore[arg-type]
        return tcp_flows(network, pairs, seconds, skip=2.0)


SECTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "bandwidth": bandwidth,
    "delay": delay,
    "dilation": dilation,
    "star": star,
    "shared": shared,
}


def in_guest(arguments: list[str], script: Path = Path(__file__)) -> int:
    """Run that benchmark under the guest kernel."""
    from tests.guest.uml import run_in_guest

    command = [
        sys.executable,
        str(script.resolve()),
        *(argument for argument in arguments if argument != "--guest"),
    ]
    done = run_in_guest(command, timeout_s=3600, memory="2048M", cwd=Path(__file__).resolve().parents[1])
    print(done.output)
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--guest", action="store_true")
    options = parser.parse_args()
    if options.guest:
        return in_guest(sys.argv[1:])
    for name in options.only:
        SECTIONS[name](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
