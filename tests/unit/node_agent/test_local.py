"""The algorithm without communication leaves the model alone and sends nothing."""

from __future__ import annotations

import numpy as np

from node_agent.algorithms.local import Local
from node_agent.wire import Fragment
from tests.fakes import make_context


def test_nothing_is_sent_and_nothing_enters_the_model() -> None:
    algorithm = Local(Local.Settings(name="local"), make_context(0, 3, 4))
    values = np.array([1, 2, 3, 4], np.float32)
    algorithm.on_fragment(Fragment(1, 0, 0, 1, 0, 0.0, np.zeros(4, np.float32)))
    aggregated = algorithm.before_local_phase(values, 1.0)
    assert (aggregated.of, aggregated.mean_age_s) == ([], None)
    outbox = algorithm.after_local_phase(0, values)
    assert (outbox.sends, outbox.payloads) == ([], [])
    assert values.tolist() == [1, 2, 3, 4]
    assert algorithm.may_start_round()


def test_a_node_needs_no_peers() -> None:
    assert Local.check_settings(Local.Settings(name="local"), 0) is None
    assert Local(Local.Settings(name="local"), make_context(0, 1, 4)).may_start_round()
