"""A full disk, as /dev/full imitates it: messages name the file, and reach the controller without the journal."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mnbed.cli import main
from node_agent import full_disk
from node_agent.agent import report_failure
from node_agent.control import ControlChannel
from node_agent.journal import Journal
from node_agent.snapshots import save_snapshot

FULL = Path("/dev/full")
QUICKSTART = Path(__file__).parents[3] / "experiments" / "quickstart.yaml"


def test_a_journal_names_itself() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'") as caught:
        Journal(FULL, "h1", lambda: None).write("peer_ended", peer="h2")
    assert full_disk.in_words(caught.value) == "No space left on device: /dev/full"
    assert full_disk.remedy(caught.value) == "make room on the disk that holds /dev, or give another --out"


def test_a_snapshot_names_itself(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / "h1"
    folder.mkdir(parents=True)
    (folder / "00000.partial").symlink_to(FULL)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_snapshot(tmp_path, "h1", 0, np.zeros(100_000, dtype=np.float32))
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value.filename).endswith("00000.partial")
    assert not (folder / "00000.npy").exists()


def test_a_snapshot_is_a_numpy_file(tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.float32)
    assert np.array_equal(np.load(save_snapshot(tmp_path, "h1", 3, values), allow_pickle=False), values)
    assert np.array_equal(
        np.load(save_snapshot(tmp_path, "h1", 4, values[::2]), allow_pickle=False), values[::2]
    )


def test_the_controller_hears_of_a_full_disk() -> None:
    ours, theirs = socket.socketpair()
    journal = Journal(FULL, "h1", lambda: 1.0)
    agent: Any = SimpleNamespace(journal=journal, control=ControlChannel(ours))
    settings: Any = SimpleNamespace(name="h1", run_directory="/runs/one", algorithm={"name": "local"})
    report_failure(
        settings, agent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/one/nodes/h1.jsonl")
    )
    (message,) = ControlChannel(theirs).receive() or []
    assert message["kind"] == "failed"
    assert message["message"] == "h1: No space left on device: /runs/one/nodes/h1.jsonl"
    assert message["exit_status"] == 3
    assert "make room on the disk that holds /runs/one/nodes" in str(message["remedy"])
    ours.close()
    theirs.close()


def test_any_verb_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.svg").symlink_to(FULL)
    with pytest.raises(SystemExit) as ended:
        main(["export", str(QUICKSTART), "-o", str(tmp_path / "x.svg")])
    assert ended.value.code in (2, 3)
    errors = capsys.readouterr().err
    assert "No space left on device" in errors
    assert "Error" not in errors
