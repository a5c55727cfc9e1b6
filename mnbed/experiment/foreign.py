"""Settings of an algorithm in a user's own file, for a process that must not import that file because it is root.

The user's process has imported it, checked the settings and asked the algorithm what the planner needs to know; here
they are plain data, passed on unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from node_agent.algorithms import AlgorithmSettings, algorithm_class


@dataclass(frozen=True, kw_only=True)
class ForeignSettings(AlgorithmSettings):
    """Values by key, and the result of `Algorithm.planned_sends` for each number of peers."""

    values: Mapping[str, Any]
    sends: Mapping[int, tuple[float, int]]


def foreign_settings(section: Mapping[str, Any], sends: Mapping[int, Any]) -> ForeignSettings:
    """The settings in that section of an experiment. Raises ValueError if `sends` is out of range."""
    checked = {}
    for count, (models, fragments) in sends.items():
        if not (math.isfinite(models) and 0 <= models <= 1e6 and 1 <= fragments <= 1e6):
            raise ValueError(f"{models} models of {fragments} fragments cannot be sent in a round")
        checked[count] = (float(models), int(fragments))
    return ForeignSettings(
        name=str(section["name"]),
        stale="keep" if section.get("stale") == "keep" else "drop",
        module=str(section["module"]),
        values=dict(section),
        sends=checked,
    )


def plain(settings: AlgorithmSettings) -> dict[str, Any]:
    """The settings by key."""
    return dict(settings.values) if isinstance(settings, ForeignSettings) else asdict(settings)


def check_settings(settings: AlgorithmSettings, num_peers: int) -> str | None:
    """The algorithm's objection to that number of peers, if any; see Algorithm.check_settings."""
    if isinstance(settings, ForeignSettings):
        return None
    return algorithm_class(settings.name, settings.module).check_settings(settings, num_peers)


def planned_sends(settings: AlgorithmSettings, num_peers: int) -> tuple[float, int]:
    """See Algorithm.planned_sends."""
    if isinstance(settings, ForeignSettings):
        return settings.sends[num_peers]
    return algorithm_class(settings.name, settings.module).planned_sends(settings, num_peers)
