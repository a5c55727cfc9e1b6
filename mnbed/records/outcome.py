"""The words for how a run ended and whether its emulation held, in journals, summary.json and sweep.json alike."""

from __future__ import annotations

from typing import Final, Literal

Status = Literal["completed", "interrupted", "failed"]
COMPLETED: Final = "completed"
INTERRUPTED: Final = "interrupted"
FAILED: Final = "failed"

FAITHFUL: Final = "faithful"
DEGRADED: Final = "degraded"
