"""Parameters of the burst loss model: how they are written, and the figures that follow from them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies import generate, rules
from topologies.burst_loss import (
    NO_BURSTS,
    BurstLoss,
    format_burst_loss,
    parse_burst_loss,
    plain_burst_loss,
)

SHARES = st.floats(0, 1).map(lambda value: float(f"{value:.12g}"))
MODELS = st.builds(
    BurstLoss, p=SHARES, r=SHARES.filter(lambda r: r > 0), loss_bad=SHARES, loss_good=SHARES
).map(lambda model: model or NO_BURSTS)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"p": 0.01, "r": 0.25}, BurstLoss(p=0.01, r=0.25)),
        ({"p": 0.01, "r": 1, "loss_bad": 0.5, "loss_good": None}, BurstLoss(p=0.01, r=1, loss_bad=0.5)),
        ("0.01/0.25", BurstLoss(p=0.01, r=0.25)),
        ("0.01/0.25/0.5/1e-3", BurstLoss(p=0.01, r=0.25, loss_bad=0.5, loss_good=0.001)),
        ("none", NO_BURSTS),
        # The first point of a sweep over p.
        ({"p": 0, "r": 0.25}, NO_BURSTS),
        ("0.1/0.2/0", NO_BURSTS),
    ],
)
def test_it_is_a_section_or_a_word(written: Any, meant: BurstLoss) -> None:
    assert parse_burst_loss(written) == meant


@given(MODELS)
def test_what_is_written_is_read_again(model: BurstLoss) -> None:
    assert parse_burst_loss(plain_burst_loss(model)) == model
    assert parse_burst_loss(format_burst_loss(model)) == model


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"p": 0.01}, "r is missing"),
        ({"p": 0.01, "r": 0.25, "h": 1}, "no such key 'h' [(]allowed: p, r, loss_bad, loss_good[)]"),
        ({"p": 1.5, "r": 0.25}, "p: got 1.5; it must be a number 0 to 1"),
        ({"p": True, "r": 0.25}, "p: got True"),
        ({"p": "1%", "r": 0.25}, "p: write a fraction, not a percentage"),
        ("0.01/x", "r: got 'x'"),
        ("0.01/nan", "r: got nan"),
        ("0.01", "p/r/loss_bad"),
        ("0.1/0.1/0.1/0.1/0.1", "p/r/loss_bad"),
        ({"p": 0.01, "r": 0}, "r: it must be above 0"),
        (0.01, "it must be a section"),
        (None, "it must be a section"),
    ],
)
def test_wrong_parameters_are_reported(written: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_burst_loss(written)


def test_gilberts_simple_model_has_simple_figures() -> None:
    model = BurstLoss(p=0.01, r=0.25)
    assert model.loss_share == pytest.approx(0.01 / 0.26)
    assert model.mean_burst == pytest.approx(4)
    assert BurstLoss(p=0.01, r=1 - 0.01).loss_share == pytest.approx(0.01), "independent losses"
    assert NO_BURSTS.loss_share == 0
    assert not NO_BURSTS


@pytest.mark.parametrize(
    "model",
    [
        BurstLoss(p=0.02, r=0.25),
        BurstLoss(p=0.1, r=0.5, loss_bad=0.7),
        BurstLoss(p=0.05, r=0.1, loss_bad=0.6, loss_good=0.02),
    ],
)
def test_the_figures_are_those_of_the_chain(model: BurstLoss) -> None:
    """Compared with a simulation written from the definition alone, with a fixed seed."""
    rng = random.Random(3)
    lost, bad = [], False
    for _ in range(400_000):
        lost.append(rng.random() < (model.loss_bad if bad else model.loss_good))
        bad = rng.random() >= model.r if bad else rng.random() < model.p
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(model.loss_share, rel=0.03)
    assert sum(lost) / bursts == pytest.approx(model.mean_burst, rel=0.03)


def test_paths_between_regions_have_no_burst_loss() -> None:
    graph = generate("regions", {}, 1)
    graph.graph["paths"][0]["burst_loss"] = "0.01/0.25"
    with pytest.raises(ValueError, match="has burst_loss, which only links can have"):
        rules.check(graph)


def test_a_wrong_text_in_a_graph_is_named() -> None:
    graph = generate("star", {"nodes": 2}, 1)
    graph.edges["h1", "s1"]["burst_loss"] = "often"
    with pytest.raises(ValueError, match="has burst_loss='often'; it must be p/r"):
        rules.check(graph)
