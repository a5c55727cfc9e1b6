"""Named random streams: everything random comes from the experiment's seed, by purpose and node.

A stream depends on its own names only, so that adding a node or a feature does not shift the others.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of that purpose, e.g. stream(seed, "peers", node_index)."""
    return np.random.default_rng(stream_seed(seed, *names))


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for libraries with generators of their own (torch)."""
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
