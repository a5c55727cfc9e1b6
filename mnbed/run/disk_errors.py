"""The error message for a run's files that cannot be written: which file, and where the data collected so far is.

Both ends of a run meet such errors: the controller, which writes its journal, and the user's process, which writes
everything else.
"""

from __future__ import annotations

from mnbed.errors import MachineError
from mnbed.run_directory import RunDirectory
from node_agent import full_disk


def disk_error(error: OSError, run: RunDirectory | None) -> MachineError:
    """`run`: whose file it was, where the error names none; None: not known, or there is no run yet."""
    unknown = "" if run is None else run.path
    remedy = full_disk.remedy(error, unknown)
    if remedy is not None and run is not None and run.experiment.exists():
        remedy += f"; what was collected is in {run.path}, and `mnbed report` on it makes its results"
    return MachineError(full_disk.in_words(error, unknown), remedy)
