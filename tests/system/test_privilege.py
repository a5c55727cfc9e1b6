"""Root builds the network and nothing else: a whole run of an ordinary user, watched from /proc and from inside the
user's own code, and with symbolic links planted for root to follow.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnbed.programs import our_program
from tests.system.conftest import QUICKSTART, marked_processes, sets, wait_until
from tests.unit.node_agent.test_image_tasks import make_folder

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

ANN, ANNS, LAB = 4242, 4243, 4300
"""A user, the user's own group, and another group that the user is in."""
EASY = ("time.dilation=1", "compute.step_time=40ms", "network.topology.nodes=3", "network.stragglers.count=0")
SHORT = (*EASY, "time.duration=3s", "evaluate.every=1s", "evaluate.samples=50")
DEGREE = "algorithm.degree=2"

# A user's algorithm that records, wherever it is imported, with whose rights that happens.
SPY = '''
import os
import pathlib

from node_agent.algorithms.local import Local as _Local
from node_agent.algorithms import AlgorithmSettings

_SPIED = pathlib.Path({spied!r})
_words = pathlib.Path("/proc/self/cmdline").read_bytes().split(bytes(1))
_what = next((w.decode() for w in _words if w.startswith((b"mnbed.", b"node_agent", b"plan"))), "other")
(_SPIED / (_what + "-" + str(os.getpid()))).write_text(pathlib.Path("/proc/thread-self/status").read_text())


class Spy(_Local):
    """Sends nothing."""
'''


