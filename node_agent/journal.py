"""The journal: one JSON object per line, flushed line by line, so that a crash loses at most the line being written.

`records.py` says which events an agent writes, with all their fields; the controller writes a journal of the same
format, with events of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from typing_extensions import Unpack

from node_agent import records
from node_agent.full_disk import naming


class JournalFile:
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

    def append(self, event: str, fields: Mapping[str, Any]) -> None:
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


class Journal(JournalFile):
    """An agent's."""

    @overload
    def write(self, event: Literal["ready"], /, **fields: Unpack[records.Ready]) -> None: ...
    @overload
    def write(self, event: Literal["round"], /, **fields: Unpack[records.Round]) -> None: ...
    @overload
    def write(self, event: Literal["waiting"], /, **fields: Unpack[records.Waiting]) -> None: ...
    @overload
    def write(self, event: Literal["snapshot"], /, **fields: Unpack[records.Snapshot]) -> None: ...
    @overload
    def write(self, event: Literal["peer_lost"], /, **fields: Unpack[records.PeerLost]) -> None: ...
    @overload
    def write(self, event: Literal["peer_ended"], /, **fields: Unpack[records.PeerEnded]) -> None: ...
    @overload
    def write(self, event: Literal["strangers"], /, **fields: Unpack[records.Strangers]) -> None: ...
    @overload
    def write(self, event: Literal["rejected"], /, **fields: Unpack[records.Rejected]) -> None: ...
    @overload
    def write(self, event: Literal["not_finite"], /, **fields: Unpack[records.NotFinite]) -> None: ...
    @overload
    def write(self, event: Literal["end"], /, **fields: Unpack[records.End]) -> None: ...
    @overload
    def write(self, event: Literal["error"], /, **fields: Unpack[records.Error]) -> None: ...
    @overload
    def write(self, event: Literal["created"], /, **fields: Unpack[records.Created]) -> None: ...
    @overload
    def write(self, event: Literal["sent"], /, **fields: Unpack[records.Sent]) -> None: ...
    @overload
    def write(self, event: Literal["dropped"], /, **fields: Unpack[records.Dropped]) -> None: ...
    @overload
    def write(self, event: Literal["arrived"], /, **fields: Unpack[records.Arrived]) -> None: ...
    @overload
    def write(self, event: Literal["aggregated"], /, **fields: Unpack[records.Aggregated]) -> None: ...
    def write(self, event: str, /, **fields: Any) -> None:
        """Append one record. Raises OSError if the disk is full."""
        self.append(event, fields)


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
