"""What a full disk is said to be, and what it has left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mnbed.errors import MachineError
from mnbed.run.disk_errors import disk_error
from mnbed.run_directory import RunDirectory


def error_of(number: int, *file: str) -> OSError:
    return OSError(number, os.strerror(number), *file)


def test_a_full_disk_before_anything_was_collected_says_where_and_what_to_do(tmp_path: Path) -> None:
    told = disk_error(error_of(errno.ENOSPC), RunDirectory(tmp_path))
    assert isinstance(told, MachineError)
    assert told.message == f"No space left on device: {tmp_path}"
    assert told.remedy == f"make room on the disk that holds {tmp_path}, or give another --out"


def test_a_full_disk_later_says_where_the_rest_is_and_how_to_go_on(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.experiment.write_text("name: x\n")
    told = disk_error(error_of(errno.EDQUOT, "/data/runs/x/environment.json"), run)
    assert told.message == f"{os.strerror(errno.EDQUOT)}: /data/runs/x/environment.json"
    assert told.remedy == (
        "make room on the disk that holds /data/runs/x, or give another --out"
        f"; what was collected is in {tmp_path}, and `mnbed report` on it makes its results"
    )


def test_where_there_is_no_run_yet_none_is_named() -> None:
    assert disk_error(error_of(errno.EIO), None).message == "Input/output error"
    assert disk_error(error_of(errno.EIO, "/data/x"), None).message == "Input/output error: /data/x"


def test_what_is_no_full_disk_has_no_remedy(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.experiment.write_text("name: x\n")
    told = disk_error(error_of(errno.EIO), run)
    assert (told.message, told.remedy) == (f"Input/output error: {tmp_path}", None)
