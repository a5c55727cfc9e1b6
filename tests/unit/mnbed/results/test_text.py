"""Numbers formatted for people."""

from __future__ import annotations

import pytest

from mnbed.results.text import fraction, number, rate, seconds, size


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (fraction(0.65432), "65.4 %"),
        (number(12345), "12,345"),
        (number(3.0), "3"),
        (number(1.23456), "1.235"),
        (number(1234.5), "1,234.5"),
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(1234567), "1.23 MB"),
        (rate(60e6), "60 Mbit/s"),
        (rate(1.5e9), "1.5 Gbit/s"),
        (rate(800), "800 bit/s"),
        (seconds(0), "0 s"),
        (seconds(0.02), "20 ms"),
        (seconds(5e-5), "50 µs"),
        (seconds(93.21), "93.2 s"),
        (seconds(1.5), "1.5 s"),
    ],
)
def test_a_figure(found: str, expected: str) -> None:
    assert found == expected


@pytest.mark.parametrize("form", [fraction, number, size, rate, seconds])
def test_unknown_values_are_dashes(form: object) -> None:
    assert callable(form)
    assert form(None) == "–"
