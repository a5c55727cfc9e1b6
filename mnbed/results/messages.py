"""The ledger: combines what sender and receiver recorded about each fragment, one row per fragment.

A row is identified by sender, the sender's round, fragment and receiver; rows with the same key by their order. What a
killed agent could not write stays empty.

The ledger of a long run is far larger than memory. All records about one round of one sender go into the same one of
several unnamed files, so that each file can be combined and sorted on its own; the sorted parts are then merged.
"""

from __future__ import annotations

import csv
import heapq
import marshal
import math
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from node_agent.full_disk import naming
from node_agent.records import Aggregated, Arrived, Created, Dropped, Sent

Key = tuple[str, int, int, str]

COLUMNS = (
    "sender",
    "round",
    "fragment",
    "receiver",
    "created_s",
    "begun_s",
    "sent_s",
    "dropped_s",
    "arrived_s",
    "aggregated_s",
    "bytes",
)
_CREATED, _BEGUN, _SENT, _DROPPED, _ARRIVED, _AGGREGATED, _BYTES = range(7)

# Combining a part of the ledger takes about ten times the memory of its journals' text.
_PART_BYTES = 8 << 20
_MAX_PARTS = 200
_BATCH = 100

Step = tuple[int, Key, tuple[Any, ...]]
"""(column for what happened, which message, values)"""
Line = tuple[float, tuple[Any, ...]]
"""(sort key, a row of messages.csv)"""


@dataclass
class FragmentLife:
    """What became of the fragments that a node created."""

    created: int = 0
    sent: int = 0
    dropped: int = 0
    """Replaced by newer data before being sent."""
    arrived: int = 0
    aggregated: int = 0
    aged: int = 0
    """Number of aggregated fragments whose time of creation is known."""
    age_s: float = 0.0
    """Sum of their ages since creation when they were averaged in, emulated seconds."""

    def __add__(self, other: FragmentLife) -> FragmentLife:
        return FragmentLife(
            created=self.created + other.created,
            sent=self.sent + other.sent,
            dropped=self.dropped + other.dropped,
            arrived=self.arrived + other.arrived,
            aggregated=self.aggregated + other.aggregated,
            aged=self.aged + other.aged,
            age_s=self.age_s + other.age_s,
        )


