"""Time-outs and sizes of an agent's I/O. Tests use small ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Emulated seconds, unless the name says wall."""

    reconnect_s: float = 1.0
    """How long until a connection that broke or could not be made is retried."""
    hello_s: float = 30.0
    """How long a new connection has to say HELLO: longer than links are usually down, since HELLO waits for them."""
    spare_strangers: int = 64
    """Connections without a HELLO that may be open at once, beyond one for each node of the run."""
    hold_s: float = 0.25
    """Sequential exchange: a frame may hold up those behind it for at least this long."""
    status_wall_s: float = 0.5
    """Interval between status messages, attempts to reconnect, and checks for late strangers."""
