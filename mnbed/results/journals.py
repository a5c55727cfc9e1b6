"""Reads journals as agents left them, whole, truncated by a crash, or damaged, and merges them in time order.

Nothing is lost: a line that is not a record becomes a record `unreadable` that holds its text. Journals are read twice,
line by line, and merged from their files, so a longer run takes more time but no more memory.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from mnbed.records.controller import Record, Unreadable

# Longest line that is read: a damaged one may be gigabytes of zero bytes.
_MAX_TEXT = 2000
# An agent's threads share a journal, so a record may be slightly earlier than the one above it. Records displaced by
# more than this many lines, such as those without a time after a restart, are sorted in memory.
_WINDOW = 64
_BLOCK_BYTES = 1 << 16
# How journals begin a line; a line that begins differently is parsed completely.
_TIME = re.compile(rb'\{"t":(?:(-?\d+(?:\.\d+)?(?:e-?\d+)?)|null),')


def parse_record(line: bytes) -> Record | None:
    """The record in that line; None if it is not one."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return None
    return cast("Record", record)


def time_of(record: Record) -> float | None:
    """Emulated seconds of a record; None before the common start."""
    t = record.get("t")
    return t if isinstance(t, (int, float)) and math.isfinite(t) else None


@dataclass(kw_only=True)
class _Journal:
    """What the first pass learned about a journal."""

    path: Path
    end: int = 0
    """Where the first pass ended; anything written later is ignored."""
    displaced: list[tuple[float, int, bytes | tuple[int, int]]] = field(default_factory=list)
    """(time, order, line or its place in the file) of the records that are out of order."""
    skipped: set[int] = field(default_factory=set)
    """Numbers of the lines that are out of order or are not records."""
    num_lines: int = 0


class Merger:
    """Reads journals one by one, then writes all their records in time order."""

    def __init__(self) -> None:
        self._journals: list[_Journal] = []
        self._num_records = 0
        self.problems: list[str] = []

    def __len__(self) -> int:
        return self._num_records

    def records(self, path: Path, node: str) -> Iterator[Record]:
        """Every record of that journal, in the order of its lines. Raises OSError."""
        journal = _Journal(path=path)
        damaged: list[tuple[float, int, bytes]] = []
        last_t = passed = -math.inf
        window: list[float] = []
        with path.open("rb") as file:
            self._journals.append(journal)
            for number, line in enumerate(file, start=1):
                start, journal.end = journal.end, journal.end + len(line)
                journal.num_lines = number
                if not line.strip():
                    continue
                self._num_records += 1
                record = parse_record(line)
                if record is None:
                    damaged.append((last_t, number, line))
                    journal.skipped.add(number)
                    continue
                last_t = _order_of(time_of(record))
                if last_t < passed:
                    journal.displaced.append((last_t, number, (start, len(line))))
                    journal.skipped.add(number)
                elif len(window) < _WINDOW:
                    heapq.heappush(window, last_t)
                else:
                    passed = heapq.heappushpop(window, last_t)
                yield record
        self._keep_damaged(node, journal, damaged)

    def write(self, file: BinaryIO) -> None:
        """All records read so far: those without a time first, then by time; equal times in order of arrival."""
        sources = [
            entries
            for source, journal in enumerate(self._journals)
            for entries in (_in_order(journal, source), _displaced(journal, source))
        ]
        for _, _, _, line in heapq.merge(*sources):
            file.write(line if line.endswith(b"\n") else line + b"\n")

    def _keep_damaged(self, node: str, journal: _Journal, damaged: list[tuple[float, int, bytes]]) -> None:
        for order, (t, number, line) in enumerate(damaged, start=journal.num_lines + 1):
            torn = not line.endswith(b"\n")
            what = "ends in the middle of a record" if torn else f"line {number} is not a record"
            self.problems.append(f"journal of {node}: {what}")
            record: Unreadable = {
                "t": None if t == -math.inf else t,
                "node": node,
                "event": "unreadable",
                "line": number,
                "text": line[:_MAX_TEXT].decode(errors="replace"),
            }
            text = json.dumps(record, separators=(",", ":")).encode() + b"\n"
            journal.displaced.append((t, order, text))
        journal.displaced.sort(key=lambda entry: entry[:2])


_Entry = tuple[float, int, int, bytes]
"""(time, journal, order in it, line)"""


def _in_order(journal: _Journal, source: int) -> Iterator[_Entry]:
    """The journal's records, except those out of order, sorted within a window."""
    window: list[_Entry] = []
    for number, line in enumerate(_lines(journal), start=1):
        if not line.strip() or number in journal.skipped:
            continue
        entry = (_time_in(line), source, number, line)
        if len(window) < _WINDOW:
            heapq.heappush(window, entry)
        else:
            yield heapq.heappushpop(window, entry)
    yield from sorted(window)


def _displaced(journal: _Journal, source: int) -> Iterator[_Entry]:
    for t, order, place in journal.displaced:
        if isinstance(place, bytes):
            yield t, source, order, place
        else:
            yield t, source, order, _read(journal.path, *place)


def _lines(journal: _Journal) -> Iterator[bytes]:
    """Opens the file only while reading a block: there may be more journals than a process may have open files."""
    at, begun = 0, []
    while at < journal.end:
        block = _read(journal.path, at, min(_BLOCK_BYTES, journal.end - at))
        if not block:
            break  # the file was truncated meanwhile
        at += len(block)
        first, *others = block.split(b"\n")
        begun.append(first)
        for text in others:
            yield b"".join(begun) + b"\n"
            begun = [text]
    if any(begun):
        yield b"".join(begun)


def _read(path: Path, start: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, length, start)
    finally:
        os.close(descriptor)


def _time_in(line: bytes) -> float:
    """The time by which a record's line is sorted."""
    if match := _TIME.match(line):
        return _order_of(float(match[1])) if match[1] else -math.inf
    record = parse_record(line)
    return _order_of(None if record is None else time_of(record))


def _order_of(t: float | None) -> float:
    return -math.inf if t is None or not math.isfinite(t) else float(t)
