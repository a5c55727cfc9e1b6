"""The process that handles a user's files, as root uses it: what it does, and what it cannot do to root."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mnbed.errors import InputError, Interrupted, MachineError, RunError
from mnbed.run.user import User
from mnbed.run.user_channel import UserChannel
from mnbed.run.user_side import UserSide
from node_agent.privileges import drop_for_good
from tests.machines import SMALL
from tests.unit.mnbed.results.builder import RunBuilder


@pytest.fixture
def side() -> Iterator[UserSide]:
    with UserSide.start() as made:
        yield made


@pytest.fixture
def run(side: UserSide, tmp_path: Path) -> Path:
    path, absolute = side.new_run(tmp_path / "runs", "Some Name", datetime(2026, 11, 20, 21, 30))
    assert path == absolute == tmp_path / "runs" / "20261120-213000-some-name"
    side.create_run(path, "name: some\n")
    return path


def test_a_run_directory_is_made_and_written(side: UserSide, run: Path) -> None:
    assert (run / "experiment.yaml").read_text() == "name: some\n"
    side.write_environment("{}\n")
    assert (run / "environment.json").read_text() == "{}\n"
    log = side.open_in_run("parent.log")
    os.write(log, b"one\n")
    assert os.pread(log, 10, 0) == b"one\n"
    os.close(log)
    assert (run / "nodes" / "parent.log").read_text() == "one\n"
    assert sorted(path.name for path in run.iterdir()) == [
        *("environment.json", "experiment.yaml", "nodes", "plots", "snapshots")
    ]


def test_a_second_run_of_the_same_second_gets_another_name(side: UserSide, run: Path) -> None:
    path, _ = side.new_run(run.parent, "Some Name", datetime(2026, 11, 20, 21, 30))
    assert path.name == "20261120-213000-some-name-2"


@pytest.mark.parametrize("out", ["/proc/runs", "file/runs"])
def test_if_no_run_directory_can_be_made_the_remedy_is_another_folder(
    side: UserSide, out: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    def make() -> None:
        path, _ = side.new_run(tmp_path / out, "x", datetime.now())
        side.create_run(path, "")

    with pytest.raises(MachineError) as error:
        make()
    assert "cannot make a run directory there" in error.value.message
    assert "--out" in str(error.value.remedy)


def test_an_experiment_comes_as_data(side: UserSide, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("compute: {step_time: 20ms}\ntime: {dilation: 1}\n")
    loaded = side.load(tmp_path / "x.yaml", ["seed=5"], SMALL)
    assert (loaded.experiment.seed, loaded.step) == (5, None)
    with pytest.raises(InputError, match="did you mean seed"):
        side.load(tmp_path / "x.yaml", ["sed=5"], SMALL)


def test_only_regular_files_are_written_to(side: UserSide, run: Path) -> None:
    """A pipe in place of a log would make root wait for its reader."""
    os.mkfifo(run / "nodes" / "parent.log")
    with pytest.raises(RunError, match="no file"):
        side.open_in_run("parent.log")


def test_a_link_in_the_place_of_a_log_is_not_followed(side: UserSide, run: Path, tmp_path: Path) -> None:
    (run / "nodes" / "parent.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match=r"parent\.log"):
        side.open_in_run("parent.log")
    assert not (tmp_path / "elsewhere").exists()


def test_its_end_is_an_error_not_a_wait(side: UserSide) -> None:
    os.kill(side.pid, signal.SIGKILL)
    with pytest.raises(RunError, match="the user's process was killed by SIGKILL"):
        side.revision()


def test_a_bug_in_a_call_is_reported_and_the_process_survives(side: UserSide) -> None:
    with pytest.raises(RunError, match="there is no run yet"):
        side.write_environment("")
    with pytest.raises(RunError, match="TypeError"):
        side._ask("tail", nonsense=1)
    assert isinstance(side.revision(), str | None)


def test_logs_are_read_by_it(side: UserSide, tmp_path: Path) -> None:
    builder = RunBuilder(path=tmp_path / "run")
    builder.build()
    lines = side.tail(builder.path, "h1", 2)
    assert len(lines) == 2
    assert all("h1" in line for line in lines)


def test_an_interrupt_breaks_off_what_it_does_and_leaves_it_usable() -> None:
    """As Ctrl-C does during the evaluation: the answer to the old question must not pass for that to the next."""
    ours, theirs = socket.socketpair()
    asked: list[str] = []

    def serve() -> None:
        channel = UserChannel(theirs)
        channel.receive()
        channel.send({"progress": [1, 2]})
        interrupted.wait(10)
        channel.send({"progress": [2, 2]})
        channel.send({"result": "old"})
        asked.append(channel.receive()[0]["call"])
        channel.send({"result": "new"})

    class Process:
        def send_signal(self, number: int) -> None:
            assert number == signal.SIGINT
            interrupted.set()

    interrupted = threading.Event()
    side = object.__new__(UserSide)
    side._lock, side._channel = threading.Lock(), UserChannel(ours)
    side._process = Process()  # type: ignore[assignment]
    thread = threading.Thread(target=serve)
    thread.start()

    def interrupt(_done: float, _total: float) -> None:
        raise Interrupted("interrupted")

    with pytest.raises(Interrupted):
        side.evaluate(False, interrupt)
    assert side.revision() == "new"
    thread.join()
    assert asked == ["revision"]
    ours.close()
    theirs.close()


def test_it_ends_when_root_hangs_up() -> None:
    with UserSide.start() as side:
        began = time.monotonic()
        side.revision()
    assert side._process.returncode == 0
    assert time.monotonic() - began < 50


@pytest.mark.root
def test_it_has_dropped_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    with UserSide.start() as side:
        side.revision()
        status = Path(f"/proc/{side.pid}/status").read_text()
        files = [os.readlink(link) for link in Path(f"/proc/{side.pid}/fd").iterdir()]
    for line in ("Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"):
        assert line in status
    assert sum(file.startswith("socket:") for file in files) == 1


def channels() -> tuple[UserChannel, UserChannel]:
    ours, theirs = socket.socketpair()
    return UserChannel(ours), UserChannel(theirs)


def test_long_messages_and_files_stay_together(tmp_path: Path) -> None:
    one, other = channels()
    (tmp_path / "a").write_text("a")
    messages: list[dict[str, Any]] = [{"x": "y" * 3_000_000}, {"x": 2}, {"x": 3}]

    def send() -> None:
        with (tmp_path / "a").open() as file:
            for message in messages:
                one.send(message, file.fileno() if message["x"] == 2 else None)
        one.close()

    thread = threading.Thread(target=send)
    thread.start()
    found = [other.receive() for _ in messages]
    with pytest.raises(EOFError):
        other.receive()
    thread.join()
    assert [message for message, _ in found] == messages
    (descriptor,) = [file for _, file in found if file is not None]
    assert os.read(descriptor, 10) == b"a"
    os.close(descriptor)
    other.close()


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b"\xff\n"])
def test_nonsense_is_rejected(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(line)
    channel = UserChannel(theirs)
    with pytest.raises(ValueError, match=r"."):
        channel.receive()
    ours.close()
    channel.close()


def test_ctrl_c_ends_a_measurement_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of the user's that never comes to an end, too: here it is an algorithm whose import waits."""
    (tmp_path / "slow.py").write_text("import time\nopen('begun', 'w').close()\ntime.sleep(600)\n")
    (tmp_path / "x.yaml").write_text("algorithm: {name: slow, module: slow.py}\n")
    monkeypatch.chdir(tmp_path)

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with UserSide.start() as side:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            side.load(tmp_path / "x.yaml", [], SMALL)
        thread.join()
        side.revision()  # it is there still


@pytest.mark.root
def test_if_root_cannot_be_given_up_nothing_is_done() -> None:
    """As in a container without CAP_SETPCAP: here, in a child that has lost it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            drop_for_good(0, 0, [0])
            UserSide(User(uid=65534, gid=65534, groups=[], home=Path("/"))).revision()
        except MachineError as error:
            status = 0 if "root cannot be given up" in error.message and error.remedy else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
