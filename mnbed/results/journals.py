"""Reads journals as agents left them: whole, torn by a crash, or damaged; and merges them in time order.

Nothing is lost: a line that is no record becomes a record `unreadable` that holds its text. Journals are mapped, not
read, and only times and places of the lines are kept, so a million records take some 30 MB.
"""

from __future__ import annotations

import json
import math
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Record = dict[str, Any]

# Of a damaged line, which may be a disk's worth of zero bytes.
_MAX_TEXT = 2000


def parse_record(line: bytes) -> Record | None:
    """The record in that line, or None where it is not one."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return None
    return record


def time_of(record: Record) -> float | None:
    """Emulated seconds of a record; None before the common start."""
    t = record.get("t")
    return t if isinstance(t, (int, float)) and math.isfinite(t) else None


class Merger:
    """Goes through journals one by one and remembers where each record is; then writes all of them in time order."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap | bytes] = []
        self._times = array("d")
        self._sources = array("l")
        self._starts = array("q")
        self._ends = array("q")
        self.problems: list[str] = []

    def __len__(self) -> int:
        return len(self._times)

    def records(self, path: Path, node: str) -> Iterator[Record]:
        """Every record of that journal, in the order of its lines. Raises OSError."""
        data = _mapped(path)
        source = len(self._maps)
        self._maps.append(data)
        damaged: list[tuple[float, int, bytes]] = []
        last_t = -math.inf
        end = 0
        for number, line in enumerate(_lines(data), start=1):
            start, end = end, end + len(line)
            if not line.strip():
                continue
            record = parse_record(line)
            if record is None:
                damaged.append((last_t, number, line))
                continue
            t = time_of(record)
            last_t = -math.inf if t is None else t
            self._add(last_t, source, start, end)
            yield record
        self._keep_damaged(node, damaged)

    def write(self, file: BinaryIO) -> None:
        """All records gone through so far, those without a time first, then by time; equal times as they came."""
        order = np.argsort(np.array(self._times), kind="stable")
        maps, sources, starts, ends = self._maps, self._sources, self._starts, self._ends
        for place in order.tolist():
            line = maps[sources[place]][starts[place] : ends[place]]
            file.write(line if line.endswith(b"\n") else line + b"\n")

    def _add(self, t: float, source: int, start: int, end: int) -> None:
        self._times.append(t)
        self._sources.append(source)
        self._starts.append(start)
        self._ends.append(end)

    def _keep_damaged(self, node: str, damaged: list[tuple[float, int, bytes]]) -> None:
        for t, number, line in damaged:
            torn = not line.endswith(b"\n")
            what = "ends in the middle of a record" if torn else f"line {number} is not a record"
            self.problems.append(f"journal of {node}: {what}")
            record = {
                "t": None if t == -math.inf else t,
                "node": node,
                "event": "unreadable",
                "line": number,
                "text": line[:_MAX_TEXT].decode(errors="replace"),
            }
            text = json.dumps(record, separators=(",", ":")).encode() + b"\n"
            self._add(t, len(self._maps), 0, len(text))
            self._maps.append(text)


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        if path.stat().st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _lines(data: mmap.mmap | bytes) -> Iterator[bytes]:
    return iter(()) if isinstance(data, bytes) else iter(data.readline, b"")
