"""The ledger: brings together what sender and receiver wrote about each fragment's life, one row for each.

A row is known by sender, the sender's round, fragment and receiver, and several of the same by their order. What a
killed agent could not write stays empty.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnbed.results.journals import Record

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


@dataclass
class FragmentLife:
    """What became of the fragments that one node made."""

    created: int = 0
    sent: int = 0
    dropped: int = 0
    """Replaced by newer data while still unsent."""
    arrived: int = 0
    aggregated: int = 0
    aged: int = 0
    """Of those aggregated, how many it is known when they were cut."""
    age_s: float = 0.0
    """Their ages when they were averaged in, since they were cut, added up; emulated seconds."""

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


class Ledger:
    """All messages of a run, filled record by record in any order."""

    def __init__(self) -> None:
        self._rows: dict[Key, list[list[Any]]] = {}
        self.events: dict[str, Callable[[Record], None]] = {
            "created": self._created,
            "sent": self._sent,
            "dropped": self._dropped,
            "arrived": self._arrived,
            "aggregated": self._aggregated,
        }
        """Event -> what takes its records. A record without the ledger's fields raises KeyError or TypeError."""

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def _row(self, key: Key, *missing: int) -> list[Any]:
        """The first message of that key that lacks all of these; connections keep their order.

        An algorithm that answers requests may send the same round to the same peer twice.
        """
        rows = self._rows.setdefault(key, [])
        for row in rows:
            if all(row[column] is None for column in missing):
                return row
        rows.append([None] * 7)
        return rows[-1]

    def _created(self, record: Record) -> None:
        sender, sent_round, t = record["node"], record["round"], record["t"]
        for fragment, peer in record["sends"]:
            self._row((sender, sent_round, fragment, peer), _CREATED)[_CREATED] = t

    def _sent(self, record: Record) -> None:
        key = (record["node"], record["round"], record["fragment"], record["peer"])
        row = self._row(key, _SENT, _DROPPED)
        row[_BEGUN], row[_SENT], row[_BYTES] = record["begun"], record["t"], record["bytes"]

    def _dropped(self, record: Record) -> None:
        key = (record["node"], record["round"], record["fragment"], record["peer"])
        self._row(key, _SENT, _DROPPED)[_DROPPED] = record["t"]

    def _arrived(self, record: Record) -> None:
        key = (record["sender"], record["round"], record["fragment"], record["node"])
        row = self._row(key, _ARRIVED, _DROPPED)
        row[_ARRIVED], row[_BYTES] = record["t"], record["bytes"]
        if row[_BEGUN] is None:
            row[_BEGUN] = record["sent"]

    def _aggregated(self, record: Record) -> None:
        # The record is written when the round is over; the average was made at its start.
        receiver, t = record["node"], record.get("at", record["t"])
        for sender, sent_round, fragment in record["of"]:
            self._row((sender, sent_round, fragment, receiver), _AGGREGATED, _DROPPED)[_AGGREGATED] = t

    def life(self) -> dict[str, FragmentLife]:
        """Sender -> what became of its fragments."""
        lives: dict[str, FragmentLife] = {}
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
        return lives

    def _messages(self) -> Iterator[tuple[Key, list[Any]]]:
        return ((key, row) for key, rows in self._rows.items() for row in rows)

    def write(self, path: Path) -> None:
        """Write messages.csv, by time of creation."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(self._sorted())

    def _sorted(self) -> Iterator[tuple[Any, ...]]:
        def when(item: tuple[Key, list[Any]]) -> float:
            # The first time known of it: the creation, unless the sender's journal was lost.
            return min((t for t in item[1][:_BYTES] if t is not None), default=math.inf)

        for key, row in sorted(self._messages(), key=when):
            yield (*key, *row)
