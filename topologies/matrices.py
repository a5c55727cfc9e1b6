"""Matrices of measured networks: files of topologies/data, each of which says where its figures come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_DATA = Path(__file__).parent / "data"


def matrices() -> list[str]:
    """The names of the available matrices."""
    return sorted(path.stem for path in _DATA.glob("*.yaml"))


@cache
def matrix(name: str) -> dict[str, Any]:
    """`regions`: name -> its figures; `pairs`: bandwidth in Mbit/s, rtt in ms. Raises ValueError for an unknown one."""
    if name not in matrices():
        raise ValueError(f"matrix={name}: no such matrix; there are: {', '.join(matrices())}")
    data: dict[str, Any] = yaml.safe_load((_DATA / f"{name}.yaml").read_text())
    return data
