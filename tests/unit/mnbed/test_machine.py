"""Real probing, and judging made-up facts: doctor's lines, and what a run needs to start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mnbed import machine
from mnbed.commands import doctor
from mnbed.errors import MachineError
from mnbed.machine import MachineFacts, checks, probe, require, unknown
from tests import machines

GOOD = replace(
    machines.SMALL,
    cores=4,
    memory_bytes=8 * 10**9,
    open_files=10**6,
    kernel="6.1.0",
    bfifo=True,
    sysctl=True,
    nfqueue=True,
    congestion_controls=("cubic",),
)


def test_this_machine() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("/proc is hidden here")
    facts = probe()
    assert facts.cores >= 1
    assert 0 < facts.memory_bytes < 2**50
    assert facts.open_files >= 256
    assert facts.kernel
    assert "cubic" in facts.congestion_controls or "reno" in facts.congestion_controls


@pytest.mark.root
def test_as_root_nothing_is_unknown() -> None:
    assert unknown(probe()) == []


@pytest.mark.root
def test_what_probing_says_of_qdiscs_is_what_tc_says() -> None:
    facts = probe()
    for kind, options in (("netem", "delay 1ms"), ("htb", "default 1"), ("bfifo", "limit 9999")):
        done = subprocess.run(
            ["unshare", "--net", "sh", "-c", f"tc qdisc add dev lo root {kind} {options}"],
            capture_output=True,
            check=False,
        )
        assert getattr(facts, kind) is (done.returncode == 0)


@pytest.mark.root
def test_probing_leaves_nothing_behind() -> None:
    before = Path("/proc/net/dev").read_text().count("\n")
    probe()
    assert Path("/proc/net/dev").read_text().count("\n") == before
    assert "mnbed" not in Path("/proc/net/dev").read_text()


def test_trials_that_failed_without_root_prove_nothing() -> None:
    output = "htb 0\nnetem 2\n"
    as_root = machine._read_trials(output, root=True)
    assert (as_root["htb"], as_root["netem"], as_root["veth"]) == (True, False, None)
    as_user = machine._read_trials(output, root=False)
    assert (as_user["htb"], as_user["netem"], as_user["veth"]) == (True, None, None)


def test_a_good_machine_passes() -> None:
    require(GOOD)
    assert unknown(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words", "remedy"),
    [
        ({"root": False}, "root is missing", "sudo"),
        ({"mnexec": None}, "mnexec is missing", "apt-get install mininet"),
        ({"mininet": None}, "Mininet is missing", "install.sh"),
        ({"htb": False}, "tc htb is missing", "linux-modules-extra"),
        ({"sysctl": False}, "/proc/sys is missing", "--privileged"),
        ({"bridge": False}, "bridge is missing", "iproute2"),
        ({"netem": False, "nfqueue": False}, "delay is missing", "iptables"),
    ],
)
def test_what_a_run_cannot_do_without(change: dict[str, object], words: str, remedy: str) -> None:
    with pytest.raises(MachineError, match=words) as error:
        require(replace(GOOD, **change))  # type: ignore[arg-type]
    assert error.value.exit_status == 3
    assert remedy in str(error.value.remedy)


def test_everything_missing_is_listed_at_once() -> None:
    with pytest.raises(MachineError) as error:
        require(replace(GOOD, root=False, htb=False))
    assert "root is missing" in error.value.message
    assert "tc htb is missing" in error.value.message


@pytest.mark.parametrize(
    "change",
    [{"netem": False}, {"nfqueue": False}, {"u32": False, "openvswitch": None}, {"htb": None}],
)
def test_a_run_does_without_the_rest(change: dict[str, object]) -> None:
    require(replace(GOOD, **change))  # type: ignore[arg-type]


def test_unknowns_are_named() -> None:
    facts = replace(GOOD, htb=None, netem=None, nfqueue=None)
    assert unknown(facts) == ["tc htb", "delay"]


def test_every_missing_thing_has_a_remedy() -> None:
    for check in checks(
        MachineFacts(htb=False, netem=False, veth=False, bridge=False, nfqueue=False, open_files=64)
    ):
        if check.ok is False:
            assert check.remedy, check.name


@pytest.mark.parametrize(
    ("virtualbox", "cores", "warned"), [(True, 2, True), (True, 1, False), (False, 2, False)]
)
def test_virtualbox_with_several_processors_is_warned_of(
    virtualbox: bool,
    cores: int,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = replace(GOOD, virtualbox=virtualbox, cores=cores)
    require(facts)
    monkeypatch.setattr(machine, "probe", lambda: facts)
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert ("warning VirtualBox" in said) is warned
    assert ("MNBED_CPUS=1" in said) is warned
    assert ("may not be faithful: VirtualBox" in said) is warned


_RAISED = """
import resource, subprocess, sys
from mnbed.machine import probe, raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
print(probe().open_files)
try:
    raise_open_files({wanted})
except Exception as error:
    print(type(error).__name__, str(error).replace(chr(10), " "))
subprocess.run([sys.executable, "-c", "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"])
"""


def raised(wanted: int, *before: str) -> list[str]:
    done = subprocess.run(
        [*before, sys.executable, "-u", "-c", _RAISED.format(wanted=wanted)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_what_is_started_after_raising_the_limit_has_it() -> None:
    assert raised(400)[1:] == ["400 512"]
    assert raised(100)[1:] == ["256 512"]


@pytest.mark.root
def test_root_raises_the_hard_limit_too() -> None:
    if not machine._may_raise_limits():
        pytest.skip("root has no CAP_SYS_RESOURCE here")
    assert raised(5000)[1:] == ["5000 5000"]
    assert int(raised(5000)[0]) == int(Path("/proc/sys/fs/nr_open").read_text())


@pytest.mark.root
def test_root_of_a_container_without_the_capability_gets_a_message() -> None:
    may_not = ("setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")
    possible, message, limits = raised(5000, *may_not)
    assert possible == "512"
    assert message.startswith("MachineError a process of this run needs 5,000 open files, but at most 512")
    assert "remedy: raise the limit" in message
    assert limits == "256 512"
