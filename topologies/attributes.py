"""What files call the properties of nodes and links, and what they mean here.

ours            bandwidth_bps, delay_s, jitter_s, loss, burst_loss ("0.01/0.25"); with units bandwidth, delay, jitter
Mininet         bw (Mbit/s), delay ("5ms"), jitter, loss (percent: only beside bw)
Topology Zoo    LinkSpeedRaw (bit/s), else LinkSpeed with LinkSpeedUnits, else LinkLabel if it is a rate
Shadow          latency ("10 ms"), packet_loss
coordinates     Latitude and Longitude (or lat, lon) of both ends, if no delay is given
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from topologies.properties import BY_KEY, EDGE_PROPERTIES, number, twelve_digits
from topologies.reading import brief

_EARTH_RADIUS_KM = 6371.0
# Light in fibre: c / 1.468 (ITU-T G.652).
_FIBRE_KM_PER_S = 299_792.458 / 1.468
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)\s*(?:bit/?s?|bps|b/s|)", re.IGNORECASE)
_SCALE = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_KINDS = {
    "host": ("host", "h", "client", "server", "end", "service", "computer", "pc"),
    "switch": ("switch", "s", "router", "bridge", "node", "core", "gateway", "hub"),
}


def kind_of(name: Any, data: Mapping[str, Any]) -> str | None:
    """ "host", "switch", or None if the file does not say: by `kind` or `type`, else by Mininet's names, h1 and s1.

    Raises ValueError for a `kind` that is neither.
    """
    for key in ("kind", "type"):
        value = data.get(key)
        if value is None:
            continue
        for kind, words in _KINDS.items():
            if str(value).strip().lower() in words:
                return kind
        if key == "kind":
            raise ValueError(f"node {name}: kind={brief(value)}; allowed: host, switch")
    if re.fullmatch(r"h\d+", str(name)):
        return "host"
    return "switch" if re.fullmatch(r"s\d+", str(name)) else None


def link_properties(data: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """(properties, notes on what could not be read) of a link. Raises ValueError if a value cannot be read."""
    properties: dict[str, Any] = {}
    notes: list[str] = []
    for key, (name, convert) in _READERS.items():
        value = data.get(key)
        if value is None or value == "" or name in properties:
            continue
        if key == "loss" and "bw" in data and "bandwidth_bps" not in data:
            convert = _percent
        try:
            properties[name] = convert(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {key}={brief(value)}: {error}") from None
    if "bandwidth_bps" not in properties:
        rate, note = _zoo_rate(data)
        if rate is not None:
            properties["bandwidth_bps"] = rate
        elif note:
            notes.append(f"{where}: {note}")
    return properties, notes


def _megabits(value: Any) -> float:
    return twelve_digits(number(value) * 1e6)


def _percent(value: Any) -> float:
    return twelve_digits(number(value) / 100)


# In order: the first that is there counts. Ours, then the keys of other programs.
_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{row.attribute: (row.attribute, row.plain) for row in EDGE_PROPERTIES},
    **{row.key: (row.attribute, row.read) for row in EDGE_PROPERTIES},
    "bw": ("bandwidth_bps", _megabits),
    "latency": ("delay_s", BY_KEY["delay"].read),
    "packet_loss": ("loss", BY_KEY["loss"].read),
}


def _zoo_rate(data: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """(bit/s, None), (None, why not), or (None, None) if the file says nothing."""
    raw = data.get("LinkSpeedRaw")
    if raw not in (None, ""):
        try:
            rate = float(raw)
        except (TypeError, ValueError):
            return None, f"LinkSpeedRaw={brief(raw)} is not a number; the default bandwidth is used"
        if rate > 0 and math.isfinite(rate):
            return rate, None
    speed, unit = data.get("LinkSpeed"), str(data.get("LinkSpeedUnits") or "")
    for text in (f"{speed}{unit}" if speed not in (None, "") else "", str(data.get("LinkLabel") or "")):
        match = _RATE.fullmatch(text.strip())
        if match and match[2]:
            return float(match[1]) * _SCALE[match[2].lower()], None
    if speed not in (None, ""):
        return None, f"LinkSpeed={brief(speed)} is not a rate; the default bandwidth is used"
    return None, None


def coordinates(data: Mapping[str, Any]) -> tuple[float, float] | None:
    """(latitude, longitude) in degrees; None if they are missing or not a place on earth."""
    for north, east in (("Latitude", "Longitude"), ("latitude", "longitude"), ("lat", "lon")):
        try:
            place = float(data[north]), float(data[east])
        except (KeyError, TypeError, ValueError):
            continue
        if abs(place[0]) <= 90 and abs(place[1]) <= 180:
            return place
    return None


def fibre_delay_s(a: tuple[float, float], b: tuple[float, float]) -> float:
    """One way along the great circle, at the speed of light in fibre; real routes are longer."""
    (north_a, east_a), (north_b, east_b) = (tuple(map(math.radians, place)) for place in (a, b))
    half = math.sin((north_b - north_a) / 2) ** 2
    half += math.cos(north_a) * math.cos(north_b) * math.sin((east_b - east_a) / 2) ** 2
    return round(2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half))) / _FIBRE_KM_PER_S, 9)
