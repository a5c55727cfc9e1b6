"""One-way times of datagrams between two hosts: all namespaces share one clock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal, overload

from mnbed.network.build import Network

Arrived = list[tuple[int, float]]

_SEND = """
import socket, struct, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    sender.sendto(struct.pack("!Id", number, time.monotonic()), (sys.argv[2], int(sys.argv[3])))
    time.sleep(0.002)
"""
_RECEIVE = """
import json, socket, struct, sys, time
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("", int(sys.argv[1])))
print("ready", flush=True)
receiver.settimeout(2)
arrived = []
try:
    while len(arrived) < int(sys.argv[2]):
        number, sent = struct.unpack("!Id", receiver.recv(100))
        arrived.append([number, time.monotonic() - sent])
except TimeoutError:
    pass
print(json.dumps(arrived))
"""
_ports = iter(range(9100, 9200))


@overload
def one_way(network: Network, source: str, target: str, count: int) -> Arrived: ...
@overload
def one_way(
    network: Network, source: str, target: str, count: int, *, wait: Literal[False]
) -> Callable[[], Arrived]: ...
def one_way(network: Network, source: str, target: str, count: int, *, wait: bool = True) -> Any:
    """(number, seconds) of the datagrams that arrive, in the order of arrival; one is sent every 2 ms.

    With `wait=False` it returns at once, with a function that waits for them.
    """
    hosts, port = network.mininet.nameToNode, str(next(_ports))
    command = [sys.executable, "-c", _RECEIVE, port, str(count)]
    receiver = hosts[target].popen(command, stdout=subprocess.PIPE, text=True)
    assert receiver.stdout.readline() == "ready\n"
    address = network.plan.host(target).address
    sender = hosts[source].popen([sys.executable, "-c", _SEND, str(count), address, port])

    def arrived() -> Arrived:
        sender.communicate()
        output, _ = receiver.communicate(timeout=60)
        return [(number, seconds) for number, seconds in json.loads(output)]

    return arrived() if wait else arrived
