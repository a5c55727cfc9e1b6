"""CPU time that one round of DivShare costs an agent, apart from training: python bench/round_cost.py

GN-LeNet's 89,834 parameters, Omega 0.1, J 6: 60 frames of 36 kB out, 60 in. Medians over many rounds, in
microseconds of the thread's CPU time. For comparison: a lower bound (a plain NumPy copy of the same bytes) and
the straightforward way (an index array for each fragment, pickled for each peer). The last line adds the
kernel: the 60 frames through sendmsg and recv_into over a socket pair. Needs no root.
"""

from __future__ import annotations

import argparse
import pickle
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from node_agent import wire
from node_agent.algorithms import Context, Outbox
from node_agent.algorithms.divshare import DivShare

NUM_PARAMETERS = 89_834
FRACTION = 0.1
DEGREE = 6
NUM_NODES = 60
TOKEN = bytes(wire.TOKEN_BYTES)
GOAL_US = 2000.0

STEPS = ("cut, draw and shuffle", "encode 60 headers", "decode 60 frames", "store and aggregate 60")

Frame = tuple[bytes, memoryview]
Indexed = tuple[NDArray[np.int64], NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200, help="rounds to take the median of (default 200)")
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(1)
    models = [rng.standard_normal(NUM_PARAMETERS).astype(np.float32) for _ in range(DEGREE + 1)]
    ours, bound, plain = (
        measure_ours(models, rounds),
        measure_bound(models, rounds),
        measure_plain(models, rounds),
    )
    num_frames = round(DEGREE / FRACTION)
    print(f"one round, {NUM_PARAMETERS:,} parameters, {num_frames} frames out and {num_frames} in")
    print(f"CPU time in microseconds, median of {rounds} rounds\n")
    print(f"{'':28}{'mnbed':>10}{'copy':>10}{'pickle':>10}")
    for step in STEPS:
        print(f"{step:28}{ours[step]:10.0f}{bound[step]:10.0f}{plain[step]:10.0f}")
    total = sum(ours.values())
    print(f"{'total':28}{total:10.0f}{sum(bound.values()):10.0f}{sum(plain.values()):10.0f}")
    print(f"\ngoal: under {GOAL_US:.0f}: {'reached' if total < GOAL_US else 'MISSED'}")
    out_us, in_us = measure_sockets(models, rounds)
    print(f"with the kernel (socket pair): {out_us:.0f} to cut, encode and sendmsg,")
    print(f"{'':30} {in_us:.0f} to recv_into, decode and aggregate")


def median_us(rounds: int, action: Callable[[], Any]) -> tuple[float, Any]:
    """(median CPU time of this thread in microseconds, the last result)."""
    times, result = [], None
    for _ in range(rounds):
        begin = time.thread_time_ns()
        result = action()
        times.append(time.thread_time_ns() - begin)
    return statistics.median(times) / 1e3, result


def make_algorithm(index: int) -> DivShare:
    settings = DivShare.Settings(name="divshare", fragment_fraction=FRACTION, degree=DEGREE)
    peers = tuple(peer for peer in range(NUM_NODES) if peer != index)
    rng = np.random.default_rng(index)
    context = Context(index=index, peers=peers, num_parameters=NUM_PARAMETERS, rng=rng, permutation_seed=9)
    return DivShare(settings, context)


def make_receivers() -> list[wire.Receiver]:
    """One connection from each of DEGREE senders, after its HELLO."""
    receivers = []
    for sender in range(1, DEGREE + 1):
        receiver = wire.Receiver(token=TOKEN, num_nodes=NUM_NODES, num_parameters=NUM_PARAMETERS)
        receiver.receive_data(wire.encode_hello(sender, TOKEN))
        receiver.next_event()
        receivers.append(receiver)
    return receivers


def encode(outbox: Outbox, sender: int) -> list[Frame]:
    frames = outbox.frames(sender)
    return [frames.frame(send.fragment, 1.0) for send in outbox.sends]


def incoming_frames(models: list[NDArray[np.float32]]) -> list[list[bytes]]:
    """DEGREE senders' whole models, every fragment once: as many frames as a round sends."""
    streams = []
    for sender in range(1, DEGREE + 1):
        outbox = make_algorithm(sender).after_local_phase(0, models[sender])
        frames = outbox.frames(sender)
        streams.append([b"".join(frames.frame(index, 1.0)) for index in range(outbox.num_fragments)])
    return streams


