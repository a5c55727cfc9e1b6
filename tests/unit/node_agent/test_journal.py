"""The journal: whole lines, from many threads, readable after a crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node_agent.journal import Journal, read_journal


def test_records_are_readable_as_soon_as_they_are_written(tmp_path: Path) -> None:
    times = iter([None, 1.25])
    journal = Journal(tmp_path / "h1.jsonl", "h1", lambda: next(times))
    journal.write("ready", pid=7, life=0)
    journal.write("peer_ended", peer="h2")
    assert read_journal(tmp_path / "h1.jsonl") == [
        {"t": None, "node": "h1", "event": "ready", "pid": 7, "life": 0},
        {"t": 1.25, "node": "h1", "event": "peer_ended", "peer": "h2"},
    ]
    journal.close()


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "h1.jsonl", "h1", lambda: 0.0)
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(
            pool.map(
                lambda number: journal.write("peer_lost", peer=str(number), reason="y" * 500), range(2000)
            )
        )
    journal.close()
    assert sorted(int(record["peer"]) for record in read_journal(tmp_path / "h1.jsonl")) == list(range(2000))


def test_a_torn_last_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "h1.jsonl"
    path.write_text('{"event":"a"}\n{"event":"b"}\n{"eve')
    assert [record["event"] for record in read_journal(path)] == ["a", "b"]


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "h1.jsonl"
    path.write_text('{"event":"a"}\nbroken\n{"event":"b"}\n')
    with pytest.raises(ValueError, match=r"h1\.jsonl:2: not a JSON record"):
        read_journal(path)


def test_a_full_disk_is_not_silent() -> None:
    journal = Journal(Path("/dev/full"), "h1", lambda: 0.0)
    with pytest.raises(OSError, match="No space left"):
        journal.write("peer_ended", peer="h2")
    journal.close()
