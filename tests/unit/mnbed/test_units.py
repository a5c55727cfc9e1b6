"""Quantities: parsing, error messages, and that formatting and parsing agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnbed import units


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("60mbit", 60e6),
        ("1.5 gbit", 1.5e9),
        ("8kbit", 8e3),
        ("100Mbit/s", 100e6),
        ("10mbps", None),
        ("0", 0.0),
        (0, 0.0),
        ("1e3bit", 1e3),
        (".5mbit", 5e5),
    ],
)
def test_bandwidth(text: object, bps: float | None) -> None:
    if bps is None:
        # tc reads mbps as megabytes; a unit that means two things is refused.
        with pytest.raises(ValueError, match="unknown unit"):
            units.parse_bandwidth(text)
    else:
        assert units.parse_bandwidth(text) == bps


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1.5s", 1.5), ("100us", 1e-4), ("100µs", 1e-4), ("2min", 120), ("1h", 3600), (0.0, 0)],
)
def test_duration(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(("text", "num_bytes"), [("64kB", 64_000), ("1MiB", 1 << 20), ("5 b", 5)])
def test_size(text: str, num_bytes: int) -> None:
    assert units.parse_size(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["60", 60, 60.5, "fast", "", None, True, False, "-5ms", "5 parsecs", "1e999s", "ms", []]
)
def test_what_has_no_clear_meaning_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError) as error:
        units.parse_duration(text)
    assert "20ms" in str(error.value) or "must be finite" in str(error.value)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_written_duration_reads_as_the_same_time(seconds: float) -> None:
    assert units.parse_duration(units.format_duration(seconds)) == pytest.approx(seconds, rel=1e-11)


@given(st.floats(min_value=1, max_value=1e11))
def test_a_written_bandwidth_reads_as_the_same_rate(bps: float) -> None:
    assert units.parse_bandwidth(units.format_bandwidth(bps)) == pytest.approx(bps, rel=1e-11)


@given(st.integers(min_value=0, max_value=10**11))
def test_a_written_size_reads_as_the_same_size(num_bytes: int) -> None:
    assert units.parse_size(units.format_size(num_bytes)) == num_bytes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.02, "20ms"), (60, "60s"), (90, "90s"), (0, "0s"), (2.5e-5, "25us"), (1e-9, "0.001us")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


def test_bandwidths_and_sizes_are_written_as_people_do() -> None:
    assert units.format_bandwidth(60e6) == "60mbit"
    assert units.format_bandwidth(0) == "0bit"
    assert units.format_size(64_000) == "64kB"
