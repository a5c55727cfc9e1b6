"""sweep.json: what of a sweep has run, by cell and seed. `mnbed sweep` goes on from it, `mnbed compare` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mnbed.errors import InputError

FILE = "sweep.json"


@dataclass(frozen=True, kw_only=True)
class SweepEntry:
    """One run."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cell: dict[str, str]
    """Axis -> value: what tells its cell from the others."""
    label: str
    """What the cell is called."""
    seed: int
    digest: str
    """Of the resolved experiment: another one is another run."""
    directory: str | None = None
    """The run's, relative to the sweep's; null: there is none."""
    status: str | None = None
    """As summary.json has it; null: not run yet."""
    verdict: str | None = None
    """As summary.json has it."""
    message: str | None = None
    """The last line that a failed run printed."""
    dilation: float | None = None
    """Chosen for all runs that this one is compared with; null: the experiment sets its own."""


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """The file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    base: str
    """The experiment file that all runs change."""
    baseline: dict[str, str] = field(default_factory=dict)
    """Axis -> value: what `mnbed compare` measures speed-ups against."""
    runs: tuple[SweepEntry, ...]
    """All of the sweep as its file is now, in their order."""
    former: tuple[SweepEntry, ...] = ()
    """Completed runs from earlier versions of the sweep's file: they count again if it changes back."""

    @property
    def dilations(self) -> Mapping[str, float]:
        """Directory of a run -> the dilation that the sweep chose for it."""
        return {
            entry.directory: entry.dilation
            for entry in self.runs
            if entry.directory is not None and entry.dilation is not None
        }


def is_sweep(directory: Path) -> bool:
    """Whether a sweep's runs stand in that directory."""
    return (directory / FILE).is_file()


def read_sweep(directory: Path, remedy: str | None = None) -> SweepRecord:
    """What sweep.json holds. Raises InputError, with that remedy, where it is none."""
    from pydantic import TypeAdapter, ValidationError

    path = directory / FILE
    try:
        return TypeAdapter(SweepRecord).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: not a sweep: {where + ': ' if where else ''}{first['msg']}", remedy
        ) from None
    except OSError as error:
        raise InputError(f"{path}: not a sweep: {error.strerror}", remedy) from None


def write_sweep(directory: Path, record: SweepRecord) -> None:
    """Put it in the place of the one that was there, whole. Raises OSError."""
    path = directory / FILE
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
    partial.replace(path)