def measure_ours(models: list[NDArray[np.float32]], rounds: int) -> dict[str, float]:
    algorithm, values, streams = make_algorithm(0), models[0].copy(), incoming_frames(models)
    receivers = make_receivers()

    def decode() -> list[wire.Fragment]:
        decoded = []
        for receiver, frames in zip(receivers, streams, strict=True):
            for frame in frames:
                receiver.receive_data(frame)
                event = receiver.next_event()
                assert isinstance(event, wire.Fragment)
                decoded.append(event)
        return decoded

    def aggregate() -> None:
        for fragment in fragments:
            algorithm.on_fragment(fragment)
        assert len(algorithm.before_local_phase(values, 2.0).of) == len(fragments)

    cut_us, outbox = median_us(rounds, lambda: algorithm.after_local_phase(0, values))
    encode_us, _ = median_us(rounds, lambda: encode(outbox, 0))
    decode_us, fragments = median_us(rounds, decode)
    times = []
    for _ in range(rounds):
        for sender in range(1, DEGREE + 1):
            algorithm.peer_joined(sender)  # so that the same fragments count as new
        times.append(median_us(1, aggregate)[0])
    return dict(zip(STEPS, (cut_us, encode_us, decode_us, statistics.median(times)), strict=True))


def measure_bound(models: list[NDArray[np.float32]], rounds: int) -> dict[str, float]:
    """Copying the same bytes: the model for the cut, nothing to encode, every incoming frame twice."""
    parts = [part.copy() for model in models[1:] for part in np.array_split(model, round(1 / FRACTION))]
    cut_us, _ = median_us(rounds, models[0].copy)
    copy_us, _ = median_us(rounds, lambda: [part.copy() for part in parts])
    return dict(zip(STEPS, (cut_us, 0.0, copy_us, copy_us), strict=True))


def measure_plain(models: list[NDArray[np.float32]], rounds: int) -> dict[str, float]:
    """Each fragment is (indices, values), pickled for each peer; sums and counts over index arrays."""
    rounds = max(1, rounds // 10)
    count = round(1 / FRACTION)
    indices = np.array_split(np.random.default_rng(9).permutation(NUM_PARAMETERS), count)

    def cut() -> list[Indexed]:
        return [(part, models[0][part]) for part in indices]

    def encode_all() -> list[bytes]:
        return [
            pickle.dumps({"round": 0, "fragment": fragment}) for fragment in fragments for _ in range(DEGREE)
        ]

    def aggregate() -> NDArray[np.float32]:
        total, copies = models[0].copy(), np.ones(NUM_PARAMETERS, np.float32)
        for message in messages:
            part, values = message["fragment"]
            total[part] += values
            copies[part] += 1
        return total / copies

    cut_us, fragments = median_us(rounds, cut)
    encode_us, data = median_us(rounds, encode_all)
    decode_us, messages = median_us(rounds, lambda: [pickle.loads(item) for item in data])
    aggregate_us, _ = median_us(rounds, aggregate)
    return dict(zip(STEPS, (cut_us, encode_us, decode_us, aggregate_us), strict=True))


def measure_sockets(models: list[NDArray[np.float32]], rounds: int) -> tuple[float, float]:
    """(out, in) of a round with system calls; what the other end does is not counted."""
    algorithm, values, streams = make_algorithm(0), models[0].copy(), incoming_frames(models)
    receivers, scratch = make_receivers(), bytearray(1 << 16)
    out_times, in_times = [], []
    near, far = socket.socketpair()
    with near, far:
        for round_number in range(rounds):
            clock = CpuClock()
            outbox = algorithm.after_local_phase(round_number, values)
            frames = outbox.frames(0)
            for send in outbox.sends:
                near.sendmsg(frames.frame(send.fragment, 1.0))
                clock.stop()
                far.recv_into(scratch)
                clock.go_on()
            out_times.append(clock.stop())
            clock = CpuClock()
            for sender, receiver in enumerate(receivers, start=1):
                algorithm.peer_joined(sender)
                for frame in streams[sender - 1]:
                    clock.stop()
                    far.sendall(frame)
                    clock.go_on()
                    while isinstance(event := receiver.next_event(), wire.NeedData):
                        receiver.buffer_updated(near.recv_into(receiver.get_buffer()))
                    assert isinstance(event, wire.Fragment)
                    algorithm.on_fragment(event)
            algorithm.before_local_phase(values, 2.0)
            in_times.append(clock.stop())
    return statistics.median(out_times) / 1e3, statistics.median(in_times) / 1e3


class CpuClock:
    """This thread's CPU time, in nanoseconds, with pauses."""

    def __init__(self) -> None:
        self._total = 0
        self._begin = time.thread_time_ns()

    def stop(self) -> int:
        """Pause; returns the time counted so far."""
        self._total += time.thread_time_ns() - self._begin
        return self._total

    def go_on(self) -> None:
        """End the pause."""
        self._begin = time.thread_time_ns()


if __name__ == "__main__":
    main()
