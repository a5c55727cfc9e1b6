"""What links carry and how busy the machine is, sampled while agents train: evidence for the verdict.

Everything is read from the kernel's own counters, once per wall second; shorter intervals would show bursts, not rates.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mnbed.network.build import Network
from mnbed.network.counters import CounterReader, InterfaceCounters
from mnbed.records.controller import MachineSample
from mnbed.run.journal import ControllerJournal

_SAMPLE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class LinkTotals:
    """Counters of one interface over the run; peak in wall-clock bit/s."""

    bytes_sent: int
    drops: int
    peak_bps: float | None
    backlog_peak_bytes: int


class LinkSampler:
    """Every interface's counters."""

    def __init__(self, network: Network) -> None:
        self._interfaces = {
            interface for link in network.plan.links for interface in (link.a_interface, link.b_interface)
        }
        self._reader = CounterReader({name: network.pid(name) for name in network.node_names()})
        self._first = self._last = self._reader.read()
        self._at = time.monotonic()
        self._peak: dict[str, float] = {}
        self._backlog: dict[str, int] = {}

    def sample(self, now: float) -> None:
        """Read the counters."""
        counters = self._reader.read()
        for interface in self._interfaces & counters.keys() & self._last.keys():
            rate = (counters[interface].bytes_sent - self._last[interface].bytes_sent) * 8 / (now - self._at)
            self._peak[interface] = max(rate, self._peak.get(interface, 0.0))
            self._note_backlog(interface, counters[interface])
        self._last, self._at = counters, now

    def _note_backlog(self, interface: str, counters: InterfaceCounters) -> None:
        self._backlog[interface] = max(counters.backlog_bytes, self._backlog.get(interface, 0))

    def totals(self) -> dict[str, LinkTotals]:
        """Interface -> what it carried since the sampler was made."""
        none = InterfaceCounters(0, 0, 0)
        last = self._reader.read()
        return {
            interface: LinkTotals(
                bytes_sent=last.get(interface, none).bytes_sent - self._first.get(interface, none).bytes_sent,
                drops=last.get(interface, none).drops - self._first.get(interface, none).drops,
                peak_bps=self._peak.get(interface),
                backlog_peak_bytes=self._backlog.get(interface, 0),
            )
            for interface in sorted(self._interfaces)
        }

    def close(self) -> None:
        self._reader.close()


@dataclass(frozen=True, kw_only=True)
class _Times:
    """Seconds that the threads of a process have run, and have been ready to run without a core."""

    running: float = 0.0
    waiting: float = 0.0


class MachineSampler:
    """Cores, agents and the delay process."""

    def __init__(self, delay_pid: int | None) -> None:
        self._delay_pid = delay_pid
        self._at = time.monotonic()
        self._cores = _core_seconds()
        self._pressure = _pressure_s()
        self._times: dict[int, _Times] = {}

    def sample(self, now: float, agent_pids: Iterable[int]) -> MachineSample:
        """Means since the last call."""
        agents = list(agent_pids)
        pids = [*agents, *([self._delay_pid] if self._delay_pid is not None else [])]
        # A process that has started since the last call has no earlier reading to compare with.
        times = {pid: _thread_times(pid) for pid in pids}
        elapsed, before = now - self._at, self._times
        known = [pid for pid in agents if pid in before]
        busy, total = _core_seconds()
        pressure = _pressure_s()

        def grown(pids: Iterable[int]) -> _Times:
            pids = list(pids)
            return _Times(
                running=sum(max(0.0, times[pid].running - before[pid].running) for pid in pids),
                waiting=sum(max(0.0, times[pid].waiting - before[pid].waiting) for pid in pids),
            )

        delay = [pid for pid in pids if pid == self._delay_pid and pid in before]
        own = grown(known)
        means: MachineSample = {
            "cpu_busy": _rounded(_share(busy - self._cores[0], total - self._cores[1])),
            "agents_cpu": _rounded(own.running / elapsed if known else None),
            "delay_cpu": _rounded(grown(delay).running / elapsed if delay else None),
            "run_delay": _rounded(own.waiting / elapsed / len(known) if known else None),
            "pressure": _rounded(
                None if pressure is None or self._pressure is None else (pressure - self._pressure) / elapsed
            ),
        }
        self._at, self._cores, self._pressure, self._times = now, (busy, total), pressure, times
        return means


class Sampler:
    """Links and machine together, at most once a second; the machine's samples go to the journal."""

    def __init__(self, network: Network, journal: ControllerJournal) -> None:
        self._links = LinkSampler(network)
        self._machine = MachineSampler(None if network.delay is None else network.delay.pid)
        self._journal = journal
        self._at = time.monotonic()

    def sample(self, agent_pids: Iterable[int]) -> None:
        """Take a sample if one is due; call this often."""
        now = time.monotonic()
        if now - self._at < _SAMPLE_S:
            return
        self._at = now
        self._links.sample(now)
        self._journal.write("machine", **self._machine.sample(now, agent_pids))

    def totals(self) -> Mapping[str, LinkTotals]:
        """Interface -> its counters over the run."""
        return self._links.totals()

    def close(self) -> None:
        self._links.close()


def memory_mb(pids: Iterable[int]) -> float | None:
    """Mean proportional set size of those processes, megabytes; None if it cannot be read."""
    sizes = []
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes += [int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")]
    return sum(sizes) / len(sizes) * 1024 / 1e6 if sizes else None


def _core_seconds() -> tuple[float, float]:
    """(busy, all) ticks of all cores since the machine started; waiting for a disk is not busy."""
    fields = [float(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _pressure_s() -> float | None:
    """Seconds in which some process waited for a core, since the machine started; None: the kernel does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/pressure/cpu").read_text().split("total=", 1)[1].split()[0]) / 1e6
    return None


def _thread_times(pid: int) -> _Times:
    """Summed over all threads that the process has now."""
    running = waiting = 0
    with contextlib.suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            ran, waited, _ = (task / "schedstat").read_text().split()
            running, waiting = running + int(ran), waiting + int(waited)
    return _Times(running=running / 1e9, waiting=waiting / 1e9)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
