"""`mnbed logs`: journals and text logs as one, in time order, also while they grow."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from mnbed.cli import main
from mnbed.results.log_lines import LogReader
from mnbed.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    found = RunDirectory(tmp_path / "run")
    found.create()
    found.experiment.write_text("name: x\n")
    journal(found, "controller", (None, "phase", {"name": "building"}), (None, "phase", {"name": "training"}))
    journal(
        found, "h1", (None, "ready", {"pid": 7}), (1.5, "round", {"round": 1}), (2.5, "sent", {"peer": 3})
    )
    journal(found, "h2", (0.5, "peer_lost", {"peer": "h1"}), (2.0, "error", {"message": "no"}))
    found.node_log("h2").write_text(
        "2026-11-21 10:00:00,1 t=1.700 h2 ERROR node_agent.agent: the agent failed\n"
        "Traceback (most recent call last):\n"
        "  File x\n"
        "2026-11-21 10:00:00,1 t=- h2 INFO node_agent.agent: begins\n"
    )
    return found


def journal(run: RunDirectory, node: str, *records: tuple[float | None, str, dict[str, object]]) -> None:
    with run.node_journal(node).open("a") as file:
        for t, event, fields in records:
            file.write(json.dumps({"t": t, "node": node, "event": event, **fields}) + "\n")


def texts(run: RunDirectory, *nodes: str, level: str = "INFO") -> list[str]:
    return [line.text for line in LogReader(run, nodes, level).read()]


def test_lines_come_in_time_order_with_those_before_the_start_first(run: RunDirectory) -> None:
    assert texts(run) == [
        "phase name=building",
        "phase name=training",
        "ready pid=7",
        "node_agent.agent: begins",
        "peer_lost peer=h1",
        "round round=1",
        "node_agent.agent: the agent failed",
        "Traceback (most recent call last):",
        "  File x",
        "error message=no",
    ]


def test_levels_and_nodes(run: RunDirectory) -> None:
    assert "sent peer=3" in texts(run, level="DEBUG")
    assert texts(run, "h2", level="WARNING")[0] == "peer_lost peer=h1"
    assert texts(run, "h1", level="WARNING") == []
    assert texts(run, "h1") == ["ready pid=7", "round round=1"]
    assert texts(run, "controller", "h1")[:2] == ["phase name=building", "phase name=training"]


def test_only_new_lines_are_returned_and_an_incomplete_line_waits(run: RunDirectory) -> None:
    reader = LogReader(run)
    reader.read()
    assert reader.read() == []
    with run.node_journal("h1").open("a") as file:
        file.write('{"t": 9.0, "node": "h1", "event": "round", "rou')
        file.flush()
        assert reader.read() == []
        file.write('nd": 2}\n')
    assert [line.text for line in reader.read()] == ["round round=2"]


def test_a_damaged_line_is_shown(run: RunDirectory) -> None:
    with run.node_journal("h1").open("a") as file:
        file.write("nonsense\n")
        file.write('{"t": 3, "no')
    reader = LogReader(run)
    assert "unreadable: 'nonsense'" in [line.text for line in reader.read()]
    (torn,) = reader.rest()
    assert torn.level == "ERROR"
    assert '{"t": 3, "no' in torn.text


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["logs", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_command(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = shown(capsys, str(run.path), "--node", "h2", "--level", "error")
    assert status == 0
    assert out.splitlines()[-1].split() == ["2.000", "h2", "ERROR", "error", "message=no"]


def test_following_ends_with_the_run(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    def go_on() -> None:
        time.sleep(0.5)
        # A node whose line comes late in the file system's eyes, but not in time.
        journal(run, "h1", (5.0, "round", {"round": 4}))
        journal(run, "h2", (4.0, "round", {"round": 3}))
        time.sleep(0.5)
        journal(run, "controller", (None, "torn_down", {}))

    writer = threading.Thread(target=go_on)
    writer.start()
    status, out, _ = shown(capsys, str(run.path), "--follow")
    writer.join()
    assert status == 0
    assert out.index("round=3") < out.index("round=4")
    assert "torn_down" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{run}", "--node", "h7"), "no such node in"),
        (("{run}", "--level", "loud"), "allowed: debug, info, warning, error"),
        (("{run}/nodes",), "is not a run directory"),
        (("/nonexistent",), "no such directory"),
    ],
)
def test_bad_input(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    status, _, err = shown(capsys, *(argument.replace("{run}", str(run.path)) for argument in arguments))
    assert status == 2
    assert words in err


def test_a_run_that_wrote_nothing_is_not_passed_over_in_silence(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in run.nodes.iterdir():
        path.unlink()
    status, out, err = shown(capsys, str(run.path))
    assert (status, out) == (2, "")
    assert "no node has written anything" in err


def test_a_file_is_distinguished_from_a_missing_directory(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = shown(capsys, str(run.experiment))
    assert status == 2
    assert "a file, not a run directory" in err
