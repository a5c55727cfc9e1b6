"""Formats numbers for the page and the console; unknown values become a dash."""

from __future__ import annotations

from mnbed.units import format_size

UNKNOWN = "–"


def fraction(value: float | None) -> str:
    """0.6543 -> "65.4 %"."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """12345 -> "12,345"; 1.23456 -> "1.235"."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def score(value: float | None, metric: str) -> str:
    """An accuracy in per cent, any other score to four digits."""
    return (
        fraction(value) if metric == "accuracy" else number(None if value is None else float(f"{value:.4g}"))
    )


def size(num_bytes: float | None) -> str:
    """1234567 -> "1.23 MB"."""
    if num_bytes is None:
        return UNKNOWN
    return _spaced(format_size(float(f"{num_bytes:.3g}")))


def rate(bps: float | None) -> str:
    """60e6 -> "60 Mbit/s"."""
    if bps is None:
        return UNKNOWN
    for scale, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bps >= scale:
            return f"{bps / scale:.4g} {unit}"
    return f"{bps:.4g} bit/s"


def seconds(value: float | None) -> str:
    """0.02 -> "20 ms"; 93.2 -> "93.2 s"."""
    if value is None:
        return UNKNOWN
    if value == 0 or abs(value) >= 1:
        return f"{value:,.1f} s" if abs(value) >= 10 else f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if abs(value) >= 1e-3 else f"{value * 1e6:.3g} µs"


def _spaced(text: str) -> str:
    """ "12MB" -> "12 MB"."""
    digits = text.rstrip("BkMG")
    return f"{digits} {text[len(digits) :]}" if digits != text else f"{text} B"
