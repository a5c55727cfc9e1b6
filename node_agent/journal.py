"""The journal: one JSON object per line, flushed line by line, so that a crash loses at most the line being written.

Every record has `t` (emulated seconds since the common start; null before it), `node` and `event`. Events of an agent:

    ready       pid, life                              at the start barrier; `life` counts restarts
    round       round, steps, train_loss, aggregated, staleness_s, overruns, late_s, waited_s, waited_for
                    one per finished local phase; `aggregated`: fragments averaged in when the round began,
                    `staleness_s`: their mean age since they were sent; `overruns`: steps that overran their slot,
                    `late_s`: the largest overrun, emulated seconds; `waited_s`: the wait before the round,
                    `waited_for`: the peers still missing at the last check
    waiting     round, since, of                       a wait has lasted longer than a round's steps, or to the end
    snapshot    instant, file, instant_s, taken_s, round, steps, train_loss, staleness_s,
                    and every field of counters.Counters
                    `file` is relative to the run directory: flat float32 parameters; `taken_s`: when they were
                    current, `instant_s` or later
    peer_lost   peer, reason                           a connection to or from it broke, or could not be made
    peer_ended  peer                                   it said BYE: its part of the experiment is over
    strangers   address, connections, reason           closed before they had said who they were
    rejected    peer, reason                           a foreign, torn or corrupt frame closed a connection
    end         reason, cpu_s, and every field of counters.Counters,
                    rtt_s: {peer: smallest round-trip time the kernel has measured, emulated seconds},
                    one_way_s: {sender: [smallest, mean, largest] time of its frames, first byte to last, emulated s}
    error       message, traceback

The ledger (optional), one record for each step in a fragment's life; `round` is the sender's round:

    created     round, sends: [[fragment, peer], ...]
    sent        round, fragment, peer, begun, bytes     `begun`: when its first byte went to the kernel
    dropped     round, fragment, peer                   replaced by newer data while still unsent
    arrived     round, fragment, sender, sent, bytes    `sent`: the emulated send time in the frame's header
    aggregated  round, at, of: [[sender, round, fragment], ...]    here `round` is the receiver's own; `at`: when the
                    average was made, at the start of the round at whose end this is written

Events of the controller (node "controller"):

    phase            name, wall_s
    probe            the links before training: see mnbed.network.probe
    machine          each wall second while agents train: cpu_busy (share of all cores), agents_cpu, delay_cpu (cores),
                     run_delay (share of the time that an agent was ready to run but had no core), pressure (share of
                     the time that anything was); null: not known
    slept            wall_s: how long the controller stood still while agents trained
    applied          an event of the experiment: kind (reshape, link, partition, node), text, entry (number in
                     network.events), planned_s, late_s (emulated), and what it was done to
    agent_died       agent, cause                      nobody asked for it
    link_counters    links: totals, peak rates and peak backlogs of both ends
    shaping_checked  differences                       between the qdiscs at the end and what they should be then
    delay_queue      statistics of the NFQUEUE delay
    finished, torn_down                                see mnbed.run_directory
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node_agent.full_disk import naming


class Journal:
    """Appends records to one file; safe to use from several threads, since each record is one write."""

    def __init__(
        self, path: Path, node: str, now: Callable[[], float | None], descriptor: int | None = None
    ) -> None:
        """`now` gives the emulated time, or None before the common start.

        `descriptor`: the file, if it has been opened for appending already; ownership passes to the journal.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._path = path
        self._fd = os.open(path, flags, 0o644) if descriptor is None else descriptor
        self._node = node
        self._now = now

    def write(self, event: str, **fields: Any) -> None:
        """Append one record and hand it to the kernel at once.

        Raises OSError if the disk is full: a journal that loses records silently is worth nothing.
        """
        now = self._now()
        record = {"t": None if now is None else round(now, 6), "node": self._node, "event": event, **fields}
        line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        with naming(self._path):
            while line:
                line = line[os.write(self._fd, line) :]

    def close(self) -> None:
        """Close the file; later writes fail."""
        os.close(self._fd)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All whole records of a journal; a torn last line, as a crash leaves it, is skipped.

    Raises ValueError, with file and line number, if any other line is not JSON.
    """
    records = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise ValueError(f"{path}:{number}: not a JSON record: {line[:80]!r}") from None
    return records
