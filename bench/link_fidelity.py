"""Do links deliver what was asked? Goodput of our transport beside iperf3 on the same link, and round-trip times.

sudo .venv/bin/python bench/link_fidelity.py [--repeat 3] [--seconds 5] [--backend auto]
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from _network import in_host, iperf3, median, ping, result_of, star_plan, table

from mnbed.network.build import Network, build_network
from mnbed.plan import Plan
from node_agent import wire
from node_agent.algorithms import Outbox, Send
from node_agent.clock import EmulatedClock
from node_agent.control import ControlChannel
from node_agent.counters import Counters
from node_agent.journal import Journal
from node_agent.settings import AgentSettings, PeerSettings
from node_agent.transport import Transport

TOKEN = "00" * 16
# A GN-LeNet model in ten fragments.
NUM_FRAGMENTS, FRAGMENT_BYTES = 10, 35_936


def settings(plan: Plan, name: str, folder: str) -> AgentSettings:
    peers = tuple(
        PeerSettings(name=host.name, index=host.index, address=host.address, port=9000)
        for host in plan.hosts
        if host.name != name
    )
    host = plan.host(name)
    return AgentSettings(
        name=name,
        index=host.index,
        num_nodes=len(plan.hosts),
        address=host.address,
        port=9000,
        peers=peers,
        token=TOKEN,
        run_directory=folder,
        control_socket="",
        seed=1,
        dilation=1.0,
        duration_s=60,
        step_time_s=0.02,
        snapshot_every_s=60,
        snapshot_model="current",
        algorithm={},
        task={},
        data_root="",
        ledger=False,
    )


def agent(plan: Plan, name: str, folder: str, seconds: float, sends: bool) -> float:
    """One end of the measurement; returns payload bit/s received after the first second."""
    ours, _theirs = socket.socketpair()
    arrived: list[tuple[float, int]] = []

    def on_fragment(fragment: wire.Fragment) -> None:
        arrived.append((time.monotonic(), fragment.values.nbytes))

    transport = Transport(
        settings(plan, name, folder),
        counters=Counters(),
        journal=Journal(Path(folder) / f"{name}.jsonl", name, lambda: None),
        new_receiver=lambda: wire.Receiver(token=bytes.fromhex(TOKEN), num_nodes=2),
        on_fragment=on_fragment,
        on_peer=lambda *_: None,
        control=ControlChannel(ours),
        on_control=lambda _: None,
        status=dict,
    )
    transport.start()
    transport.begin(EmulatedClock(time.monotonic(), 1.0))
    if sends:
        payload = memoryview(os.urandom(FRAGMENT_BYTES))
        order = [Send(1, fragment) for fragment in range(NUM_FRAGMENTS)] * 2000
        time.sleep(0.3)
        transport.submit(
            Outbox(
                round=0,
                permutation_seed=1,
                num_fragments=NUM_FRAGMENTS,
                payloads=[payload] * NUM_FRAGMENTS,
                sends=order,
                replace_unsent=True,
            )
        )
    threading.Event().wait(seconds + 1.5)
    transport.finish()
    if len(arrived) < 3:
        return 0.0
    first = arrived[0][0] + 1.0
    counted = [(at, size) for at, size in arrived if first <= at <= first + seconds]
    return 8 * sum(size for _, size in counted[1:]) / (counted[-1][0] - counted[0][0])


def transport_goodput(network: Network, plan: Plan, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        receiver = in_host(network, "h2", lambda: agent(plan, "h2", folder, seconds + 0.5, False))
        sender = in_host(network, "h1", lambda: agent(plan, "h1", folder, seconds, True))
        result_of(sender)
        return float(result_of(receiver))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    rows = []
    for rate in (5, 60, 200):
        plan = star_plan(2, f"{rate}mbit", "1ms", options.backend)
        with build_network(plan) as network:
            ours, theirs = [], []
            for _ in range(options.repeat):
                ours.append(transport_goodput(network, plan, options.seconds))
                theirs.append(iperf3(network, "h1", "h2", options.seconds))
        ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
        rows.append(
            (
                f"{rate}",
                f"{median(ours) / 1e6:.2f}",
                f"{median(ours) / rate / 1e6:.1%}",
                f"{median(theirs) / 1e6:.2f}",
                f"{ratio:.1%}",
            )
        )
    table(
        f"agent-to-agent payload goodput, delay backend {plan.delay_backend}",
        ("asked Mbit/s", "ours Mbit/s", "of asked", "iperf3 Mbit/s", "ours/iperf3"),
        rows,
    )
    rows = []
    for delay in (1, 20, 100):
        # Two links one way: half of the asked delay each way on each link makes the round trip `delay` long.
        plan = star_plan(2, "60mbit", f"{delay / 4}ms", options.backend)
        with build_network(plan) as network:
            least, mean, largest = (value * 1e3 for value in ping(network, "h1", "h2", 100))
        rows.append((f"{delay}", f"{least - delay:+.3f}", f"{mean - delay:+.3f}", f"{largest - delay:+.3f}"))
    table(
        f"round trip against asked (ping -U, 100 packets), delay backend {plan.delay_backend}",
        ("asked ms", "least ms", "mean ms", "largest ms"),
        rows,
    )


if __name__ == "__main__":
    main()
