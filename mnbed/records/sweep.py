"""sweep.json: the runs of a sweep, by cell and seed. `mnbed sweep` continues from it, `mnbed compare` reads it."""

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
    """Axis -> value: identifies its cell."""
    label: str
    """Name of the cell."""
    seed: int
    digest: str
    """Digest of the resolved experiment: if it changes, this is another run."""
    directory: str | None = None
    """The run directory, relative to the sweep's; null: there is none."""
    status: str | None = None
    """As in summary.json; null: not run yet."""
    verdict: str | None = None
    """As in summary.json."""
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
    """All runs of the sweep as its file is now, in order."""
    former: tuple[SweepEntry, ...] = ()
    """Completed runs of earlier versions of the sweep's file: they count again if it changes back."""

    @property
    def dilations(self) -> Mapping[str, float]:
        """Directory of a run -> the dilation that the sweep chose for it."""
        return {
            entry.directory: entry.dilation
            for entry in self.runs
            if entry.directory is not None and entry.dilation is not None
        }


def is_sweep(directory: Path) -> bool:
    """Whether that directory is a sweep's."""
    return (directory / FILE).is_file()


def read_sweep(directory: Path, remedy: str | None = None) -> SweepRecord:
    """The content of sweep.json. Raises InputError, with that remedy, if it is not a sweep's."""
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
    """Write sweep.json, replacing the previous one as a whole. Raises OSError."""
    path = directory / FILE
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
    partial.replace(path)
