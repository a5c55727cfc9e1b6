"""One outgoing connection: its queue, the frame in transit, whether it is stuck. `outgoing` decides what happens."""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass, field

from node_agent import wire
from node_agent.settings import PeerSettings
from node_agent.tcp import unsent_bytes, waits_for_the_network

# Emulated seconds between checks of the frame that holds the line: a link of 2.4 Mbit/s sends one packet in that time.
LOOK_S = 0.005


@dataclass(eq=False)
class Frame:
    """One frame for one peer."""

    frames: wire.RoundFrames
    round: int
    fragment: int
    order: int
    """Frames are numbered in the order in which they are created."""
    reply_wanted: bool
    begun_s: float = 0.0

    @property
    def num_bytes(self) -> int:
        return self.frames.frame_bytes(self.fragment)


@dataclass(eq=False)
class Outgoing:
    """The connection to one peer, and what waits for it."""

    peer: PeerSettings
    queue: deque[Frame] = field(default_factory=deque)
    """Unsent frames."""
    current: Frame | None = None
    """The frame in transit: the kernel has accepted its first byte, but not its last."""
    rest: list[memoryview] = field(default_factory=list)
    """What the kernel has yet to accept of the HELLO, of `current` or of the BYE."""
    socket: socket.socket | None = None
    wanted: bool = False
    """Whether to connect even though nothing is to be sent."""
    connected: bool = False
    takes_bytes: bool = False
    """False from the time the kernel accepts no more until it reports room again."""
    draining: Frame | None = None
    """Sequential exchange: a frame that the kernel has accepted in full and not yet sent in full."""
    stuck: tuple[int, float] | None = None
    """While it waits for the network: the number of unsent bytes, and since when that has not changed."""
    watched: int = 0
    lost: bool = False
    """It broke or could not be made, and has not been re-established since."""
    began_s: float = 0.0
    retry_at_s: float = 0.0
    life: int = 0
    """The peer's latest known life when the connection was made."""

    def is_stuck(self, now_s: float) -> bool:
        """Whether it waits for the network and has made no progress for a while, so that our own link is free.

        Packets queued on our own link wait for acknowledgements, too, but those arrive steadily.
        """
        if self.socket is None or not waits_for_the_network(self.socket):
            self.stuck = None
            return False
        left_bytes = unsent_bytes(self.socket)
        if self.stuck is None or self.stuck[0] != left_bytes:
            self.stuck = (left_bytes, now_s)
        return now_s - self.stuck[1] >= LOOK_S
