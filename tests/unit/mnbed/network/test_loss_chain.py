"""Losses in bursts in the process that serves NFQUEUE: the chain of states, and which paths share one."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mnbed.network.nfqueue.delay_queue import _ACCEPT, _DROP, _Host
from mnbed.network.nfqueue.loss_chain import LossChain, LossChains
from topologies.burst_loss import NO_BURSTS, BurstLoss

ALTERNATING = BurstLoss(p=1, r=1)


def chain_of(model: BurstLoss, seed: int = 5) -> LossChain:
    chain = LossChain(random.Random(seed).random)
    chain.follow(model)
    return chain


def kernels(model: BurstLoss, seed: int, count: int) -> list[bool]:
    """net/sched/sch_netem.c, loss_gilb_ell: the state's change is drawn first, the loss is that of the state before."""
    draw = random.Random(seed).random
    lost, state = [], "good"
    for _ in range(count):
        if state == "good":
            if draw() < model.p:
                state = "bad"
            lost.append(draw() < model.loss_good)
        else:
            if draw() < model.r:
                state = "good"
            lost.append(draw() < model.loss_bad)
    return lost


@pytest.mark.parametrize(
    "model",
    [
        BurstLoss(p=0.05, r=0.25),
        BurstLoss(p=0.1, r=0.5, loss_bad=0.7, loss_good=0.05),
        ALTERNATING,
        NO_BURSTS,
    ],
)
def test_it_takes_netems_steps(model: BurstLoss) -> None:
    chain = chain_of(model)
    assert [chain.loses() for _ in range(5000)] == kernels(model, 5, 5000)


def test_other_parameters_begin_in_the_good_state_and_the_same_go_on() -> None:
    chain = chain_of(ALTERNATING)
    assert not chain.loses()
    chain.follow(ALTERNATING)
    assert chain.loses()
    assert not chain.loses()
    chain.follow(BurstLoss(p=0, r=1, loss_good=0))
    assert not chain.loses()
    chain.follow(ALTERNATING)
    assert not chain.loses()


@pytest.fixture
def kernel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The socket that a host's queue writes to, and the one where that arrives."""
    with contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair(type=socket.SOCK_DGRAM))
        yield ours, theirs


def effect(*bursts: Sequence[float], delay_s: float = 0.0) -> dict[str, Any]:
    return {"10.0.0.1": [delay_s, 0.0, "normal", 0.0, list(bursts)]}


def new_chains() -> LossChains:
    return LossChains(lambda seed: random.Random(seed).random)


SOURCE = 0x0A000001


def test_paths_over_one_link_share_its_state(kernel: tuple[socket.socket, socket.socket]) -> None:
    """Every second packet of the link is lost, whatever its destination."""
    chains = new_chains()
    alternating = [77, 1, 1, 1, 0]
    order = {"gso": False, "seed": 1, "sources": effect(alternating)}
    near, far = (_Host(number, kernel[0], order, chains) for number in range(2))
    assert [near.take(number, SOURCE, 0.0) for number in range(2)] == [_ACCEPT, _DROP]
    assert near.take(3, SOURCE, 0.0) == _ACCEPT
    assert far.take(4, SOURCE, 0.0) == _DROP
    # The same parameters again: the link continues where it was.
    assert near.take(5, SOURCE, 0.0) == _ACCEPT
    far.change(effect(alternating))
    assert far.take(6, SOURCE, 0.0) == _DROP
    # Other links have their own states; without one everything arrives.
    assert near.take(7, SOURCE, 0.0) == _ACCEPT
    far.change(effect([78, 1, 1, 1, 0]))
    assert far.take(8, SOURCE, 0.0) == _ACCEPT
    far.change(effect())
    assert [far.take(number, SOURCE, 0.0) for number in range(9, 12)] == [_ACCEPT] * 3


def test_a_link_that_a_packet_does_not_reach_takes_no_step(
    kernel: tuple[socket.socket, socket.socket],
) -> None:
    """The first link loses every second packet, the second one every second of those that reach it."""
    order = {"gso": False, "seed": 1, "sources": effect([1, 1, 1, 1, 0], [2, 1, 1, 1, 0])}
    host = _Host(0, kernel[0], order, new_chains())
    taken = [host.take(number, SOURCE, 0.0) for number in range(8)]
    assert taken == [_ACCEPT, _DROP, _DROP, _DROP] * 2


def test_frames_are_cut_up_as_soon_as_bursts_begin(kernel: tuple[socket.socket, socket.socket]) -> None:
    host = _Host(0, kernel[0], {"gso": True, "seed": 1, "sources": effect(delay_s=0.1)}, new_chains())
    assert host.gso
    host.change(effect([7, 0.1, 0.5, 1, 0], delay_s=0.1))
    assert not host.gso
    assert kernel[1].recv(4096, socket.MSG_DONTWAIT)
