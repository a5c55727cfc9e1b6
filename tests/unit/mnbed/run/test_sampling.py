"""From the kernel's counters to records and totals; the counters of links are made up, those of processes are real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnbed.network.counters import InterfaceCounters
from mnbed.run import sampling
from mnbed.run.journal import ControllerJournal
from mnbed.run.sampling import LinkSampler, LinkTotals, MachineSampler, Sampler, memory_mb
from node_agent.journal import read_journal


class FakeReader:
    """Counters as the test says."""

    now: dict[str, InterfaceCounters] = {}  # noqa: RUF012
    closed = False

    def __init__(self, _: Any) -> None:
        type(self).closed = False

    def read(self) -> dict[str, InterfaceCounters]:
        return dict(self.now)

    def close(self) -> None:
        type(self).closed = True


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sampling, "CounterReader", FakeReader)
    link = SimpleNamespace(a_interface="h1-eth0", b_interface="s1-eth1")
    yield SimpleNamespace(
        plan=SimpleNamespace(links=(link,)), delay=None, node_names=lambda: ["h1"], pid=lambda _: os.getpid()
    )
    FakeReader.now = {}


def carried(num_bytes: int, drops: int = 0, backlog: int = 0) -> None:
    FakeReader.now = {
        "h1-eth0": InterfaceCounters(num_bytes, drops, backlog),
        "lo": InterfaceCounters(9, 9, 9),
    }


def test_totals_count_from_the_start_and_peaks_are_rates(network: Any) -> None:
    carried(1000, drops=5)
    sampler = LinkSampler(network)
    began = sampler._at
    carried(126_000, drops=6, backlog=700)
    sampler.sample(began + 1)
    carried(127_000, drops=6, backlog=300)
    sampler.sample(began + 2)
    totals = sampler.totals()
    assert totals["h1-eth0"] == LinkTotals(
        bytes_sent=126_000, drops=1, peak_bps=1_000_000, backlog_peak_bytes=700
    )
    # What an interface carried that has since gone is unknown; interfaces of others are not ours to count.
    assert totals["s1-eth1"] == LinkTotals(bytes_sent=0, drops=0, peak_bps=None, backlog_peak_bytes=0)
    assert set(totals) == {"h1-eth0", "s1-eth1"}


def test_a_process_counts_from_its_second_sample_on() -> None:
    sampler = MachineSampler(None)
    began = sampler._at
    first = sampler.sample(began + 1, [os.getpid()])
    assert (first["agents_cpu"], first["run_delay"], first["delay_cpu"]) == (None, None, None)
    sum(range(2_000_000))
    second = sampler.sample(began + 1.5, [os.getpid()])
    assert second["agents_cpu"] is not None
    assert second["agents_cpu"] > 0


def test_a_process_that_has_ended_counts_as_nothing() -> None:
    sampler = MachineSampler(None)
    nobody = 2**22 + 1
    began = sampler._at
    sampler.sample(began + 1, [nobody])
    assert sampler.sample(began + 2, [nobody])["agents_cpu"] == 0
    assert sampler.sample(began + 3, [])["agents_cpu"] is None


def test_the_delay_process_is_counted_separately() -> None:
    sampler = MachineSampler(os.getpid())
    began = sampler._at
    sampler.sample(began + 1, [])
    sum(range(2_000_000))
    sample = sampler.sample(began + 2, [])
    assert sample["agents_cpu"] is None
    assert sample["delay_cpu"] is not None
    assert sample["delay_cpu"] > 0


def test_samples_are_journalled_once_a_second(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: Any = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(sampling, "time", clock)
    journal = ControllerJournal(tmp_path / "journal", "controller", lambda: 0.0)
    sampler = Sampler(network, journal)
    for now in (100.0, 100.9, 101.0, 101.5, 102.1):
        clock.now = now
        sampler.sample([])
    sampler.close()
    journal.close()
    records = read_journal(tmp_path / "journal")
    assert [record["event"] for record in records] == ["machine", "machine"]
    assert FakeReader.closed


def test_memory_is_the_mean_of_those_that_can_be_read() -> None:
    mine = memory_mb([os.getpid()])
    assert mine is not None
    assert mine > 1
    assert memory_mb([os.getpid(), 2**22 + 1]) == pytest.approx(mine, rel=0.2)
    assert memory_mb([2**22 + 1]) is None
    assert memory_mb([]) is None