@dataclass
class Ann:
    """An ordinary user of this machine, who calls mnbed through sudo."""

    home: Path

    @property
    def spied(self) -> Path:
        return self.home / "spied"

    def start(
        self, *arguments: str, umask: int = 0o022, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        # In a mount namespace of its own: the user exists only in there.
        enter = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", enter, str(self.home / "etc")]
        return subprocess.Popen(
            [*command, *our_program("mnbed.cli", *arguments)],
            cwd=self.home,
            env={**os.environ, "SUDO_UID": str(ANN), "SUDO_GID": str(ANNS), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            umask=umask,
        )

    def finish(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        try:
            output, errors = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert "Traceback" not in errors, errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def __call__(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.finish(self.start(*arguments, **more))

    def run(self, *overrides: str, out: str | None = None, **more: Any) -> subprocess.Popen[str]:
        where = [] if out is None else ["--out", out]
        own = any(text.startswith("algorithm.module=") for text in overrides)
        given = sets(*SHORT, *([] if own else [DEGREE]), *overrides)
        return self.start("run", str(QUICKSTART), *where, *given, **more)

    def directory(self, out: str = "runs") -> Path:
        (experiment,) = (self.home / out).glob("*/experiment.yaml")
        return experiment.parent

    def wait_for_round(self, out: str = "runs") -> Path:
        def there() -> bool:
            journals = list((self.home / out).glob("*/nodes/h*.jsonl"))
            return len(journals) == 3 and all('"event":"round"' in path.read_text() for path in journals)

        wait_until(there, "the run did not get that far")
        return self.directory(out)


@pytest.fixture(scope="module")
def ann() -> Iterator[Ann]:
    home = Path("/tmp") / f"mnbed-ann-{os.getpid()}"
    etc = home / "etc"
    etc.mkdir(parents=True)
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    (etc / "passwd").write_text(f"{passwd}ann:x:{ANN}:{ANNS}::{home}:/bin/sh\n")
    (etc / "group").write_text(f"{group}anns:x:{ANNS}:\nlab:x:{LAB}:ann\n")
    lab = home / "lab"
    make_folder(lab / "images", num=60)
    (home / "spied").mkdir()
    (home / "spy.py").write_text(SPY.format(spied=str(home / "spied")))
    # mnbed is called from this folder; nothing in it may be imported in place of the real modules.
    trap = SPY.split("class Spy")[0].replace("_what +", "'trap' +").format(spied=str(home / "spied"))
    for name in ("json", "random", "mininet", "yaml", "torch", "mnbed", "sitecustomize"):
        (home / f"{name}.py").write_text(trap.replace("from node_agent", "# from node_agent"))
    for path in (home, home / "spied"):
        os.chown(path, ANN, ANNS)
    # Only the group can read the data.
    os.chown(lab, 0, LAB)
    lab.chmod(0o750)
    yield Ann(home)
    shutil.rmtree(home)


@dataclass
class Finished:
    """A finished run that several tests check."""

    ann: Ann
    run: Path
    done: subprocess.CompletedProcess[str]
    processes: dict[int, Process]
    """The run's processes while it trained."""


@dataclass
class Process:
    command: str
    parent: int
    status: dict[str, list[str]]
    files: list[str]
    """Files that it has open."""


def status_fields(text: str) -> dict[str, list[str]]:
    return {key: value.split() for key, _, value in (line.partition(":") for line in text.splitlines())}


def descendants(root: int) -> dict[int, Process]:
    everyone = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = status_fields((folder / "status").read_text())
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                files = [os.readlink(link) for link in (folder / "fd").iterdir()]
            except OSError:
                continue
            everyone[int(folder.name)] = Process(command, int(status["PPid"][0]), status, files)
    family = {root}
    while more := {pid for pid, process in everyone.items() if process.parent in family} - family:
        family |= more
    return {pid: everyone[pid] for pid in family if pid in everyone}


@pytest.fixture(scope="module")
def finished(ann: Ann) -> Finished:
    """Everything at once: umask 077, the default folder, a group's data, an own algorithm, a node that restarts."""
    process = ann.run(
        "task.name=image_folder",
        f"task.path={ann.home}/lab/images",
        "task.model=mlp",
        "task.partition.kind=iid",
        "task.local_steps=4",
        f"algorithm.module={ann.home}/spy.py",
        "algorithm.name=spy",
        "network.events=[{at: 1s, node: h2, action: kill}, {at: 2s, node: h2, action: restart}]",
        umask=0o077,
    )
    run = ann.wait_for_round()
    processes = descendants(process.pid)
    return Finished(ann, run, ann.finish(process), processes)


def assert_is_ann(status: dict[str, list[str]], what: str) -> None:
    assert status["Uid"] == [str(ANN)] * 4, what
    assert status["Gid"] == [str(ANNS)] * 4, what
    assert sorted(status["Groups"]) == sorted([str(ANNS), str(LAB)]), what
    assert status["NoNewPrivs"] == ["1"], what
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind][0], 16) == 0, (what, kind)


def test_with_umask_077_every_file_is_the_users(finished: Finished) -> None:
    assert finished.done.returncode == 0, finished.done.stderr
    runs = finished.ann.home / "runs"
    paths = [runs, *runs.rglob("*")]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in paths} == {(ANN, ANNS)}
    assert {path.lstat().st_mode & 0o077 for path in paths} == {0}
    assert (finished.run / "report.html").stat().st_size > 0
    assert json.loads((finished.run / "summary.json").read_text())["status"] == "completed"
    assert str(finished.run.relative_to(finished.ann.home)) in finished.done.stdout


def test_a_killed_node_comes_back(finished: Finished) -> None:
    records = map(json.loads, (finished.run / "nodes" / "h2.jsonl").read_text().splitlines())
    assert [record["life"] for record in records if record["event"] == "ready"] == [0, 1]


def test_every_process_is_wholly_root_or_wholly_the_user(finished: Finished) -> None:
    users = {
        pid: process for pid, process in finished.processes.items() if process.status["Uid"] != ["0"] * 4
    }
    for pid, process in users.items():
        assert_is_ann(process.status, f"{pid}: {process.command}")
    commands = [process.command for process in users.values()]
    assert sum("node_agent.prefork" in command for command in commands) == 3
    assert any("mnbed.run.user_process" in command for command in commands)


def test_root_opens_no_file_of_the_users_but_those_it_was_given(finished: Finished) -> None:
    roots = [process for process in finished.processes.values() if process.status["Uid"] == ["0"] * 4]
    assert any("mnbed.cli" in process.command for process in roots)
    assert any("node_agent.prefork" in process.command for process in roots)
    home = str(finished.ann.home)
    held = {Path(file).name for process in roots for file in process.files if file.startswith(home)}
    assert held == {"controller.jsonl", "parent.log"}


def test_agents_hold_no_file_of_roots(finished: Finished) -> None:
    for process in finished.processes.values():
        if process.status["Uid"][0] == str(ANN) and "node_agent.prefork" in process.command:
            named = [
                file for file in process.files if file.startswith("/") and not file.startswith("/dev/null")
            ]
            others = [file for file in named if not file.startswith(str(finished.ann.home))]
            # The data that the loader has made for them, sealed.
            assert others == ["/memfd:mnbed-data (deleted)"]


def test_the_users_code_runs_as_the_user_wherever_it_runs(finished: Finished) -> None:
    statuses = {path.name: status_fields(path.read_text()) for path in finished.ann.spied.iterdir()}
    for name, status in statuses.items():
        assert_is_ann(status, name)
    kinds = [name.rsplit("-", 1)[0] for name in statuses]
    assert kinds.count("node_agent.prefork") == 4  # three agents, one of them restarted
    assert "mnbed.run.user_process" in kinds  # planning
    assert "trap" not in kinds


@pytest.mark.parametrize("verb", ["plan", "report"])
def test_other_verbs_give_root_back(finished: Finished, verb: str) -> None:
    ann = finished.ann
    for path in ann.spied.iterdir():
        path.unlink()
    argument = finished.run if verb == "report" else finished.run / "experiment.yaml"
    done = ann(verb, str(argument))
    assert done.returncode == 0, done.stderr
    assert {path.lstat().st_uid for path in finished.run.rglob("*")} == {ANN}
    statuses = [status_fields(path.read_text()) for path in ann.spied.iterdir()]
    assert statuses
    for status in statuses:
        assert_is_ann(status, verb)


def test_compare_writes_as_the_user(finished: Finished) -> None:
    done = finished.ann("compare", str(finished.run), "--anyway")
    assert done.returncode == 0, done.stderr
    assert {path.lstat().st_uid for path in (finished.ann.home / "compare").rglob("*")} == {ANN}


PLANTED = (
    *("events.jsonl.partial", "metrics.csv.partial", "links.csv.partial", "summary.json.partial"),
    *("report.html.partial", "environment.json.partial", "messages.csv.partial"),
    *("events.jsonl", "metrics.csv", "links.csv", "summary.json", "report.html", "evaluation.jsonl"),
)


def test_planted_links_lead_root_nowhere(ann: Ann) -> None:
    """Whoever may write into the run directory puts links in place of every file and folder that will be written."""
    vault = ann.home / "vault"
    vault.mkdir()
    targets = [vault / name for name in PLANTED]
    for target in targets:
        target.write_text("root's own\n")
        target.chmod(0o600)
    for folder in ("plots", "snapshots"):
        (vault / folder).mkdir()
    vault.chmod(0o700)

    process = ann.run(out="planted")
    run = ann.wait_for_round("planted")
    for target in targets:
        (run / target.name).unlink(missing_ok=True)
        (run / target.name).symlink_to(target)
    for folder in ("plots", "snapshots"):
        (run / folder).rename(run / f"{folder}-before")
        (run / folder).symlink_to(vault / folder)
    done = ann.finish(process)
    assert done.returncode == 0 or re.search(r"^mnbed: error: ", done.stderr, re.MULTILINE), done.stderr
    assert f"run directory: planted/{run.name}" in done.stdout
    again = ann("report", str(run))
    assert "internal" not in again.stderr
    for target in targets:
        assert target.read_text() == "root's own\n", target
        assert (target.stat().st_uid, target.stat().st_mode & 0o777) == (0, 0o600), target
    assert not list((vault / "plots").iterdir())
    assert not list((vault / "snapshots").iterdir())
    assert sorted(path.name for path in vault.iterdir()) == sorted([*PLANTED, "plots", "snapshots"])
    wait_until(lambda: marked_processes() == [], "processes stay")


def test_a_planted_partial_file_costs_nothing(ann: Ann) -> None:
    target = ann.home / "precious"
    target.write_text("root's own\n")
    process = ann.run(out="partial")
    run = ann.wait_for_round("partial")
    for name in ("events.jsonl.partial", "summary.json.partial", "report.html.partial"):
        (run / name).symlink_to(target)
    done = ann.finish(process)
    assert done.returncode == 0, done.stderr
    assert target.read_text() == "root's own\n"
    assert not list(run.glob("*.partial"))


def test_a_folder_out_of_reach_is_reported_before_anything_is_built(ann: Ann) -> None:
    closed = ann.home / "closed"
    closed.mkdir(mode=0o700)
    for out in (closed / "runs", Path("/proc/runs")):
        began = time.monotonic()
        done = ann.finish(ann.run(out=str(out)))
        assert done.returncode == 3, done.stderr
        assert str(out) in done.stderr
        assert "ann" in done.stderr
        assert "remedy: give --out a folder" in done.stderr
        assert "loading data" not in done.stdout
        assert time.monotonic() - began < 30
    assert not list(closed.iterdir())


def test_a_file_of_roots_is_not_read_for_the_user(ann: Ann) -> None:
    secret = ann.home / "secret.yaml"
    secret.write_text("name: secret\n")
    secret.chmod(0o600)
    for verb in ("run", "plan", "sweep", "cli"):
        done = ann(verb, str(secret))
        assert done.returncode == 2, (verb, done.stderr)
        assert "Permission denied" in done.stderr, verb


def test_an_installation_that_the_user_cannot_read_is_reported(ann: Ann) -> None:
    """A checkout in root's home, say: neither the user's part of mnbed nor the agents could be imported."""
    packages = ann.home / "packages"
    packages.mkdir(mode=0o700)
    done = ann("run", str(QUICKSTART), env={"PYTHONPATH": str(packages)})
    assert done.returncode == 3, done.stderr
    assert f"user ann cannot read mnbed's own files: {packages}" in done.stderr
    assert "remedy: install mnbed where every user can read it" in done.stderr


def test_agents_as_programs_of_their_own_are_the_users(ann: Ann) -> None:
    process = ann.run("agents.launch=exec", "time.duration=2s", out="exec")
    run = ann.wait_for_round("exec")
    users = [child for child in descendants(process.pid).values() if child.status["Uid"][0] != "0"]
    assert ann.finish(process).returncode == 0
    agents = [child for child in users if "node_agent" in child.command]
    assert len(agents) == 3
    for agent in agents:
        assert_is_ann(agent.status, agent.command)
    assert {path.lstat().st_uid for path in run.rglob("*")} == {ANN}


def test_a_sweep_is_the_users_but_for_its_networks(ann: Ann) -> None:
    base, file = ann.home / "base.yaml", ann.home / "two.yaml"
    base.write_text(QUICKSTART.read_text())
    changes = {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in (*SHORT, DEGREE))}
    file.write_text(
        yaml.safe_dump({"base": "base.yaml", "set": {**changes, "time.duration": "20s"}, "seeds": [1, 2]})
    )
    process = ann.start("sweep", str(file), "--no-report")
    directory = ann.home / "runs" / "two"
    wait_until(lambda: any(directory.glob("*/nodes/h1.jsonl")), "no agent")
    running = descendants(process.pid)
    process.terminate()
    done = ann.finish(process)
    assert done.returncode == 130, done.stdout + done.stderr
    assert "continues from here" in done.stderr
    sweeping = [child for child in running.values() if "mnbed.cli sweep" in child.command]
    assert sorted(child.status["Uid"][0] for child in sweeping) == ["0", str(ANN)]
    for child in sweeping:
        if child.status["Uid"][0] != "0":
            assert_is_ann(child.status, child.command)
    assert {path.lstat().st_uid for path in [directory, *directory.rglob("*")]} == {ANN}
    index = json.loads((directory / "sweep.json").read_text())["runs"]
    assert [entry["status"] for entry in index] == ["interrupted", None]
    wait_until(lambda: marked_processes() == [], "processes stay")
