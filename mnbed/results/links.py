"""links.csv: each link as asked for, as read back from the kernel, and as counted; all in emulated units.

a -> b is what left interface a: the direction from node a to node b.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from mnbed.records.controller import ControllerRecord, LinkCounts, ProbedDirection
from mnbed.records.environment import Environment
from topologies.burst_loss import BurstLoss, format_burst_loss


@dataclass(frozen=True, kw_only=True)
class LinkRow:
    """A link; the fields are the columns of links.csv. None: unknown."""

    a: str
    b: str
    straggler: bool
    asked_ab_bandwidth_bps: float | None = None
    asked_ba_bandwidth_bps: float | None = None
    asked_ab_delay_s: float | None = None
    asked_ba_delay_s: float | None = None
    asked_ab_jitter_s: float | None = None
    asked_ba_jitter_s: float | None = None
    asked_ab_loss: float | None = None
    asked_ba_loss: float | None = None
    asked_ab_burst_loss: str | None = None
    """p/r[/loss_bad[/loss_good]], or none."""
    asked_ba_burst_loss: str | None = None
    asked_ab_queue_packets: int | None = None
    """None: in bandwidth-delay products, at least 20 packets."""
    asked_ba_queue_packets: int | None = None
    readback_ab_bandwidth_bps: float | None = None
    readback_ba_bandwidth_bps: float | None = None
    readback_ab_delay_s: float | None = None
    """Also None if the delay backend is not netem: then no qdisc has it."""
    readback_ba_delay_s: float | None = None
    readback_ab_queue: int | None = None
    """Packets if netem delays, otherwise bytes."""
    readback_ba_queue: int | None = None
    probed_ab_bandwidth_bps: float | None = None
    """As measured before training."""
    probed_ba_bandwidth_bps: float | None = None
    probed_ab_delay_s: float | None = None
    probed_ba_delay_s: float | None = None
    peak_ab_bps: float | None = None
    peak_ba_bps: float | None = None
    bytes_ab: int | None = None
    bytes_ba: int | None = None
    drops_ab: int | None = None
    drops_ba: int | None = None
    backlog_peak_ab_bytes: int | None = None
    """The largest sample."""
    backlog_peak_ba_bytes: int | None = None


def link_rows(environment: Environment, controller: Sequence[ControllerRecord]) -> list[LinkRow]:
    """A row for each link of the environment, in its order. Raises KeyError or TypeError if it is malformed."""
    counted: dict[tuple[str, str], LinkCounts] = {}
    probed: dict[tuple[str, str], ProbedDirection] = {}
    for record in controller:
        if record["event"] == "link_counters":
            counted = {(row["a"], row["b"]): row for row in record["links"]}
        elif record["event"] == "probe":
            probed = {(row["source"], row["target"]): row for row in record["directions"]}
    dilation = environment.get("dilation") or 1.0
    netem = environment.get("delay_backend") == "netem"
    return [
        LinkRow(
            a=link["a"],
            b=link["b"],
            straggler=bool(link.get("straggler")),
            **_asked(link.get("asked") or {}),
            **_readback(link.get("readback") or {}, dilation, netem),
            **_probed("ab", probed.get((link["a"], link["b"]), {})),
            **_probed("ba", probed.get((link["b"], link["a"]), {})),
            **_measured(counted.get((link["a"], link["b"]), {})),
        )
        for link in environment.get("links") or ()
    ]


# The end that sends -> the direction.
_DIRECTIONS = (("a", "ab"), ("b", "ba"))


def _asked(ends: Mapping[str, Any]) -> dict[str, Any]:
    names = ("bandwidth_bps", "delay_s", "jitter_s", "loss", "burst_loss", "queue_packets")
    return {
        f"asked_{direction}_{name}": _cell((ends.get(end) or {}).get(name))
        for end, direction in _DIRECTIONS
        for name in names
    }


def _cell(value: Any) -> Any:
    return format_burst_loss(BurstLoss(**value)) if isinstance(value, Mapping) else value


def _probed(direction: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"probed_{direction}_bandwidth_bps": row.get("measured_bps"),
        f"probed_{direction}_delay_s": row.get("measured_delay_s"),
    }


def _readback(ends: Mapping[str, Any], dilation: float, netem: bool) -> dict[str, Any]:
    """Converts the kernel's wall-clock units: an emulated second lasts `dilation` wall seconds."""
    cells: dict[str, Any] = {}
    for end, direction in _DIRECTIONS:
        shape = ends.get(end) or {}
        rate, delay = shape.get("rate_bps"), shape.get("delay_s")
        cells[f"readback_{direction}_bandwidth_bps"] = None if rate is None else rate * dilation
        cells[f"readback_{direction}_delay_s"] = None if delay is None or not netem else delay / dilation
        cells[f"readback_{direction}_queue"] = shape.get("limit")
    return cells


def _measured(counters: Mapping[str, Any]) -> dict[str, Any]:
    measured = {}
    for end, direction in _DIRECTIONS:
        measured[f"peak_{direction}_bps"] = counters.get(f"{end}_peak_bps")
        measured[f"bytes_{direction}"] = counters.get(f"{end}_bytes")
        measured[f"drops_{direction}"] = counters.get(f"{end}_drops")
        measured[f"backlog_peak_{direction}_bytes"] = counters.get(f"{end}_backlog_peak_bytes")
    return measured


def write_links(path: Path, rows: Sequence[LinkRow]) -> None:
    """Write links.csv: booleans as 1 and 0, unknown values as empty cells."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(LinkRow))
        for row in rows:
            writer.writerow(int(value) if isinstance(value, bool) else value for value in astuple(row))
