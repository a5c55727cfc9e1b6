"""links.csv: each link as asked, as the kernel gave it back, and as counted; all in emulated units.

a -> b is what left interface a: the direction from node a to node b.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from mnbed.results.journals import Record


@dataclass(frozen=True, kw_only=True)
class LinkRow:
    """One link; the fields are the columns of links.csv. None: not known."""

    a: str
    b: str
    straggler: bool
    asked_bandwidth_bps: float | None = None
    asked_delay_s: float | None = None
    asked_jitter_s: float | None = None
    asked_loss: float | None = None
    asked_queue_packets: int | None = None
    """None: one bandwidth-delay product, at least 20 packets."""
    readback_a_bandwidth_bps: float | None = None
    readback_b_bandwidth_bps: float | None = None
    readback_a_delay_s: float | None = None
    """None also where the delay backend is not netem: then no qdisc holds it."""
    readback_b_delay_s: float | None = None
    readback_a_queue: int | None = None
    """Packets where netem delays, else bytes."""
    readback_b_queue: int | None = None
    peak_ab_bps: float | None = None
    peak_ba_bps: float | None = None
    bytes_ab: int | None = None
    bytes_ba: int | None = None
    drops_ab: int | None = None
    drops_ba: int | None = None


def link_rows(environment: Mapping[str, Any], controller: Sequence[Record]) -> list[LinkRow]:
    """A row for each link of the environment, in its order. Raises KeyError or TypeError where it is not one."""
    counted: dict[tuple[str, str], Record] = {}
    for record in controller:
        if record["event"] == "link_counters":
            counted = {(row["a"], row["b"]): row for row in record["links"]}
    dilation = environment.get("dilation") or 1.0
    netem = environment.get("delay_backend") == "netem"
    return [
        LinkRow(
            a=link["a"],
            b=link["b"],
            straggler=bool(link.get("straggler")),
            **_asked((link.get("asked") or {}).get("a") or {}),
            **_readback(link.get("readback") or {}, dilation, netem),
            **_measured(counted.get((link["a"], link["b"]), {})),
        )
        for link in environment.get("links") or ()
    ]


def _asked(properties: Mapping[str, Any]) -> dict[str, Any]:
    names = ("bandwidth_bps", "delay_s", "jitter_s", "loss", "queue_packets")
    return {f"asked_{name}": properties.get(name) for name in names}


def _readback(ends: Mapping[str, Any], dilation: float, netem: bool) -> dict[str, Any]:
    """The kernel speaks of wall-clock units; one emulated second lasts `dilation` of them."""
    found: dict[str, Any] = {}
    for end in ("a", "b"):
        shape = ends.get(end) or {}
        rate, delay = shape.get("rate_bps"), shape.get("delay_s")
        found[f"readback_{end}_bandwidth_bps"] = None if rate is None else rate * dilation
        found[f"readback_{end}_delay_s"] = None if delay is None or not netem else delay / dilation
        found[f"readback_{end}_queue"] = shape.get("limit")
    return found


def _measured(counters: Mapping[str, Any]) -> dict[str, Any]:
    measured = {}
    for end, direction in (("a", "ab"), ("b", "ba")):
        measured[f"peak_{direction}_bps"] = counters.get(f"{end}_peak_bps")
        measured[f"bytes_{direction}"] = counters.get(f"{end}_bytes")
        measured[f"drops_{direction}"] = counters.get(f"{end}_drops")
    return measured


def write_links(path: Path, rows: Sequence[LinkRow]) -> None:
    """Write links.csv; true and false as 1 and 0, unknown as an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(LinkRow))
        for row in rows:
            writer.writerow(int(value) if isinstance(value, bool) else value for value in astuple(row))
