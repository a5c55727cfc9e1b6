"""Merges journals and text logs of a run into one log in time order, also while the run is going on.

Each record of a journal becomes a line with a level: DEBUG for events of fragments, WARNING for doubts about a peer.
Lines of a text log carry the emulated time or, like a traceback, belong to the line before.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mnbed.records.controller import Record
from mnbed.results.journals import parse_record, time_of
from mnbed.run_directory import RunDirectory

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
CONTROLLER = "controller"
_LEVEL_OF = {
    **dict.fromkeys(("created", "sent", "dropped", "arrived", "aggregated", "machine"), "DEBUG"),
    **dict.fromkeys(("peer_lost", "rejected", "not_finite", "strangers"), "WARNING"),
    **dict.fromkeys(("error", "agent_died", "unreadable"), "ERROR"),
}
_LOG_LINE = re.compile(
    r"\S+ \S+ t=(?P<t>[\d.]+|-) (?P<node>\S+) (?P<level>[A-Z]+) (?P<text>\S+: .*)", re.DOTALL
)
# Longest text of a field of a record, such as a list of links.
_MAX_VALUE = 100
_HIDDEN = {"t", "node", "event", "counters"}


@dataclass(frozen=True, kw_only=True, order=True)
class LogLine:
    """A line; lines are ordered by time, then by arrival."""

    t: float
    """Emulated seconds; minus infinity before the common start."""
    number: int
    node: str = field(compare=False)
    level: str = field(compare=False)
    text: str = field(compare=False)

    def __str__(self) -> str:
        time = "-" if self.t == -math.inf else f"{self.t:.3f}"
        return f"{time:>10}  {self.node:<10} {self.level:<7} {self.text}"


class LogReader:
    """Reads what has been added since the last call; call it repeatedly while a run is going on."""

    def __init__(self, run: RunDirectory, nodes: Iterable[str] = (), level: str = "INFO") -> None:
        """nodes: only these; empty: all. level: the lowest to show."""
        self._run = run
        self._nodes = set(nodes)
        self._least = LEVELS.index(level)
        self._places: dict[Path, int] = {}
        self._last: dict[Path, LogLine] = {}
        self._number = 0
        self.ended = False
        """Whether the run has recorded its end."""

    def read(self) -> list[LogLine]:
        """New lines, in time order. Raises OSError."""
        lines = []
        for path in sorted(self._run.nodes.glob("*.jsonl")) + sorted(self._run.nodes.glob("*.log")):
            if self._nodes and path.stem not in self._nodes and path.stem != CONTROLLER:
                continue
            for raw in self._new_lines(path):
                line = (
                    self._journal_line(path, raw) if path.suffix == ".jsonl" else self._text_line(path, raw)
                )
                if line is not None and LEVELS.index(line.level) >= self._least and self._wanted(line):
                    lines.append(line)
        return sorted(lines)

    def _wanted(self, line: LogLine) -> bool:
        return not self._nodes or line.node in self._nodes

    def _new_lines(self, path: Path) -> Iterator[bytes]:
        """Whole lines that have not been read yet; the last one may not be complete."""
        with path.open("rb") as file:
            file.seek(self._places.get(path, 0))
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                self._places[path] = self._places.get(path, 0) + len(raw)
                yield raw

    def rest(self) -> list[LogLine]:
        """Truncated last lines of a run that was killed."""
        lines = []
        for path in self._run.nodes.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                if raw := file.read(200):
                    text = f"unreadable: {raw.decode(errors='replace')!r}"
                    lines.append(self._line(self._time(path), path.stem, "ERROR", text))
        return [line for line in lines if self._wanted(line)]

    def _time(self, path: Path) -> float:
        return self._last[path].t if path in self._last else -math.inf

    def _journal_line(self, path: Path, raw: bytes) -> LogLine:
        record = parse_record(raw)
        if record is None:
            text = raw.decode(errors="replace").strip()[:_MAX_VALUE]
            return self._line(self._time(path), path.stem, "ERROR", f"unreadable: {text!r}")
        t = time_of(record)
        if path.stem == CONTROLLER and record["event"] == "torn_down":
            self.ended = True
        line = self._line(
            -math.inf if t is None else t,
            str(record.get("node", path.stem)),
            _LEVEL_OF.get(record["event"], "INFO"),
            _text(record),
        )
        # What the controller writes after the end has no time of its own, but does not belong to the beginning.
        if t is None and path in self._last and self._last[path].t != -math.inf:
            line = self._line(self._last[path].t, line.node, line.level, line.text)
        self._last[path] = line
        return line

    def _text_line(self, path: Path, raw: bytes) -> LogLine | None:
        text = raw.decode(errors="replace").rstrip()
        if not text:
            return None
        if match := _LOG_LINE.fullmatch(text):
            t = -math.inf if match["t"] == "-" else float(match["t"])
            level = match["level"] if match["level"] in LEVELS else "ERROR"
            line = self._line(t, match["node"], level, match["text"])
        else:
            before = self._last.get(path)
            line = self._line(self._time(path), path.stem, before.level if before else "INFO", text)
        self._last[path] = line
        return line

    def _line(self, t: float, node: str, level: str, text: str) -> LogLine:
        self._number += 1
        return LogLine(t=t, number=self._number, node=node, level=level, text=text)


def _text(record: Record) -> str:
    """ "round round=3 steps=16": the event and its fields, long ones cut."""
    words = [str(record["event"])]
    for key, value in record.items():
        if key in _HIDDEN or value is None:
            continue
        shown = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        shown = f"{value:.6g}" if isinstance(value, float) else shown
        words.append(f"{key}={shown if len(shown) <= _MAX_VALUE else shown[: _MAX_VALUE - 3] + '...'}")
    return " ".join(words)
