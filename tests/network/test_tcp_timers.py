"""TCP's retransmission timeout is the same in emulated time at every dilation: read from live connections."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mnbed.network.build import build_network
from mnbed.network.namespaces import run_in
from tests.network.plans import plan_for

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

_SERVER = """
import socket
server = socket.create_server(("", 9000))
print("ready", flush=True)
connection, _ = server.accept()
while data := connection.recv(65536):
    connection.sendall(data)
"""
# tcpi_rto, in microseconds, follows eight single bytes in struct tcp_info (linux/tcp.h).
_CLIENT = """
import socket, struct
with socket.create_connection(("10.0.0.2", 9000)) as connection:
    for _ in range(20):
        connection.sendall(b"x")
        connection.recv(1)
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 12)
    print(struct.unpack_from("I", info, 8)[0])
"""


@pytest.mark.parametrize("dilation", [0.5, 1, 4])
def test_a_lost_packet_costs_the_same_emulated_time(dilation: float) -> None:
    plan = plan_for({"kind": "star", "nodes": 2}, time={"dilation": dilation})
    with build_network(plan) as network:
        server = network.mininet.nameToNode["h2"].popen(
            [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE
        )
        try:
            server.stdout.readline()
            rto_us = run_in(network.pid("h1"), [sys.executable, "-c", _CLIENT], what="connecting")
        finally:
            server.kill()
            server.communicate()
    # The minimum timeout of 200 ms and a round trip of 4 ms; kernels count in ticks of up to 10 ms.
    assert 0.19 <= int(rto_us) / 1e6 / dilation <= 0.25
