"""From journals to events.jsonl, messages.csv and links.csv: ordered and complete, whatever a crash left behind."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnbed.errors import InputError
from mnbed.results import journals as journals_module
from mnbed.results.collect import collect
from mnbed.results.journals import Merger
from mnbed.results.messages import Ledger
from mnbed.run_directory import RunDirectory
from tests.unit.mnbed.results.builder import DILATION, FRAGMENTS, FRAME_BYTES, RunBuilder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def events(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.events.read_text().splitlines()]


def num_lines(run: RunDirectory) -> int:
    return sum(path.read_bytes().count(b"\n") for path in run.nodes.glob("*.jsonl"))


def test_events_are_all_there_in_order_of_time(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    collected = collect(run)
    found = events(run)
    times = [record["t"] for record in found]
    num_null = times.count(None)
    assert times[:num_null] == [None] * num_null
    assert num_null == 5  # four agents' `ready`, the controller's phase
    assert times[num_null:] == sorted(times[num_null:])
    assert len(found) == num_lines(run) == collected.num_records
    assert {record["node"] for record in found} == {"controller", "h1", "h2", "h3", "h4"}
    assert collected.problems == []


@given(
    journals=st.lists(
        st.lists(st.one_of(st.none(), st.floats(0, 100, allow_nan=False)), max_size=30),
        min_size=1,
        max_size=4,
    ),
    window=st.sampled_from([1, 3, 64]),
    block=st.sampled_from([1, 50, 1 << 16]),
)
def test_merging_keeps_every_record_and_the_order_of_equal_times(
    journals: list[list[float | None]], window: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    merger = Merger()
    expected = []
    for number, times in enumerate(journals):
        path = folder / f"h{number}.jsonl"
        records = [{"t": t, "event": "x", "id": [number, line]} for line, t in enumerate(times)]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        with mock.patch.object(journals_module, "_WINDOW", window):
            assert list(merger.records(path, path.stem)) == records
        expected += records
    expected.sort(key=lambda record: -1.0 if record["t"] is None else record["t"])
    out = io.BytesIO()
    with mock.patch.multiple(journals_module, _WINDOW=window, _BLOCK_BYTES=block):
        merger.write(out)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == expected


def test_a_torn_journal_loses_nothing_and_is_reported(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    journal = run.node_journal("h2")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    collected = collect(run)
    assert collected.problems == ["journal of h2: ends in the middle of a record"]
    (unreadable,) = [record for record in events(run) if record["event"] == "unreadable"]
    assert unreadable["node"] == "h2"
    assert unreadable["text"] == lines[-1][:40].decode()
    assert len(events(run)) == num_lines(run) + 1
    # The end was torn; the last snapshot's totals stand in for it.
    assert collected.nodes["h2"].end is None
    counters = collected.nodes["h2"].counters()
    assert counters is not None
    assert counters.fragments_created == 6 * FRAGMENTS


@pytest.mark.parametrize("damage", [b"\0" * 50, b"[1, 2]", b'{"t": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_line_in_the_middle_costs_only_itself(tmp_path: Path, damage: bytes) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    journal = run.node_journal("h2")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], damage + b"\n", *lines[3:]]))
    collected = collect(run)
    assert collected.problems == ["journal of h2: line 4 is not a record"]
    assert len(events(run)) == num_lines(run)
    assert collected.nodes["h2"].end is not None


def test_records_without_their_fields_are_reported_once(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    with run.node_journal("h2").open("a") as file:
        file.write('{"t": 9.0, "node": "h2", "event": "sent"}\n' * 3)
    assert collect(run).problems == ["journal of h2: a record 'sent' lacks its fields"]


def test_missing_files_are_reported_and_the_rest_is_collected(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    run.environment.unlink()
    run.controller_journal.unlink()
    run.node_journal("h3").write_bytes(b"")
    collected = collect(run)
    assert list(collected.nodes) == ["h1", "h2", "h3", "h4"]
    assert [problem.split(":")[0] for problem in collected.problems] == [
        "environment.json is missing",
        "the controller's journal is missing",
    ]
    assert collected.links == []


def test_a_node_that_left_no_journal_is_still_listed(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    run.node_journal("h3").unlink()
    collected = collect(run)
    assert list(collected.nodes) == ["h1", "h2", "h3", "h4"]
    assert collected.nodes["h3"].counters() is None
    assert collected.problems == ["no journal of h3: never started, or lost"]


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff"])
def test_a_damaged_environment_is_reported(tmp_path: Path, text: bytes) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    run.environment.write_bytes(text)
    assert "environment.json is damaged" in collect(run).problems[0]


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run directory"):
        collect(RunDirectory(tmp_path))


def test_a_fragments_life_comes_together_from_both_sides(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    collect(run)
    by_key = {(r["sender"], r["round"], r["fragment"], r["receiver"]): r for r in rows(run.messages)}
    # h2 ends its second round at 2 s; fragment 0 is the one that h3 averages in.
    assert by_key["h2", "1", "0", "h3"] == {
        "sender": "h2",
        "round": "1",
        "fragment": "0",
        "receiver": "h3",
        "created_s": "2.0",
        "begun_s": "2.0",
        "sent_s": "2.05",
        "dropped_s": "",
        "arrived_s": "2.07",
        "aggregated_s": "2.6",
        "bytes": str(FRAME_BYTES),
    }
    dropped = by_key["h2", "1", str(FRAGMENTS - 1), "h3"]
    assert (dropped["sent_s"], dropped["dropped_s"], dropped["arrived_s"]) == ("", "2.5", "")
    times = [float(row["created_s"]) for row in rows(run.messages)]
    assert times == sorted(times)


def test_the_life_of_fragments_is_counted_by_sender(tmp_path: Path) -> None:
    collected = collect(RunBuilder(path=tmp_path / "run", duration_s=6).build())
    assert collected.life is not None
    others, straggler = collected.life["h2"], collected.life["h1"]
    assert (others.created, others.sent, others.dropped, others.arrived, others.aggregated) == (
        24,
        18,
        6,
        18,
        6,
    )
    assert straggler.created == 12
    assert (others + straggler).created == 36


def test_a_killed_senders_fragments_are_known_from_their_receiver(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    run.node_journal("h2").unlink()
    collect(run)
    (row,) = [r for r in rows(run.messages) if (r["sender"], r["round"], r["fragment"]) == ("h2", "1", "1")]
    assert (row["created_s"], row["begun_s"], row["sent_s"], row["arrived_s"]) == ("", "2.1", "", "2.17")


def test_without_a_ledger_there_is_no_messages_file(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", ledger=False).build()
    assert collect(run).life is None
    assert not run.messages.exists()


def test_links_are_in_emulated_units(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    wire = json.loads(run.environment.read_text())["links"][0]["wire"]["a"]
    assert wire["bandwidth_bps"] == 12e6 / DILATION
    collect(run)
    first, second = rows(run.links)[:2]
    assert (first["a"], first["b"], first["straggler"], second["straggler"]) == ("h1", "s1", "1", "0")
    assert float(first["asked_ab_bandwidth_bps"]) == float(first["readback_ba_bandwidth_bps"]) == 12e6
    assert float(first["asked_ba_delay_s"]) == float(first["readback_ba_delay_s"]) == 0.001
    assert first["asked_ab_queue_packets"] == ""
    assert [first[f"probed_{name}"] for name in ("ab_bandwidth_bps", "ba_delay_s")] == [
        "11900000.0",
        "0.00102",
    ]
    assert (first["backlog_peak_ab_bytes"], first["backlog_peak_ba_bytes"]) == ("3000", "2000")
    assert (first["peak_ab_bps"], first["peak_ba_bps"]) == (str(0.9 * 12e6), "")
    assert (first["bytes_ab"], first["bytes_ba"], first["drops_ab"], first["drops_ba"]) == (
        "5000",
        "6000",
        "0",
        "3",
    )


def test_a_delay_that_no_interface_holds_is_not_read_back(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", delay_backend="nfqueue").build()
    collect(run)
    first = rows(run.links)[0]
    assert (first["asked_ab_delay_s"], first["readback_ab_delay_s"]) == ("0.001", "")
    assert first["readback_ab_queue"] == "25"


def test_collecting_twice_gives_the_same(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    collect(run)
    before = [path.read_bytes() for path in (run.events, run.messages, run.links)]
    collect(run)
    assert [path.read_bytes() for path in (run.events, run.messages, run.links)] == before
    assert not list(run.path.glob("*.partial"))


def test_a_ledger_in_parts_is_the_same_ledger(tmp_path: Path) -> None:
    """Two messages of one key keep their order, too: an answer may send a round to the same peer twice."""
    run = RunBuilder(path=tmp_path / "run", duration_s=20).build()
    records = [
        json.loads(line)
        for path in sorted(run.nodes.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    records += [record for record in records if record["event"] in ("created", "sent", "arrived")]
    written = []
    for num_parts in (1, 2, 7, 60):
        ledger = Ledger(tmp_path, num_parts)
        assert ledger.empty
        for record in records:
            if take := ledger.events.get(record["event"]):
                take(record)
        ledger.write(tmp_path / "messages.csv")
        found = rows(tmp_path / "messages.csv")
        times = [float(row["created_s"] or row["begun_s"]) for row in found]
        assert times == sorted(times)
        life = {name: one.age_s for name, one in ledger.life().items()}
        written.append((sorted(tuple(row.values()) for row in found), life.keys()))
        assert life == pytest.approx({name: one.age_s for name, one in life_of(records).items()})
    assert all(one == written[0] for one in written)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "messages.csv"}


def life_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    ledger = Ledger()
    for record in records:
        if take := ledger.events.get(record["event"]):
            take(record)
    return ledger.life()


_MEASURE = """
import resource, sys
from pathlib import Path
from mnbed.results.collect import collect
from mnbed.run_directory import RunDirectory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
collected = collect(RunDirectory(Path(sys.argv[1])))
assert not collected.problems, collected.problems
print(collected.num_records, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_long_ledger_is_collected_in_little_memory(tmp_path: Path) -> None:
    """In memory, these 12 MB of journals would take 55 MB, and those of an hour of 60 nodes more than a machine has."""
    run = RunBuilder(path=tmp_path / "run").build()
    write_ledger(run, num_nodes=20, num_rounds=300)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(run.path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    num_records, more_mb = map(int, done.stdout.split())
    assert num_records > 20 * 300 * 20
    assert more_mb < 30


def write_ledger(run: RunDirectory, *, num_nodes: int, num_rounds: int) -> None:
    """As agents write it: each sends ten fragments a round, eight of which arrive."""
    names = [f"h{number + 1}" for number in range(num_nodes)]
    for place, name in enumerate(names):
        lines = []
        for number in range(num_rounds):
            t = number + place / num_nodes
            peers = [names[(place + 1 + fragment) % num_nodes] for fragment in range(10)]
            senders = [names[(place - 1 - fragment) % num_nodes] for fragment in range(8)]
            head = {"t": t, "node": name}
            lines.append({**head, "event": "created", "round": number, "sends": list(enumerate(peers))})
            for fragment, peer in enumerate(peers):
                event = {"event": "sent", "begun": t, "bytes": 9000} if fragment < 8 else {"event": "dropped"}
                lines.append({**head, **event, "round": number, "fragment": fragment, "peer": peer})
            for fragment, sender in enumerate(senders):
                frame = {"round": number, "fragment": fragment, "sender": sender, "sent": t, "bytes": 9000}
                lines.append({**head, "event": "arrived", **frame})
            of = [[sender, number, fragment] for fragment, sender in enumerate(senders)]
            lines.append({**head, "event": "aggregated", "round": number, "at": t, "of": of})
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        run.node_journal(name).write_text(text)
