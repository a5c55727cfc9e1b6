"""Root is given up irrevocably: what is left is read back from the kernel, and every way back is tried."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from node_agent.privileges import drop_for_good, end_with_parent

USER, GROUPS = 65534, [60, 100]


def in_child(work: Callable[[], None]) -> tuple[int, str]:
    """(exit status, output) of a child that does the work."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.dup2(writing, 1)
            work()
            status = 0
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        output = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


def say_status() -> None:
    os.write(1, Path("/proc/thread-self/status").read_bytes())


def fields(output: str) -> dict[str, list[str]]:
    return {key: value.split() for key, _, value in (line.partition(":") for line in output.splitlines())}


@pytest.mark.root
def test_nothing_of_root_is_left() -> None:
    def work() -> None:
        drop_for_good(USER, USER, GROUPS)
        say_status()

    status, output = in_child(work)
    assert status == 0, output
    kept = fields(output)
    assert kept["Uid"] == kept["Gid"] == [str(USER)] * 4
    assert kept["Groups"] == list(map(str, GROUPS))
    assert kept["NoNewPrivs"] == ["1"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(kept[kind][0], 16) == 0, kind


@pytest.mark.root
@pytest.mark.parametrize(
    "way",
    [
        lambda: os.setuid(0),
        lambda: os.seteuid(0),
        lambda: os.setresuid(-1, 0, -1),
        lambda: os.setgid(0),
        lambda: os.setgroups([0]),
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
    ],
    ids=["setuid", "seteuid", "setresuid", "setgid", "setgroups", "setrlimit"],
)
def test_no_call_restores_root(way: Callable[[], None]) -> None:
    def work() -> None:
        drop_for_good(USER, USER, [])
        way()

    status, output = in_child(work)
    assert status == 1
    assert "not permitted" in output or "not allowed to raise" in output, output


@pytest.mark.root
def test_a_set_uid_program_does_not_help() -> None:
    program = Path("/tmp") / f"mnbed-setuid-{os.getpid()}"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)

    def work() -> None:
        drop_for_good(USER, USER, [])
        subprocess.run([str(program), "-u"], check=True)

    try:
        assert in_child(work) == (0, f"{USER}\n")
    finally:
        program.unlink()


@pytest.mark.root
def test_root_itself_keeps_access_to_files_and_nothing_else() -> None:
    def work() -> None:
        drop_for_good(0, 0, [0])
        say_status()

    status, output = in_child(work)
    assert status == 0, output
    kept = fields(output)
    assert kept["NoNewPrivs"] == ["1"]
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert int(kept[kind][0], 16) == 0b110, kind  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@pytest.mark.root
def test_root_without_all_of_its_rights_keeps_what_it_has() -> None:
    """Containers' root has no CAP_DAC_READ_SEARCH, unless asked for."""
    code = (
        "from node_agent.privileges import drop_for_good\n"
        "drop_for_good(0, 0, [0])\nprint(open('/proc/self/status').read())"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-all", sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(fields(done.stdout)["CapPrm"][0], 16) == 0b010


def test_who_is_not_root_stays_who_it_is() -> None:
    def work() -> None:
        if os.geteuid() == 0:
            os.setresuid(USER, USER, USER)
        drop_for_good(7, 7, [7])
        say_status()

    status, output = in_child(work)
    assert status == 0, output
    assert fields(output)["NoNewPrivs"] == ["1"]
    assert "7" not in fields(output)["Uid"]


def test_it_ends_with_its_parent() -> None:
    """A child's child sees its own end in a pipe whose other end only it holds."""
    reading, writing = os.pipe()

    def work() -> None:
        parent = os.getpid()
        begun_reading, begun_writing = os.pipe()
        if os.fork() == 0:
            end_with_parent(parent)
            os.write(begun_writing, b"x")
            while True:
                os.read(begun_reading, 0)
        os.read(begun_reading, 1)

    assert in_child(work)[0] == 0
    os.close(writing)
    assert os.read(reading, 1) == b""  # would wait for ever
    os.close(reading)
