"""Requests to a loop from other threads: done, answered or refused; no caller waits forever."""

from __future__ import annotations

import fcntl
import os
import selectors
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from mnbed.errors import Interrupted, RunError
from mnbed.run.mailbox import Mailbox, RunIsOver, _answered


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def mailbox(selector: selectors.BaseSelector) -> Iterator[Mailbox]:
    made = Mailbox(selector)
    yield made
    made.close()


def turn(selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
    for key, _ in selector.select(20):
        assert key.data() == []
    mailbox.settle()


def test_work_wakes_the_loop_and_is_done_by_it_in_order(
    selector: selectors.BaseSelector, mailbox: Mailbox
) -> None:
    done: list[tuple[str, int]] = []

    def work(word: str) -> str:
        done.append((word, threading.get_ident()))
        return word

    with ThreadPoolExecutor() as pool:
        futures = pool.submit(
            lambda: [mailbox.submit(partial(work, word)) for word in ("a", "b", "c")]
        ).result()
    assert done == []
    turn(selector, mailbox)
    assert done == [(word, threading.get_ident()) for word in "abc"]
    assert [future.result(0) for future in futures] == ["a", "b", "c"]


def test_what_the_work_raises_is_the_askers(selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
    future = mailbox.submit(lambda: 1 // 0)
    turn(selector, mailbox)
    with pytest.raises(ZeroDivisionError):
        future.result(0)


def test_a_signal_amid_the_work_is_the_loops(selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
    def interrupted() -> None:
        raise Interrupted("interrupted")

    future = mailbox.submit(interrupted)
    with pytest.raises(Interrupted):
        turn(selector, mailbox)
    with pytest.raises(RunIsOver):
        future.result(0)


def test_an_answer_is_waited_for_with_a_bound(selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
    done: list[int] = []
    with pytest.raises(RunError, match="has not answered for 0 s"):
        mailbox.ask(lambda: done.append(1), patience_s=0)
    turn(selector, mailbox)
    assert done == [], "nobody wants it any more"


def test_work_that_has_begun_is_waited_for() -> None:
    """It is done in any case, so the caller must not believe that it was not."""
    impatient = threading.Event()

    class Spy(Future[str]):
        def cancel(self) -> bool:
            cancelled = super().cancel()
            impatient.set()
            return cancelled

    future = Spy()
    assert future.set_running_or_notify_cancel()
    with ThreadPoolExecutor() as pool:
        answered = pool.submit(_answered, future, 0.0)
        assert impatient.wait(20)
        future.set_result("done")
        assert answered.result(20) is True


def test_a_time_out_of_the_work_is_not_the_askers(selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
    def late() -> None:
        raise TimeoutError("the file took too long")

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(mailbox.ask, late)
        turn(selector, mailbox)
        with pytest.raises(TimeoutError, match="the file took too long"):
            asked.result(20)


def test_a_condition_is_waited_for_and_judged_by_the_loop(
    selector: selectors.BaseSelector, mailbox: Mailbox
) -> None:
    state = {"value": 0, "looks": 0}

    def holds() -> bool:
        state["looks"] += 1
        assert threading.current_thread() is threading.main_thread()
        return state["value"] == 1

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(mailbox.wait_for, holds, 20)
        turn(selector, mailbox)
        assert state["looks"] == 1
        state["value"] = 1
        mailbox.settle()
        assert waiting.result(20) is True
        state["value"] = 2
        impatient = pool.submit(mailbox.wait_for, holds, 0)
        turn(selector, mailbox)
        assert impatient.result(20) is False
        mailbox.settle()
    assert mailbox._awaited == []


def test_at_the_end_everybody_is_refused(selector: selectors.BaseSelector, mailbox: Mailbox) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(mailbox.wait_for, lambda: False, 20)
        turn(selector, mailbox)
        posted = mailbox.submit(lambda: "never")
        mailbox.refuse()
        for future in (waiting, posted, mailbox.submit(lambda: "never")):
            with pytest.raises(RunIsOver, match="the run is over"):
                future.result(20)
    mailbox.refuse()


def test_it_leaves_no_descriptor_open_and_no_caller_waiting(selector: selectors.BaseSelector) -> None:
    before = len(os.listdir("/proc/self/fd"))
    mailbox = Mailbox(selector)
    fcntl.fcntl(mailbox._wake_write, fcntl.F_SETPIPE_SZ, 4096)
    futures = [mailbox.submit(lambda: None) for _ in range(5000)]  # more than the pipe holds
    turn(selector, mailbox)
    assert all(future.done() for future in futures)
    mailbox.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(RunIsOver):
        mailbox.ask(lambda: None)
