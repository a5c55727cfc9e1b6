"""The Mininet object that networks are built with: Mininet's own, with fixes for what fails on current systems."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

from mininet.log import output
from mininet.net import Mininet

# How long iperf's server may take until it listens.
_LISTEN_PATIENCE_S = 5.0


class EmulatedNet(Mininet):  # type: ignore[misc]
    """Mininet, except for `iperf`."""

    def iperf(
        self,
        hosts: list[Any] | None = None,
        l4Type: str = "TCP",
        udpBw: str = "10M",
        fmt: str | None = None,
        seconds: int = 5,
        port: int = 5001,
    ) -> list[str]:
        """Bandwidth from the first host to the second: [server's figure, client's figure].

        Mininet 2.3 waits for ever for a line that iperf 2.1 and later do not print for an empty connection.
        """
        client, server = hosts or [self.hosts[0], self.hosts[-1]]
        output("*** Iperf: testing", l4Type, "bandwidth between", client, "and", server, "\n")
        common = [
            "iperf",
            "-p",
            str(port),
            *(["-u"] if l4Type == "UDP" else []),
            *(["-f", fmt] if fmt else []),
        ]
        daemon = server.popen([*common, "-s"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            rate = ["-b", udpBw] if l4Type == "UDP" else []
            client_text = self._run_client(client, [*common, "-t", str(seconds), "-c", server.IP(), *rate])
        finally:
            # The signal on which it prints its last results and ends.
            daemon.send_signal(signal.SIGINT)
            server_text, _ = daemon.communicate()
        result = [self._parseIperf(server_text), self._parseIperf(client_text)]
        if l4Type == "UDP":
            result.insert(0, udpBw)
        output(f"*** Results: {result}\n")
        return result

    def _run_client(self, client: Any, command: list[str]) -> str:
        deadline = time.monotonic() + _LISTEN_PATIENCE_S
        while True:
            text = str(client.cmd(*command))
            if "refused" not in text or time.monotonic() > deadline:
                return text
            time.sleep(0.1)
