"""The verdict: each reason separately, with made-up evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnbed.results import fidelity
from mnbed.results.collect import collect
from mnbed.results.evidence import (
    Applied,
    DelayEvidence,
    Evidence,
    LateFrame,
    MachineEvidence,
    NodeEvidence,
    Probed,
    evidence_of,
)
from mnbed.results.fidelity import judge
from mnbed.results.round_trips import RoundTrip
from tests.unit.mnbed.results.builder import RunBuilder

GOOD_NODE = NodeEvidence(
    name="h1",
    steps=1000,
    overruns=50,
    late_s=0.1,
    frames_rejected=0,
    ended_s=60.1,
    step_time_s=0.02,
    timer_waits=1000,
    timer_late_s=1.9,
)
GOOD_DELAY = DelayEvidence(packets=10_000, late_over_1ms=100, late_max_s=0.0125, lost=0)
GOOD = Evidence(
    status="completed",
    duration_s=60.0,
    nodes=[GOOD_NODE, replace(GOOD_NODE, name="h2")],
    died={},
    delay=GOOD_DELAY,
    problems=[],
    reported=[],
    dilation=2.0,
    bandwidths=[Probed(where="h1 -> s1", asked=10e6, measured=9.6e6)],
    delays=[
        Probed(where="h1 -> s1", asked=0.001, measured=0.0017),
        Probed(where="path h1 -> h2", asked=0.1, measured=0.104),
    ],
    late_frames=[LateFrame(where="h1 -> s1", late_s=0.0099)],
    machine=MachineEvidence(cpu_busy=[0.9, 0.9, 0.9, 0.9, 1.0], run_delay=0.3),
    applied=[Applied(text="h1: killed", planned_s=3.0, late_s=0.049)],
    round_trips=[RoundTrip(node="h1", peer="h2", asked_s=0.004, measured_s=0.0035)],
)


def test_a_good_run_is_faithful() -> None:
    assert judge(GOOD) == fidelity.Verdict(verdict="faithful", reasons=[])


def with_node(**changes: object) -> Evidence:
    return replace(GOOD, nodes=[GOOD_NODE, replace(GOOD_NODE, name="h2", **changes)])  # type: ignore[arg-type]


def with_delay(**changes: object) -> Evidence:
    return replace(GOOD, delay=replace(GOOD_DELAY, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (
            with_node(overruns=52),
            "5.1% of the local steps took longer than step_time (102 of 2,000; at most 5%)",
        ),
        (
            replace(GOOD, slept_wall_s=[83.0, 2.5]),
            "the controller was suspended 2 times, for 85.5 s in total, as by Ctrl-Z",
        ),
        (
            with_node(late_s=2.5),
            "late steps add up to 1.30 emulated s per node on average, 2.2% of the duration (at most 2%); most on h2",
        ),
        (
            with_node(snapshots_late=((10.0, 10.9), (12.0, 14.48))),
            "2 snapshots came late, that of 12 s on h2 shows the model of 14.48 s (taken_s in metrics.csv)",
        ),
        (with_node(frames_rejected=1), "1 frame was rejected as foreign, torn or corrupt, by h2"),
        (with_node(frames_rejected=2), "2 frames were rejected"),
        (
            with_node(descriptor_shortages=1),
            "connections had to wait once for a file descriptor, on h2: raise the limit of open files",
        ),
        (with_node(descriptor_shortages=1200), "connections had to wait 1,200 times for a file descriptor"),
        (
            with_node(not_finite_from=("h1",)),
            "1 frame was refused because values were infinite or NaN: training diverged on h1: lower task.lr",
        ),
        (
            with_node(not_finite_from=("h10", "h3", "h10")),
            "3 frames were refused because values were infinite or NaN: training diverged on h3, h10: lower",
        ),
        (with_node(ended_s=62.0), "1 node ended late, up to 2.00 emulated s after the duration: h2"),
        (
            with_delay(late_over_1ms=121),
            "1.2% of the packets left the NFQUEUE delay more than 1 ms late (121 of 10,000, the worst 12.5 ms",
        ),
        (with_delay(lost=1), "the NFQUEUE delay lost 1 packet because its queue was full"),
        (with_delay(lost=1234), "the NFQUEUE delay lost 1,234 packets"),
        (with_delay(packets=None), "the NFQUEUE delay left no statistics"),
        (
            replace(GOOD, bandwidths=[*GOOD.bandwidths, Probed(where="s1 -> h1", asked=10e6, measured=8e6)]),
            (
                "1 of 2 probed directions do not have the bandwidth asked for (at most 5% off): s1 -> h1 8mbit "
                "instead of 10mbit (-20%)"
            ),
        ),
        (
            replace(GOOD, delays=[Probed(where="h1 -> s1", asked=0.001, measured=0.0018)]),
            "1 of 1 probed delays are not as asked for (at most 0.75 ms or 5% off): h1 -> s1 1.80 ms instead of",
        ),
        (
            replace(GOOD, round_trips=[RoundTrip(node="h1", peer="h2", asked_s=0.004, measured_s=0.0001)]),
            "1 connection had round trips shorter than the links' delays: h1 - h2 0.10 ms instead of 4.00 ms",
        ),
        (
            replace(GOOD, differences=["s1-eth3: rate 5 bit/s instead of 15"]),
            "the shaping was changed from outside during the run: s1-eth3: rate 5 bit/s instead of 15",
        ),
        (
            # VirtualBox with two processors: the shortest time of each link is as asked.
            replace(
                GOOD,
                late_frames=[
                    LateFrame(where="h1 -> s1", late_s=0.0101),
                    LateFrame(where="s1 -> h1", late_s=0.2131),
                    LateFrame(where="h2 -> s1", late_s=0.0001),
                ],
            ),
            "2 of 3 probed links held a frame back for longer than asked (at most 10 ms): s1 -> h1 by 213 ms, h1",
        ),
        (replace(GOOD, machine=MachineEvidence(run_delay=0.4)), "agents waited for a core 40% of the time"),
        (
            replace(GOOD, machine=MachineEvidence(cpu_busy=[0.5, 0.99])),
            "all cores were busy in 50% of the samples (at most 20%)",
        ),
        (
            with_node(timer_late_s=3.0),
            "agents woke up 2.45 emulated ms late on average, 12% of a step (at most 10%)",
        ),
        (
            replace(GOOD, applied=[Applied(text="h1: killed", planned_s=3.0, late_s=0.2)]),
            "1 event came more than 0.05 emulated s late: h1: killed at 3 s by 0.20 s",
        ),
        (replace(GOOD, died={"h2": "h2's agent was killed"}), "1 agent died: h2's agent was killed"),
        (replace(GOOD, nodes=[]), "no node recorded a single local step"),
        (replace(GOOD, status="failed"), "the run failed: see the error"),
        (replace(GOOD, problems=["journal of h2: torn"]), "journal of h2: torn"),
        (replace(GOOD, reported=["interrupted"]), "interrupted"),
    ],
)
def test_each_reason_degrades_the_run(evidence: Evidence, reason: str) -> None:
    verdict = judge(evidence)
    assert verdict.verdict == "degraded"
    (found,) = verdict.reasons
    assert found.startswith(reason)


@pytest.mark.parametrize(
    "evidence",
    [
        with_node(overruns=50),
        with_node(late_s=2.2),
        with_node(ended_s=61.1),
        with_node(ended_s=None),
        replace(GOOD, duration_s=None),
        replace(GOOD, delay=None),
        with_delay(packets=0, late_over_1ms=0),
    ],
)
def test_evidence_within_the_limits_is_not_a_reason(evidence: Evidence) -> None:
    assert judge(evidence).reasons == []


def test_a_death_is_reported_once() -> None:
    cause = "h2's agent was killed by SIGKILL"
    evidence = replace(GOOD, status="failed", died={"h2": cause}, reported=[cause])
    assert judge(evidence).reasons == [cause]


def test_many_names_are_cut_short() -> None:
    nodes = [replace(GOOD_NODE, name=f"h{number}", frames_rejected=1) for number in range(1, 8)]
    (reason,) = judge(replace(GOOD, nodes=nodes)).reasons
    assert reason.endswith("by h1, h2, h3, h4 and 3 more")


def test_evidence_comes_from_the_journals(tmp_path: Path) -> None:
    builder = RunBuilder(
        path=tmp_path / "run",
        overruns_per_round=2,
        late_s_per_round=0.05,
        frames_rejected=1,
        ended_late_s=3.0,
        killed={"h3": 3},
    )
    evidence = evidence_of(collect(builder.build()), "completed")
    by_name = {node.name: node for node in evidence.nodes}
    assert evidence.duration_s == 6.0
    expected = NodeEvidence(
        name="h2",
        steps=30,
        overruns=12,
        late_s=0.05 * 6,
        frames_rejected=1,
        ended_s=9.0,
        step_time_s=by_name["h2"].step_time_s,
    )
    assert replace(by_name["h2"], late_s=expected.late_s) == expected
    assert by_name["h2"].late_s == pytest.approx(expected.late_s)
    # Of a killed agent the last snapshot is known.
    assert (by_name["h3"].steps, by_name["h3"].overruns, by_name["h3"].ended_s) == (15, 6, None)
    assert evidence.died == {"h3": "h3's agent was killed by SIGKILL"}
    kinds = [reason.split()[0] for reason in judge(evidence).reasons]
    assert kinds == ["1", "40.0%", "late", "4", "3"]


def test_what_the_delay_says_comes_from_the_controllers_journal(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", delay_backend="nfqueue", late_packets=30).build()
    delay = evidence_of(collect(run), "completed").delay
    assert delay == DelayEvidence(packets=1000, late_over_1ms=30, late_max_s=0.002, lost=0)


def test_a_delay_that_ended_without_a_word_is_noticed(tmp_path: Path) -> None:
    """As the controller writes it if the process had to be killed."""
    run = RunBuilder(path=tmp_path / "run", delay_backend="nfqueue", late_packets=None).build()
    (reason,) = judge(evidence_of(collect(run), "completed")).reasons
    assert reason.startswith("the NFQUEUE delay left no statistics")


def test_with_netem_nothing_is_asked_of_the_delay(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run", delay_backend="netem").build()
    assert evidence_of(collect(run), "completed").delay is None


def applied(text: str, planned_s: float, **fields: object) -> dict[str, object]:
    return {"kind": "node", "text": text, "entry": 0, "planned_s": planned_s, "late_s": 0.01, **fields}


def test_effects_of_events_are_not_reasons(tmp_path: Path) -> None:
    events = [
        applied("h2 paused", 1.0, host="h2", action="pause"),
        applied("h2 resumes", 3.0, host="h2", action="resume"),
        applied("h3 killed", 3.5, host="h3", action="kill"),
    ]
    run = RunBuilder(
        path=tmp_path / "run", applied=events, late_s_per_round=0.3, overruns_per_round=1
    ).build()
    # Frames torn by that death, and one that another cause tore.
    with run.node_journal("h1").open("a") as file:
        for peer in ("h3", "h3", "h4"):
            file.write(
                f'{{"t": 3.6, "node": "h1", "event": "rejected", "peer": "{peer}", "reason": "torn frame"}}\n'
            )
    evidence = evidence_of(collect(run), "completed")
    late = {node.name: node.late_s for node in evidence.nodes}
    assert late["h1"] - late["h2"] == pytest.approx(min(2.0, late["h1"]))
    assert {node.name: node.frames_rejected for node in evidence.nodes}["h1"] == 1
    assert [event.text for event in evidence.applied] == ["h2 paused", "h2 resumes", "h3 killed"]


def test_models_that_diverged_are_told_from_frames_that_are_corrupt(tmp_path: Path) -> None:
    run = RunBuilder(path=tmp_path / "run").build()
    with run.node_journal("h1").open("a") as file:
        for peer in ("h3", "h3", "h4"):
            file.write(f'{{"t": 3.6, "node": "h1", "event": "not_finite", "peer": "{peer}"}}\n')
    evidence = evidence_of(collect(run), "completed")
    h1 = evidence.nodes[0]
    assert (h1.frames_rejected, h1.not_finite_from) == (0, ("h3", "h3", "h4"))


def test_a_node_paused_at_the_end_may_end_late(tmp_path: Path) -> None:
    pause = applied("h2 paused", 5.0, host="h2", action="pause")
    run = RunBuilder(path=tmp_path / "run", applied=[pause], ended_late_s=3.0).build()
    ended = {node.name: node.ended_s for node in evidence_of(collect(run), "completed").nodes}
    assert ended["h2"] == 6.0
    assert ended["h1"] == pytest.approx(9.0)
