"""One access link that is far too slow, and what leaves over it in parallel and in sequence.

A node sends twelve rounds of fragments to six peers over a loopback of 8 Mbit/s in its own namespace, which carries
about a third of each round in time. The same measurement as a program: `python -m tests.network.exchange_once`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exchanged() -> dict[str, dict[str, Any]]:
    """exchange -> what tests/network/exchange_once.py measured."""
    measurements = {}
    for exchange in ("parallel", "sequential"):
        program = [sys.executable, "-m", "tests.network.exchange_once", exchange]
        done = subprocess.run(
            ["unshare", "--net", *program], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        measurements[exchange] = json.loads(done.stdout)
    return measurements


def test_in_sequence_one_frame_is_in_transit_at_a_time(exchanged: dict[str, dict[str, Any]]) -> None:
    # In the order of the draws, except for a few that are skipped; connections are made in the first round. On a busy
    # machine more are skipped, since the sending thread wakes up late.
    turned_back = {
        exchange: sum(
            (later["round"], later["number"]) < (earlier["round"], earlier["number"])
            for earlier, later in pairwise(frame for frame in measured["sent"] if frame["round"] > 1)
        )
        for exchange, measured in exchanged.items()
    }
    assert len(exchanged["sequential"]["sent"]) > 100
    assert turned_back["sequential"] < turned_back["parallel"] / 1.5


def test_both_fill_the_link(exchanged: dict[str, dict[str, Any]]) -> None:
    for measured in exchanged.values():
        assert measured["bytes_arrived"] > 0.5 * measured["bytes_possible"]


def test_in_sequence_what_arrives_is_younger(exchanged: dict[str, dict[str, Any]]) -> None:
    assert exchanged["sequential"]["mean_age_s"] < exchanged["parallel"]["mean_age_s"]


def test_every_created_frame_is_sent_or_dropped(exchanged: dict[str, dict[str, Any]]) -> None:
    for measured in exchanged.values():
        left = measured["created"] - measured["num_sent"] - measured["dropped"]
        assert 0 <= left <= measured["unsent_at_the_end"]
