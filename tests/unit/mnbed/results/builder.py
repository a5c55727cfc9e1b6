"""Writes a small made-up run directory in the real format, as a run would leave it, within milliseconds.

Time per round, losses and accuracies follow simple formulas, so that tests can say what the results must be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mnbed.plan.properties import LinkProperties
from mnbed.run.journal import ControllerJournal
from mnbed.run_directory import RunDirectory
from node_agent.counters import Counters
from node_agent.journal import Journal, JournalFile
from node_agent.tasks.digits import DigitsSettings

STEPS_PER_ROUND = 5
FRAGMENTS = 4
FRAME_BYTES = 1000
DILATION = 2.0


@dataclass(kw_only=True)
class RunBuilder:
    """A run on a star; change fields, then `build`."""

    path: Path
    num_nodes: int = 4
    num_stragglers: int = 1
    """The first nodes are the stragglers."""
    duration_s: int = 6
    """One round and one instant each emulated second; a straggler does every other round."""
    ledger: bool = True
    standin: bool = False
    status: str | None = "completed"
    """None: the controller was killed and wrote no end."""
    error: str | None = None
    delay_backend: str = "netem"
    late_packets: int | None = 0
    """Late packets of 1000 in the NFQUEUE delay, if that is the backend; None: it left no statistics."""
    targets: tuple[float, ...] = (0.3, 0.99)
    overruns_per_round: int = 0
    late_s_per_round: float = 0.0
    frames_rejected: int = 0
    strangers_closed: int = 0
    descriptor_shortages: int = 0
    ended_late_s: float = 0.01
    """How long after the duration the agents end."""
    killed: dict[str, int] = field(default_factory=dict)
    """Node -> the second at which it dies: nothing of it after that, and no `end`."""
    machine: dict[str, float | None] = field(
        default_factory=lambda: {
            "cpu_busy": 0.5,
            "agents_cpu": 0.8,
            "delay_cpu": 0.1,
            "run_delay": 0.1,
            "pressure": 0.2,
        }
    )
    """Every sample of the machine."""
    applied: list[dict[str, Any]] = field(default_factory=list)
    """Events of the experiment, as the controller journals them."""
    parameters: NDArray[np.float32] | None = None
    """What snapshots hold; None: no snapshot files."""

    def build(self) -> RunDirectory:
        run = RunDirectory(self.path)
        run.create()
        run.experiment.write_text(yaml.safe_dump(self.experiment(), sort_keys=False))
        run.environment.write_text(json.dumps(self.environment()))
        for index in range(self.num_nodes):
            self._write_node(run, index)
        self._write_controller(run)
        return run

    # What the files hold

    @property
    def names(self) -> list[str]:
        return [f"h{index + 1}" for index in range(self.num_nodes)]

    def is_straggler(self, name: str) -> bool:
        return self.names.index(name) < self.num_stragglers

    def round_at(self, name: str, second: int) -> int | None:
        """Number of the round that this node ends at that second, if it does."""
        if second == 0 or second > self.killed.get(name, self.duration_s):
            return None
        if not self.is_straggler(name):
            return second - 1
        return second // 2 - 1 if second % 2 == 0 else None

    def experiment(self) -> dict[str, Any]:
        return {
            "name": "made-up",
            "seed": 7,
            "data_root": None,
            "algorithm": {"name": "divshare", "fragment_fraction": 1 / FRAGMENTS, "degree": 2},
            "task": asdict(DigitsSettings(local_steps=STEPS_PER_ROUND)),
            "time": {"duration": f"{self.duration_s}s", "dilation": DILATION},
            "evaluate": {
                "every": "1s",
                "samples": 40,
                "targets": list(self.targets),
                "keep_snapshots": False,
            },
        }

    def environment(self) -> dict[str, Any]:
        return {
            "mnbed": "0.1.0",
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
            "kernel": "6.1.0-13-amd64",
            "cores": 2,
            "memory_bytes": 4 * 10**9,
            "git_revision": "0123456789ab",
            "command": ["mnbed", "run", "made up.yaml"],
            "started": "2026-11-20T21:30:00",
            "delay_backend": self.delay_backend,
            "switch": "bridge",
            "dilation": DILATION,
            "data_root": "/nowhere",
            "standin": self.standin,
            "data": "a stand-in for digits" if self.standin else "scikit-learn's digits",
            "step_wall_s": 0.002,
            "num_parameters": 1000,
            "partition": [[10 * (row + column) for column in range(10)] for row in range(self.num_nodes)],
            "hosts": [
                {
                    "name": name,
                    "label": None,
                    "region": None,
                    "index": index,
                    "address": f"10.0.0.{index + 1}",
                    "straggler": self.is_straggler(name),
                    "step_time_s": 0.4 if self.is_straggler(name) else 0.2,
                    "peers": [peer for peer in self.names if peer != name],
                }
                for index, name in enumerate(self.names)
            ],
            "switches": ["s1"],
            "links": [self._link(name, port) for port, name in enumerate(self.names, start=1)],
        }

    def bandwidth_bps(self, name: str) -> float:
        return 12e6 if self.is_straggler(name) else 60e6

    def _link(self, name: str, port: int) -> dict[str, Any]:
        asked = LinkProperties(bandwidth_bps=self.bandwidth_bps(name), delay_s=0.001)
        wire = asked.dilated(DILATION)
        delay_s = wire.delay_s if self.delay_backend == "netem" else 0.0
        shape = {
            "rate_bps": wire.bandwidth_bps,
            "delay_s": delay_s,
            "jitter_s": 0.0,
            "loss": 0.0,
            "limit": 25,
        }
        return {
            "a": name,
            "b": "s1",
            "a_interface": f"{name}-eth0",
            "b_interface": f"s1-eth{port}",
            "straggler": self.is_straggler(name),
            "asked": {"a": asdict(asked), "b": asdict(asked)},
            "wire": {"a": asdict(wire), "b": asdict(wire)},
            "readback": {"a": shape, "b": shape},
            "readback_branches": [],
        }

    def accuracy(self, name: str, instant: int) -> float:
        """Others gain 0.06 an instant, stragglers half of that."""
        return 0.1 + (0.03 if self.is_straggler(name) else 0.06) * instant

    def loss(self, name: str, instant: int) -> float:
        return 2.0 - self.accuracy(name, instant)

    def evaluate(self, run: RunDirectory) -> None:
        """Write evaluation.jsonl as the evaluation would."""
        with run.evaluation.open("w") as file:
            for instant in range(self.duration_s + 1):
                for name in self.names:
                    if instant <= self.killed.get(name, self.duration_s):
                        scores = {"accuracy": self.accuracy(name, instant), "loss": self.loss(name, instant)}
                        file.write(
                            json.dumps({"node": name, "instant": instant, "t": float(instant), **scores})
                            + "\n"
                        )
                mean = {"node": "mean_model", "instant": instant, "t": float(instant)}
                file.write(json.dumps({**mean, "accuracy": 0.15 + 0.06 * instant, "loss": 1.5}) + "\n")

    # Journals

    def _write_node(self, run: RunDirectory, index: int) -> None:
        name = self.names[index]
        with journal(run.node_journal(name), name) as (book, at):
            at(None)
            book.write("ready", pid=1000 + index, life=0)
            node = _Node(self, run, book, index)
            for second in range(self.duration_s + 1):
                if second > self.killed.get(name, self.duration_s):
                    return
                node.second(second, at)
            if name in self.killed:
                return
            at(self.duration_s + self.ended_late_s)
            book.write(
                "end",
                reason="finished",
                **node.counters.totals(),
                cpu_s=1.5,
                rtt_s={},
                one_way_s={"h9": [0.001, 0.002, 0.03]},
            )

    def _write_controller(self, run: RunDirectory) -> None:
        with journal(run.controller_journal, "controller", ControllerJournal) as (book, at):
            at(None)
            book.write("phase", name="loading data", wall_s=0.0)
            for name, second in self.killed.items():
                at(second + 0.5)
                book.write("agent_died", agent=name, cause=f"{name}'s agent was killed by SIGKILL")
            if self.status is None:
                return
            at(self.duration_s + 0.1)
            rows = [
                {
                    "a": name,
                    "b": "s1",
                    "a_bytes": 5000,
                    "b_bytes": 6000,
                    "a_drops": 0,
                    "b_drops": 3,
                    "a_peak_bps": 0.9 * self.bandwidth_bps(name),
                    "b_peak_bps": None,
                    "a_backlog_peak_bytes": 3000,
                    "b_backlog_peak_bytes": 2000,
                }
                for name in self.names
            ]
            book.write("probe", **self._probe())
            for second in range(1, self.duration_s):
                at(second + 0.2)
                book.write("machine", **self.machine)
            for event in self.applied:
                at(event["planned_s"] + event["late_s"])
                book.write("applied", **event)
            at(self.duration_s + 0.1)
            book.write("link_counters", links=rows)
            book.write("shaping_checked", differences=[])
            if self.delay_backend == "nfqueue":
                book.write("delay_queue", **self._delay_statistics())
            book.write("torn_down", teardown_s=0.4, wall_s=15.0)
            book.write(
                "finished",
                status=self.status,
                reasons=[self.error] if self.error else [],
                error=self.error,
                emulated_s=float(self.duration_s),
                startup_s=2.5,
                agent_memory_mb=18.5,
                wall_s=15.5,
            )

    def _probe(self) -> dict[str, Any]:
        """Every direction and one path, a little off what was asked."""
        directions = [
            {
                "source": source,
                "target": target,
                "asked_bps": self.bandwidth_bps(name),
                "measured_bps": self.bandwidth_bps(name) - 1e5,
                "asked_delay_s": 0.001,
                "measured_delay_s": None if self.delay_backend == "nfqueue" else 0.00102,
                "late_s": 0.0002,
                "limited_by_machine": False,
            }
            for name in self.names
            for source, target in ((name, "s1"), ("s1", name))
        ]
        path = {"source": "h1", "target": "h2", "asked_s": 0.002, "measured_s": 0.00205}
        return {"directions": directions, "paths": [path], "skipped": 0, "took_wall_s": 0.5}

    def _delay_statistics(self) -> dict[str, Any]:
        if self.late_packets is None:
            return {}
        late = self.late_packets
        return {"packets": 1000, "late_max_s": 0.002, "late_over_1ms": late, "lost": 0, "cpu_s": 0.1}


class _Node:
    """One node's history, second by second."""

    def __init__(self, builder: RunBuilder, run: RunDirectory, book: Journal, index: int) -> None:
        self.builder, self.run, self.book, self.index = builder, run, book, index
        self.name = builder.names[index]
        self.counters = Counters(
            frames_rejected=builder.frames_rejected,
            strangers_closed=builder.strangers_closed,
            descriptor_shortages=builder.descriptor_shortages,
        )
        self.rounds = 0

    def second(self, second: int, at: Any) -> None:
        at(float(second))
        if self.builder.round_at(self.name, second) is not None:
            self._round(second, at)
        self._snapshot(second)
        sender = self.builder.names[self.index - 1]
        sent_round = self.builder.round_at(sender, second)
        if sent_round is not None and self.builder.ledger:
            self._arrivals(second, sender, sent_round, at)

    def _round(self, second: int, at: Any) -> None:
        builder, counters = self.builder, self.counters
        counters.overruns += builder.overruns_per_round
        counters.late_s += builder.late_s_per_round
        self.book.write(
            "round",
            round=self.rounds,
            steps=(self.rounds + 1) * STEPS_PER_ROUND,
            train_loss=2.5 / second,
            aggregated=2,
            staleness_s=None if self.rounds == 0 else 0.3,
            overruns=builder.overruns_per_round,
            late_s=builder.late_s_per_round,
            waited_s=0.0,
            waited_for=[],
        )
        peer = builder.names[(self.index + 1) % builder.num_nodes]
        counters.fragments_created += FRAGMENTS
        counters.fragments_sent += FRAGMENTS - 1
        counters.fragments_dropped_stale += 1
        counters.fragments_received += FRAGMENTS - 1
        counters.bytes_sent += (FRAGMENTS - 1) * FRAME_BYTES
        counters.bytes_received += (FRAGMENTS - 1) * FRAME_BYTES
        if builder.ledger:
            self._ledger(second, peer, at)
        self.rounds += 1

    def _ledger(self, second: int, peer: str, at: Any) -> None:
        """All fragments but the last are sent to one peer."""
        self.book.write(
            "created", round=self.rounds, sends=[(fragment, peer) for fragment in range(FRAGMENTS)]
        )
        for fragment in range(FRAGMENTS - 1):
            begun = second + 0.1 * fragment
            at(begun + 0.05)
            self.book.write(
                "sent", round=self.rounds, fragment=fragment, peer=peer, begun=begun, bytes=FRAME_BYTES
            )
        at(second + 0.5)
        self.book.write("dropped", round=self.rounds, fragment=FRAGMENTS - 1, peer=peer)

    def _arrivals(self, second: int, sender: str, sent_round: int, at: Any) -> None:
        """What the node before sends; the first of it is averaged in."""
        for fragment in range(FRAGMENTS - 1):
            sent = second + 0.1 * fragment
            at(sent + 0.07)
            self.book.write(
                "arrived", round=sent_round, fragment=fragment, sender=sender, sent=sent, bytes=FRAME_BYTES
            )
        at(second + 0.6)
        self.book.write("aggregated", round=self.rounds, at=second + 0.6, of=[(sender, sent_round, 0)])
        self.counters.fragments_aggregated += 1

    def _snapshot(self, second: int) -> None:
        file = f"snapshots/{self.name}/{second:05d}.npy"
        if self.builder.parameters is not None:
            path = self.run.path / file
            path.parent.mkdir(exist_ok=True)
            np.save(path, self.builder.parameters)
        self.book.write(
            "snapshot",
            instant=second,
            file=file,
            instant_s=float(second),
            taken_s=float(second),
            round=self.rounds,
            steps=self.rounds * STEPS_PER_ROUND,
            train_loss=2.5 / second if second else None,
            staleness_s=None,
            **self.counters.totals(),
        )


@contextmanager
def journal(path: Path, node: str, kind: type[JournalFile] = Journal) -> Iterator[tuple[Any, Any]]:
    """A journal and a function that sets its clock."""
    now: list[float | None] = [None]

    def at(t: float | None) -> None:
        now[0] = t

    book = kind(path, node, lambda: now[0])
    try:
        yield book, at
    finally:
        book.close()
