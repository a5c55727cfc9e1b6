"""A network in memory, for deterministic tests of algorithms: an event queue with a clock of its own.

Frames have the real wire format: they are encoded by node_agent.wire, cut into two pieces and read by its Receiver.
Sending takes time per node, delays are per pair, frames may be reordered or duplicated, connections may break, nodes
may die and come back. Nothing here sleeps, and equal inputs give equal runs.

As with real sockets, the end of a node is noticed by nodes that have a connection with it, in either direction, and by
those that try to open one. A waiting node keeps a connection to each peer that it waits for, as the agent does.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from node_agent import wire
from node_agent.algorithms import Aggregated, Algorithm, Context, Outbox, Send, create_algorithm
from node_agent.streams import stream

TOKEN = bytes(range(wire.TOKEN_BYTES))

LocalPhase = Callable[[int, int, NDArray[np.float32]], None]
"""(node, round, values): changes the values in place, as training would."""


def make_algorithms(
    settings: Mapping[str, object], num_nodes: int, num_parameters: int
) -> dict[int, Algorithm]:
    """One algorithm per node on a complete overlay, seeded by the node's index."""
    return {
        node: create_algorithm(dict(settings), make_context(node, num_nodes, num_parameters))
        for node in range(num_nodes)
    }


def make_context(
    node: int, num_nodes: int, num_parameters: int, seed: int = 7, *, restarted: bool = False
) -> Context:
    """That node's context on a complete overlay."""
    return Context(
        index=node,
        peers=tuple(peer for peer in range(num_nodes) if peer != node),
        num_parameters=num_parameters,
        rng=stream(seed, "algorithm", node),
        permutation_seed=seed,
        num_nodes=num_nodes,
        restarted=restarted,
    )


def _train_nothing(_node: int, _round: int, _values: NDArray[np.float32]) -> None:
    """A local phase that leaves the model alone."""


@dataclass
class FakeNode:
    """One node: its algorithm, its model, and what it has sent, received and averaged so far."""

    algorithm: Algorithm
    values: NDArray[np.float32]
    round_s: float = 1.0
    local_phase: LocalPhase = _train_nothing
    round: int = 0
    alive: bool = True
    waiting: bool = False
    """True while may_start_round() says no."""
    queue: deque[tuple[wire.RoundFrames, Send]] = field(default_factory=deque)
    sending: bool = False
    outboxes: list[Outbox] = field(default_factory=list)
    aggregated: list[Aggregated] = field(default_factory=list)
    received: list[wire.Fragment] = field(default_factory=list)


