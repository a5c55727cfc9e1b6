"""Reads recordings of links, mnbed's CSV files and Mahimahi's packet-delivery traces, as points of a trace.

A file is read when its experiment is loaded and its content becomes part of the experiment, so that a run directory's
experiment.yaml can be run again without the file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mnbed import units
from mnbed.experiment.event_settings import plain_point, traced_value
from mnbed.experiment.fields import did_you_mean
from topologies.properties import TRACED
from topologies.reading import brief, read_text

# A day's trace at 10 points per second; anything larger is not a trace of a link.
_MAX_FILE_BYTES = 64_000_000
_COLUMNS = ("time", "link", *(row.key for row in TRACED))
# Mahimahi (Netravali et al., USENIX ATC 2015): each line lets one packet of 1,500 bytes pass, so one line for each
# millisecond is 12 Mbit/s.
_MAHIMAHI_PACKET_BITS = 1500 * 8
DEFAULT_BIN_S = 0.5

PlainPoint = list[Any]
"""[time, bandwidth or null, delay or null, and the link if the file names it]"""


class TraceError(ValueError):
    """A file that is not a valid trace; the message names file and line."""


def with_points(entry: Mapping[str, Any], locate: Callable[[str], Path]) -> dict[str, Any]:
    """That entry of `network.events` with its file's content as `points`; unchanged if it has points, or no file.

    `locate`: file name -> path. Raises TraceError.
    """
    filled = dict(entry)
    if filled.get("points"):
        return filled
    if isinstance(filled.get("trace"), str):
        links_given = "link" in filled or "links" in filled
        filled["points"] = list(read_csv(locate(filled["trace"]), links_given=links_given))
    elif isinstance(filled.get("mahimahi"), str):
        bin_s = units.parse_duration(filled["bin"]) if filled.get("bin") is not None else DEFAULT_BIN_S
        filled["points"], length_s = read_mahimahi(locate(filled["mahimahi"]), bin_s)
        if filled.get("repeat") is not False and filled.get("period") is None:
            filled["period"] = units.format_duration(length_s)
    return filled


def read_csv(path: Path, *, links_given: bool) -> Iterator[PlainPoint]:
    """Points of a file with the columns time, link, and some of bandwidth, delay and loss, in the file's order.

    Times are emulated seconds, or text with a unit; an empty cell changes nothing. `links_given`: the entry names the
    links, so the file must not. Raises TraceError.
    """
    reader = csv.reader(_lines(path))
    header = [name.strip().lower() for name in next(reader, [])]
    _check_header(path, header, links_given)
    count = 0
    last: dict[str | None, float] = {}
    for row in reader:
        if not row or row[0].lstrip().startswith("#"):
            continue
        where = f"{path}:{reader.line_num}"
        if len(row) != len(header):
            raise TraceError(f"{where}: {len(row)} cells, but the header has {len(header)}")
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        point, link = _point(where, cells)
        time_s = units.parse_duration(point[0])
        if time_s <= last.get(link, -1.0):
            raise TraceError(f"{where}: time {cells['time']} is not after the previous one")
        last[link] = time_s
        count += 1
        yield point
    if not count:
        raise TraceError(f"{path}: no rows below the header")


def _check_header(path: Path, header: list[str], links_given: bool) -> None:
    allowed = [name for name in _COLUMNS if name != "link" or not links_given]
    for name in header:
        if name == "link" and links_given:
            raise TraceError(f"{path}:1: a column link, but the entry names links too: drop one of them")
        if name not in allowed:
            raise TraceError(f"{path}:1: unknown column {brief(name)}{did_you_mean(name, allowed)}")
    missing = [name for name in allowed if name not in header and name in ("time", "link")]
    if not any(row.key in header for row in TRACED):
        missing.append("bandwidth")
    if missing:
        hint = "; or give the entry a link: [h3, s1]" if "link" in missing else ""
        raise TraceError(f"{path}:1: no column {', '.join(missing)}{hint}")
    if len(set(header)) != len(header):
        raise TraceError(f"{path}:1: a column is given twice")


def _point(where: str, cells: Mapping[str, str]) -> tuple[PlainPoint, str | None]:
    """(the point, its link)"""
    try:
        time = units.parse_duration(_with_unit(cells["time"], "s")) if cells["time"] else None
    except ValueError as error:
        raise TraceError(f"{where}: time: {error}") from None
    values = {}
    for row in TRACED:
        if text := cells.get(row.key, ""):
            try:
                values[row.key] = traced_value(row, _with_unit(text, row.unit or ""))
            except ValueError as error:
                raise TraceError(f"{where}: {row.key}: {error}") from None
    if time is None:
        raise TraceError(f"{where}: no time")
    if not values:
        raise TraceError(f"{where}: neither {' nor '.join(row.key for row in TRACED)}")
    link = cells.get("link")
    if link is not None and link.count("-") != 1:
        raise TraceError(f"{where}: got {brief(link)} as its link; write h3-s1, for example")
    return plain_point(units.format_duration(time), values, link), link


def _with_unit(text: str, unit: str) -> str:
    """Adds the unit to a bare number: seconds, or bit/s."""
    try:
        return text + unit if math.isfinite(float(text)) else text
    except ValueError:
        return text


def read_mahimahi(path: Path, bin_s: float) -> tuple[list[PlainPoint], float]:
    """(points, length in seconds) of a packet-delivery trace: one line per 1,500-byte packet that could be delivered,
    with its time in milliseconds; the trace starts over after its last line.

    Packets are counted in bins; an empty bin has bandwidth 0, which stands for the lowest that the link supports.
    Raises TraceError.
    """
    counts: list[int] = []
    last = 0
    for number, line in enumerate(_lines(path), start=1):
        text = line.strip()
        if not text:
            continue
        if not text.isdecimal():
            raise TraceError(
                f"{path}:{number}: got {brief(text[:40])}; each line must be a whole number of milliseconds"
            )
        at = int(text)
        if at < last:
            raise TraceError(f"{path}:{number}: {at} ms is earlier than the previous line, {last} ms")
        last = at
        # Mahimahi's first opportunity may be at 0; the last one ends the trace and belongs to the last bin.
        place = max(0, math.ceil(at / 1e3 / bin_s - 1e-9) - 1)
        if place >= 1_000_000:
            raise TraceError(
                f"{path}:{number}: {at} ms makes more than a million bins of {units.format_duration(bin_s)}"
            )
        counts += [0] * (place + 1 - len(counts))
        counts[place] += 1
    if last == 0:
        raise TraceError(f"{path}: no packet could ever be delivered: the last time is 0 ms")
    length_s = last / 1e3
    points: list[PlainPoint] = []
    for place, count in enumerate(counts):
        width = min(bin_s, length_s - place * bin_s)
        bandwidth = units.format_bandwidth(float(f"{count * _MAHIMAHI_PACKET_BITS / width:.6g}"))
        if not points or points[-1][1] != bandwidth:
            points.append([units.format_duration(float(f"{place * bin_s:.12g}")), bandwidth, None])
    return points, length_s


def _lines(path: Path) -> list[str]:
    """The file's lines. Raises TraceError."""
    try:
        return read_text(path, _MAX_FILE_BYTES).splitlines()
    except FileNotFoundError as error:
        raise TraceError(f"{path}: {str(error.strerror).lower()}") from None
    except ValueError as error:
        raise TraceError(f"{error}; this is not a trace of a link") from None
