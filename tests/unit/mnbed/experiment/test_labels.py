"""What tells runs apart, in few characters."""

from __future__ import annotations

import pytest

from mnbed.experiment.labels import shortened


@pytest.mark.parametrize("room", [20, 52, 80])
def test_a_text_is_cut_only_where_it_does_not_fit(room: int) -> None:
    assert shortened("x" * room, room) == "x" * room
    cut = shortened("x" * (room + 1), room)
    assert len(cut) < room
    assert cut.startswith("x" * (room - 12) + "... #")


def test_texts_that_begin_alike_stay_different_when_they_are_cut() -> None:
    begin = "network.topology.links=" + "h1-s1, " * 30
    assert shortened(begin + "h1-s2") != shortened(begin + "h1-s3")
    assert shortened(begin + "h1-s2") == shortened(begin + "h1-s2")