class FakeNetwork:
    """Connects algorithms; `run_until` advances the clock and does what is due up to then."""

    def __init__(
        self,
        algorithms: Mapping[int, Algorithm],
        *,
        num_parameters: int,
        frame_s: Mapping[int, float] | None = None,
        delay_s: Callable[[int, int], float] = lambda _sender, _peer: 0.001,
        duplicate: bool = False,
    ) -> None:
        """`frame_s[node]`: how long that node takes to send one frame, by default no time.

        `delay_s(sender, peer)` is called for every frame: delays that vary reorder frames. `duplicate` delivers each
        frame twice.
        """
        self.now_s = 0.0
        self.num_parameters = num_parameters
        self.nodes = {
            index: FakeNode(algorithm, np.zeros(num_parameters, np.float32))
            for index, algorithm in algorithms.items()
        }
        self._frame_s = dict(frame_s or {})
        self._delay_s = delay_s
        self._copies = 2 if duplicate else 1
        self._receivers: dict[tuple[int, int], wire.Receiver] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def start(
        self,
        index: int,
        values: NDArray[np.float32],
        round_s: float = 1.0,
        local_phase: LocalPhase = _train_nothing,
    ) -> None:
        """Let that node do rounds of `round_s` from now on, as an agent's training thread does."""
        node = self.nodes[index]
        node.values, node.round_s, node.local_phase = values.astype(np.float32), round_s, local_phase
        self._begin_round(index, node)

    def run_until(self, time_s: float) -> None:
        """Do everything that is due up to that time, in order."""
        while self._due and self._due[0][0] <= time_s:
            self.now_s, _, action = heapq.heappop(self._due)
            action()
        self.now_s = time_s

    def send(self, index: int, outbox: Outbox) -> None:
        """Do what a transport does with an outbox."""
        node = self.nodes[index]
        node.outboxes.append(outbox)
        if outbox.replace_unsent:
            node.queue.clear()
        frames = outbox.frames(index)
        node.queue.extend((frames, send) for send in outbox.sends)
        if not node.sending:
            self._send_next(index, node)

    def kill(self, index: int) -> None:
        """End the node and its connections, and lose what is in flight on them; the nodes at the other ends notice."""
        self.nodes[index].alive = False
        self.nodes[index].queue.clear()
        for pair in [pair for pair in self._receivers if index in pair]:
            self._break(*pair)

    def break_connections(self, one: int, other: int) -> None:
        """Both nodes stay alive, but what is in flight between them is lost."""
        for pair in ((one, other), (other, one)):
            if pair in self._receivers:
                self._break(*pair)

    def revive(self, index: int, algorithm: Algorithm, round: int = 0) -> None:
        """A new agent replaces the dead one; its first round is `round`, and `start` makes it train.

        An agent whose context says that it was restarted says HELLO to all its peers.
        """
        self.nodes[index] = FakeNode(algorithm, np.zeros(self.num_parameters, np.float32), round=round)
        if algorithm.context.restarted:
            for peer in algorithm.context.peers:
                self._connection(index, peer)

    def _break(self, sender: int, peer: int) -> None:
        del self._receivers[sender, peer]
        for index, gone in ((sender, peer), (peer, sender)):
            self._notice(index, gone)

    def _notice(self, index: int, gone: int) -> None:
        """Tell that node, as soon as it can know, that its connection with the other broke or could not be opened."""
        node = self.nodes[index]

        def lose() -> None:
            if node.alive:
                node.algorithm.peer_lost(gone)
                self._wake(index, node)

        self._after(self._delay_s(gone, index), lose)

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._order), action))

    def _begin_round(self, index: int, node: FakeNode) -> None:
        node.waiting = not node.algorithm.may_start_round()
        if node.waiting:
            for peer in node.algorithm.waits_for():
                self._connection(index, peer)
        else:
            node.aggregated.append(node.algorithm.before_local_phase(node.values, self.now_s))
            node.local_phase(index, node.round, node.values)
            self._after(node.round_s, lambda: self._end_round(index, node))

    def _end_round(self, index: int, node: FakeNode) -> None:
        if node.alive:
            self.send(index, node.algorithm.after_local_phase(node.round, node.values))
            node.round += 1
            self._begin_round(index, node)

    def _wake(self, index: int, node: FakeNode) -> None:
        if node.alive and node.waiting:
            self._begin_round(index, node)

    def _send_next(self, index: int, node: FakeNode) -> None:
        """Start sending the first frame in the queue: its send time is now, and it can no longer be dropped."""
        node.sending = bool(node.queue) and node.alive
        if not node.sending:
            return
        frames, send = node.queue.popleft()
        data = b"".join(frames.frame(send.fragment, self.now_s))
        receiver = self._connection(index, send.peer)
        frame_s = self._frame_s.get(index, 0.0)
        if receiver is not None:
            for _ in range(self._copies):
                arrival_s = frame_s + self._delay_s(index, send.peer)
                self._after(arrival_s, lambda: self._arrive(index, send.peer, receiver, data))
        self._after(frame_s, lambda: self._send_next(index, node))

    def _connection(self, sender: int, peer: int) -> wire.Receiver | None:
        """The peer's end of the connection, opened when first needed; None, which the sender notices, if it is dead."""
        if not self.nodes[peer].alive:
            self._notice(sender, peer)
            return None
        receiver = self._receivers.get((sender, peer))
        if receiver is None:
            algorithm = self.nodes[peer].algorithm
            receiver = self._receivers[sender, peer] = wire.Receiver(
                token=TOKEN,
                num_nodes=len(self.nodes),
                num_parameters=self.num_parameters,
                num_fragments=algorithm.num_fragments,
                permutation_seed=algorithm.permutation_seed,
            )
            life = int(self.nodes[sender].algorithm.context.restarted)
            receiver.receive_data(wire.encode_hello(sender, TOKEN, life))
            assert receiver.next_event() == wire.Hello(sender, TOKEN, life)
            if life:
                algorithm.peer_lost(sender)
            algorithm.peer_joined(sender)
            self._wake(peer, self.nodes[peer])
        return receiver

    def _arrive(self, sender: int, peer: int, receiver: wire.Receiver, data: bytes) -> None:
        if self._receivers.get((sender, peer)) is not receiver:
            return  # that connection broke while the frame was under way
        middle = len(data) // 3
        for piece in (data[:middle], data[middle:]):
            receiver.receive_data(piece)
        node = self.nodes[peer]
        while not isinstance(event := receiver.next_event(), wire.NeedData):
            assert isinstance(event, wire.Fragment)
            node.received.append(event)
            reply = node.algorithm.on_fragment(event)
            if reply is not None:
                self.send(peer, reply)
        self._wake(peer, node)
