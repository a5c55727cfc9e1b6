"""What the controller hands to an agent: the contract between the two sides, JSON <-> frozen dataclass."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PeerSettings:
    """A node this agent may exchange models with."""

    name: str
    index: int
    address: str
    port: int


@dataclass(frozen=True, kw_only=True)
class ResumeSettings:
    """From where a restarted agent continues: what the controller knows about its previous life."""

    life: int
    """1 for the first restart."""
    round: int
    """The first round of this life: peers and the ledger must not mistake its fragments for old ones."""
    steps: int
    """Local steps done so far."""
    counters: dict[str, Any]
    """Totals so far."""
    snapshot: str | None
    """File with the parameters to begin with, relative to the run directory; None: the initial model."""


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """An agent's orders. All times are emulated seconds unless the name says wall."""

    name: str
    """Host name, h1..hN."""
    index: int
    """0..num_nodes-1; the sender number on the wire and in random streams."""
    num_nodes: int
    address: str
    port: int
    peers: tuple[PeerSettings, ...]
    """Overlay neighbours."""
    token: str
    """32 hex digits, new for each run; a HELLO with another token is refused."""
    run_directory: str
    control_socket: str
    """Path of the controller's Unix socket."""
    seed: int
    dilation: float
    duration_s: float
    step_time_s: float
    snapshot_every_s: float
    snapshot_model: str
    """"aggregated": the model as the last aggregation left it; "current": as it is at the instant."""
    algorithm: dict[str, Any]
    """{"name": ..., settings of the algorithm ...}"""
    task: dict[str, Any]
    """{"name": ..., settings of the task ...}"""
    data_root: str
    ledger: bool
    """Journal every fragment's creation, send, drop, arrival and aggregation."""
    overlay: dict[str, list[int]] | None = None
    """Index of this node and of each of its peers, as text -> indices of its overlay neighbours; None: complete."""
    max_round: int | None = None
    """The last round that any node of the run can reach: fragments of later rounds are refused. None: unknown."""
    resume: ResumeSettings | None = None
    """For a restarted agent."""

    @property
    def overlay_by_index(self) -> dict[int, tuple[int, ...]] | None:
        """`overlay` in the form that algorithms use."""
        if self.overlay is None:
            return None
        return {int(node): tuple(neighbours) for node, neighbours in self.overlay.items()}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> AgentSettings:
        """The inverse of to_json. Raises TypeError on missing or unknown keys."""
        raw = json.loads(text)
        if raw.get("resume") is not None:
            raw["resume"] = ResumeSettings(**raw["resume"])
        raw["peers"] = tuple(PeerSettings(**peer) for peer in raw["peers"])
        return cls(**raw)
