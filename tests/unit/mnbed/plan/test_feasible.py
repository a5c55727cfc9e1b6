"""What a machine's facts allow: the delay backend, and how many hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnbed.errors import MachineError
from mnbed.experiment.sections import Experiment, NetworkSettings
from mnbed.machine import MachineFacts
from mnbed.plan import feasible
from mnbed.plan.properties import LinkProperties
from topologies.burst_loss import BurstLoss

ASKING = {
    choice: Experiment(network=NetworkSettings(delay_backend=choice))
    for choice in ("auto", "netem", "nfqueue")
}
DELAYED = LinkProperties(bandwidth_bps=1e6, delay_s=0.001)
JITTERY = replace(DELAYED, jitter_s=0.001)
LOSSY = LinkProperties(bandwidth_bps=1e6, loss=0.1)
BURSTY = LinkProperties(bandwidth_bps=1e6, burst_loss=BurstLoss(p=0.1, r=0.5))


@pytest.mark.parametrize(
    ("asked", "netem", "nfqueue", "chosen"),
    [
        ("auto", True, True, "netem"),
        ("auto", True, False, "netem"),
        ("auto", False, True, "nfqueue"),
        ("auto", None, True, "nfqueue"),
        # Nothing is known without root: the plan takes the usual kernel for granted.
        ("auto", None, None, "netem"),
        ("auto", None, False, "netem"),
        ("auto", False, False, None),
        ("auto", False, None, None),
        ("netem", True, False, "netem"),
        ("netem", None, True, "netem"),
        ("netem", False, True, None),
        ("nfqueue", True, True, "nfqueue"),
        ("nfqueue", True, None, "nfqueue"),
        ("nfqueue", True, False, None),
    ],
)
def test_the_delay_backend(asked: str, netem: bool | None, nfqueue: bool | None, chosen: str | None) -> None:
    facts = MachineFacts(netem=netem, nfqueue=nfqueue)
    if chosen is None:
        with pytest.raises(MachineError) as error:
            feasible.delay_backend(ASKING[asked], [DELAYED], facts)
        assert error.value.remedy
    else:
        assert feasible.delay_backend(ASKING[asked], [DELAYED], facts) == chosen


@pytest.mark.parametrize("asked", ["auto", "netem", "nfqueue"])
def test_nothing_to_delay_needs_no_backend(asked: str) -> None:
    facts = MachineFacts(netem=False, nfqueue=False)
    assert feasible.delay_backend(ASKING[asked], [LinkProperties(bandwidth_bps=1e6)], facts) == "none"


@pytest.mark.parametrize("link", [JITTERY, LOSSY, BURSTY])
def test_both_backends_know_jitter_and_loss(link: LinkProperties) -> None:
    assert feasible.delay_backend(ASKING["auto"], [link], MachineFacts(netem=True)) == "netem"
    assert (
        feasible.delay_backend(ASKING["auto"], [link], MachineFacts(netem=False, nfqueue=True)) == "nfqueue"
    )


@pytest.mark.parametrize(("link", "what"), [(DELAYED, "delay"), (LOSSY, "loss"), (BURSTY, "burst_loss")])
def test_properties_that_need_a_missing_backend_are_named(link: LinkProperties, what: str) -> None:
    with pytest.raises(
        MachineError, match=f"a link {what} was asked for, .* neither netem nor a usable NFQUEUE"
    ):
        feasible.delay_backend(ASKING["auto"], [link], MachineFacts(netem=False, nfqueue=False))


def test_overtaking_needs_netem() -> None:
    link = replace(DELAYED, reorder=0.1)
    assert feasible.delay_backend(ASKING["auto"], [link], MachineFacts(netem=True)) == "netem"
    with pytest.raises(MachineError, match=r"link\.reorder: the backend nfqueue cannot do this") as error:
        feasible.delay_backend(ASKING["auto"], [DELAYED, link], MachineFacts(netem=False, nfqueue=True))
    assert "sch_netem" in str(error.value.remedy)
    with pytest.raises(MachineError, match="nfqueue cannot do"):
        feasible.delay_backend(ASKING["nfqueue"], [link], MachineFacts(netem=True, nfqueue=True))


def test_netem_cannot_go_back_to_a_uniform_distribution() -> None:
    uniform = replace(JITTERY, distribution="uniform")
    feasible.check_distributions([uniform], [uniform], "netem")
    feasible.check_distributions([JITTERY], [uniform], "nfqueue")
    with pytest.raises(MachineError, match="becomes uniform"):
        feasible.check_distributions([JITTERY], [uniform], "netem")


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (MachineFacts(open_files=1024, memory_bytes=10**12), "open files"),
        (MachineFacts(open_files=10**6, memory_bytes=2 * 10**9), "free memory"),
    ],
)
def test_too_many_hosts_says_how_many_would_do(facts: MachineFacts, what: str) -> None:
    with pytest.raises(MachineError, match=what) as error:
        feasible.check_size(Experiment(), 500, 1, facts)
    possible = int(error.value.message.rsplit("enough for ", 1)[1].split()[0])
    assert 0 < possible < 500
    feasible.check_size(Experiment(), possible, 1, facts)
    with pytest.raises(MachineError):
        feasible.check_size(Experiment(), possible + 1, 1, facts)


def test_in_a_complete_overlay_an_agent_needs_files_for_its_peers() -> None:
    """Two connections with each."""
    assert feasible.open_files(505, 1, 504) >= 256 + 2 * 504
    assert feasible.open_files(10, 1, 5000) > 10_000
    assert feasible.open_files(505, 1, 6) > 505 * 8
    complete = Experiment()
    with pytest.raises(MachineError, match=r"600 hosts need about 6,\d\d\d open files.* has 4,096") as error:
        feasible.check_size(complete, 600, 1, MachineFacts(open_files=4096))
    assert "ulimit" in str(error.value.remedy)


def test_unknown_limits_refuse_nothing() -> None:
    feasible.check_size(Experiment(), 60_000, 1, MachineFacts(open_files=0, memory_bytes=0))


def test_an_unknown_kernel_may_have_any_congestion_control() -> None:
    feasible.check_congestion_control(Experiment(), MachineFacts(congestion_controls=()))
    with pytest.raises(MachineError):
        feasible.check_congestion_control(Experiment(), MachineFacts(congestion_controls=("reno",)))
