"""A node that sends to six peers over one slow link: `unshare --net python -m tests.network.exchange_once EXCHANGE`.

Prints JSON: what left when, how old it was when it arrived, how much of the link was used.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import fmean

from node_agent.limits import Limits
from tests.loopback import Node, free_ports

RATE_BPS = 8e6
PEERS, FRAGMENTS, PARAMETERS = 6, 10, 89_834
ROUNDS, ROUND_S = 12, 0.64


def main(exchange: str) -> None:
    """Shape this namespace's loopback, send, print."""
    for command in (
        "ip link set lo mtu 1500 up",
        "tc qdisc add dev lo root handle 1: htb default 1 r2q 1",
        f"tc class add dev lo parent 1: classid 1:1 htb rate {RATE_BPS:.0f} burst 3000 cburst 3000",
        "tc qdisc add dev lo parent 1:1 pfifo limit 30",
    ):
        subprocess.run(command.split(), check=True)
    ports = free_ports(PEERS + 1)
    with tempfile.TemporaryDirectory() as folder:
        nodes = [
            Node(
                Path(folder),
                index,
                ports,
                exchange=exchange,
                num_fragments=FRAGMENTS,
                num_parameters=PARAMETERS,
                limits=Limits(),
            )
            for index in range(PEERS + 1)
        ]
        print(json.dumps(measure(nodes[0], nodes[1:])))
        for node in nodes:
            node.close()


def measure(sender: Node, receivers: list[Node]) -> dict[str, object]:
    """Twelve rounds, each of which replaces what is left of the one before."""
    rng = random.Random(1)
    pairs = [(peer, index) for peer in range(1, PEERS + 1) for index in range(FRAGMENTS)]
    numbers: dict[tuple[int, int, int], int] = {}
    made_s = []
    for round_ in range(ROUNDS):
        rng.shuffle(pairs)
        numbers |= {(round_, index, peer): number for number, (peer, index) in enumerate(pairs)}
        made_s.append(sender.clock.now())
        sender.send(round_, pairs)
        threading.Event().wait(ROUND_S)
    for node in (sender, *receivers):
        node.transport.finish()
    sent = [
        {
            "round": frame["round"],
            "number": numbers[frame["round"], frame["fragment"], int(frame["peer"][1:]) - 1],
            "begun": frame["begun"],
            "t": frame["t"],
        }
        for frame in sender.events("sent")
    ]
    # The nodes' clocks began milliseconds apart; the sender's is the one that counts.
    offset_s = {node.name: sender.clock.now() - node.clock.now() for node in receivers}
    arrived = [frame for node in receivers for frame in node.events("arrived")]
    ages = [frame["t"] + offset_s[frame["node"]] - made_s[frame["round"]] for frame in arrived]
    return {
        "sent": sent,
        "mean_age_s": fmean(ages),
        "copies_per_round": len(arrived) / FRAGMENTS / ROUNDS,
        "bytes_arrived": sum(frame["bytes"] for frame in arrived),
        "bytes_possible": RATE_BPS / 8 * ROUNDS * ROUND_S,
        "created": sender.counters.fragments_created,
        "num_sent": sender.counters.fragments_sent,
        "dropped": sender.counters.fragments_dropped_stale,
        "unsent_at_the_end": len(pairs),
        "torn": sender.counters.fragments_lost,
    }


if __name__ == "__main__":
    main(sys.argv[1])
