"""How patient an agent's input and output are, and how much they hold. Tests make these small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Emulated seconds, unless the name says wall."""

    reconnect_s: float = 1.0
    """Before a connection that broke, or could not be made, is tried again."""
    hello_s: float = 30.0
    """For a new connection to say HELLO: longer than links are usually down, as the HELLO waits for them."""
    spare_strangers: int = 64
    """Connections without a HELLO that may be open at once, beyond one for each node of the run."""
    hold_s: float = 0.25
    """Sequential exchange: how long a frame may hold up those behind it, at least."""
    status_wall_s: float = 0.5
    """Between two status messages, two attempts to reconnect, two looks for late strangers."""