def parts_for(journal_bytes: int) -> int:
    """Number of parts into which the ledger of journals of that size is divided."""
    return min(_MAX_PARTS, 1 + journal_bytes // _PART_BYTES)


class Ledger:
    """All messages of a run; records may be added in any order."""

    def __init__(self, folder: Path | None = None, num_parts: int = 1) -> None:
        """`folder`: for the parts' files; a single part stays in memory."""
        self._rows = _Rows()
        self._files: list[_Spool] = []
        if num_parts > 1 and folder is not None:
            self._files = [_Spool(folder) for _ in range(num_parts)]
        self._lives: dict[str, FragmentLife] | None = None
        self.empty = True
        self.events: dict[str, Callable[[Any], None]] = {
            "created": self._created,
            "sent": self._sent,
            "dropped": self._dropped,
            "arrived": self._arrived,
            "aggregated": self._aggregated,
        }
        """Event -> function that takes its records; raises KeyError or TypeError for a record that lacks fields."""

    def write(self, path: Path) -> None:
        """Write messages.csv, by time of creation. Raises OSError if the disk is full."""
        with path.open("w", newline="") as file, ExitStack() as stack:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            if not self._files:
                writer.writerows(row for _, row in self._rows.lines())
                return
            self._lives = {}
            sorted_parts = []
            for part in self._files:
                rows = _Rows()
                for step in part.read():
                    rows.take(step)
                part.close()
                rows.add_lives(self._lives)
                spool = stack.enter_context(_Spool(part.folder))
                for line in rows.lines():
                    spool.put(line)
                sorted_parts.append(spool.read())
            writer.writerows(row for _, row in heapq.merge(*sorted_parts, key=itemgetter(0)))

    def life(self) -> dict[str, FragmentLife]:
        """Sender -> what became of its fragments. If the ledger is in parts, call this after `write`."""
        if self._lives is None:
            assert not self._files, "write first"
            self._lives = {}
            self._rows.add_lives(self._lives)
        return self._lives

    def _take(self, step: Step) -> None:
        self.empty = False
        if not self._files:
            self._rows.take(step)
            return
        _, (sender, sent_round, _, _), _ = step
        self._files[hash((_number_of(sender), sent_round)) % len(self._files)].put(step)

    def _created(self, record: Created) -> None:
        sender, sent_round, t = record["node"], record["round"], record["t"]
        for fragment, peer in record["sends"]:
            self._take((_CREATED, (sender, sent_round, fragment, peer), (t,)))

    def _sent(self, record: Sent) -> None:
        key = (record["node"], record["round"], record["fragment"], record["peer"])
        self._take((_SENT, key, (record["begun"], record["t"], record["bytes"])))

    def _dropped(self, record: Dropped) -> None:
        key = (record["node"], record["round"], record["fragment"], record["peer"])
        self._take((_DROPPED, key, (record["t"],)))

    def _arrived(self, record: Arrived) -> None:
        key = (record["sender"], record["round"], record["fragment"], record["node"])
        self._take((_ARRIVED, key, (record["sent"], record["t"], record["bytes"])))

    def _aggregated(self, record: Aggregated) -> None:
        # The record is written at the end of the round, but the average was made at its start.
        receiver, t = record["node"], record.get("at", record["t"])
        for sender, sent_round, fragment in record["of"]:
            self._take((_AGGREGATED, (sender, sent_round, fragment, receiver), (t,)))


class _Rows:
    """Messages in memory."""

    def __init__(self) -> None:
        self._rows: dict[Key, list[list[Any]]] = {}

    def take(self, step: Step) -> None:
        """Add an event of a message. Raises TypeError if its key is not hashable."""
        what, key, values = step
        if what == _CREATED:
            self._row(key, _CREATED)[_CREATED] = values[0]
        elif what == _SENT:
            row = self._row(key, _SENT, _DROPPED)
            row[_BEGUN], row[_SENT], row[_BYTES] = values
        elif what == _DROPPED:
            self._row(key, _SENT, _DROPPED)[_DROPPED] = values[0]
        elif what == _ARRIVED:
            row = self._row(key, _ARRIVED, _DROPPED)
            begun, row[_ARRIVED], row[_BYTES] = values
            if row[_BEGUN] is None:
                row[_BEGUN] = begun
        else:
            self._row(key, _AGGREGATED, _DROPPED)[_AGGREGATED] = values[0]

    def _row(self, key: Key, *missing: int) -> list[Any]:
        """The first message of that key that lacks all of these; connections preserve order.

        An algorithm that answers requests may send the same round to the same peer twice.
        """
        rows = self._rows.setdefault(key, [])
        for row in rows:
            if all(row[column] is None for column in missing):
                return row
        rows.append([None] * 7)
        return rows[-1]

    def add_lives(self, lives: dict[str, FragmentLife]) -> None:
        """Counts of what became of these messages, by sender."""
        for (sender, _, _, _), row in self._messages():
            life = lives.get(sender)
            if life is None:
                life = lives[sender] = FragmentLife()
            life.created += row[_CREATED] is not None
            life.sent += row[_SENT] is not None
            life.dropped += row[_DROPPED] is not None
            life.arrived += row[_ARRIVED] is not None
            life.aggregated += row[_AGGREGATED] is not None
            if row[_AGGREGATED] is not None and row[_CREATED] is not None:
                life.aged += 1
                life.age_s += row[_AGGREGATED] - row[_CREATED]

    def _messages(self) -> Iterator[tuple[Key, list[Any]]]:
        return ((key, row) for key, rows in self._rows.items() for row in rows)

    def lines(self) -> Iterator[Line]:
        """Rows of messages.csv by their earliest known time: the creation, unless the sender's journal is lost."""

        def when(row: list[Any]) -> float:
            return min((t for t in row[:_BYTES] if t is not None), default=math.inf)

        lines = [(when(row), (*key, *row)) for key, row in self._messages()]
        yield from sorted(lines, key=itemgetter(0))


class _Spool:
    """An unnamed file of plain values, written once, then read; it disappears with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see close
        self._batch: list[Any] = []

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, value: Any) -> None:
        """Raises OSError if the disk is full."""
        self._batch.append(value)
        if len(self._batch) >= _BATCH:
            self._flush()

    def read(self) -> Iterable[Any]:
        """All values, in order. Call it once, after the last `put`."""
        self._flush()
        with naming(self.folder / "messages.csv"):
            marshal.dump([], self._file)
            self._file.seek(0)
        while batch := marshal.load(self._file):
            yield from batch

    def close(self) -> None:
        self._file.close()

    def _flush(self) -> None:
        with naming(self.folder / "messages.csv"):
            marshal.dump(self._batch, self._file)
        self._batch = []


@lru_cache(maxsize=4096)
def _number_of(sender: str) -> int:
    """A hash that is the same in every process, unlike hash()."""
    return zlib.crc32(str(sender).encode())
