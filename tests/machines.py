"""Machines that tests plan for; a test that needs another one changes fields with dataclasses.replace."""

from __future__ import annotations

from dataclasses import replace

from mnbed.machine import MachineFacts

SMALL = MachineFacts(
    root=True,
    cores=2,
    memory_bytes=4 * 10**9,
    open_files=4096,
    mnexec="/usr/bin/mnexec",
    mininet="2.3.0",
    torch="2.13.0",
    namespaces=True,
    netem=True,
    htb=True,
    veth=True,
    bridge=True,
    congestion_controls=("reno", "cubic"),
)
"""A laptop that has all that mnbed needs: every shipped experiment must plan here."""
ROOMY = replace(SMALL, memory_bytes=10**12, open_files=10**6, nfqueue=True)
"""Few cores, and no other limit: for tests of what a plan says."""
