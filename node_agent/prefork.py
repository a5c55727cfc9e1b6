"""The warm parent: imports torch once, has the data loaded once, then forks an agent into every host.

Entering a host takes root, so this process stays root and therefore touches nothing of the user's: a child that has
dropped root loads the data and packs it into an anonymous file; this process warms torch up on noise of the same shape
and passes the file on unread; every agent drops root before it maps the file.

Run as `python -m node_agent.prefork`. It speaks JSON lines: on standard input first {"task", "data_root", "seed",
"num_nodes", "uid", "gid", "groups", "home", "umask"}, then, as often as wanted, {"agents": [{"pid": of the host's
shell, "settings": {AgentSettings}}]} or {"signal": number, "pid": of an agent}; on standard output

    loaded   standin, description, step_wall_s, num_parameters, partition
    error    message, remedy, exit_status, traceback
    forked   agents: {name: pid}
    exited   name, pid, status (a negative number is the signal that ended it)

It ends when standard input closes, and kills the remaining children.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
from typing_extensions import Unpack

from node_agent import control_messages as messages
from node_agent.agent import report_failure, run_agent
from node_agent.failures import end_in_words
from node_agent.namespaces import enter_network_namespace
from node_agent.packing import pack, unpack
from node_agent.privileges import drop_for_good, end_with_parent
from node_agent.reports import report_of
from node_agent.settings import AgentSettings
from node_agent.tasks import Task, create_task

# The loading child's report is a table of nodes and classes at most.
_MAX_REPORT_BYTES = 64 << 20
# No data set has more pixels per side, classes, users or items than this.
_MAX_SIZE = 1 << 24


class LoadingFailed(Exception):
    """What the loading child reported instead of data; `report` is the message for the controller."""

    def __init__(self, report: messages.Report) -> None:
        super().__init__(str(report["message"]))
        self.report = report


@overload
def say(kind: Literal["loaded"], /, **fields: Unpack[messages.Loaded]) -> None: ...
@overload
def say(kind: Literal["forked"], /, **fields: Unpack[messages.Forked]) -> None: ...
@overload
def say(kind: Literal["exited"], /, **fields: Unpack[messages.Exited]) -> None: ...
@overload
def say(kind: Literal["error"], /, **fields: Unpack[messages.LoadingFailed]) -> None: ...
def say(kind: str, /, **fields: Any) -> None:
    """Send a message to the controller."""
    sys.stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def first_line() -> bytes:
    """One line of standard input and not a byte more: `serve` reads the descriptor itself."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def become_user(orders: dict[str, Any], parent: int) -> None:
    """In a child: drop root for good, and take on the user's umask and home."""
    drop_for_good(orders["uid"], orders["gid"], orders["groups"])
    end_with_parent(parent)
    os.umask(orders["umask"])
    os.environ["HOME"] = orders["home"]


# Loading


class Loader:
    """The child that loads the data."""

    def __init__(self, orders: dict[str, Any]) -> None:
        """Starts the child."""
        self.descriptor = os.memfd_create("mnbed-data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._reading, writing = os.pipe()
        self._pid = fork_child(lambda parent: _load(orders, parent, self.descriptor, writing))
        os.close(writing)

    def wait(self) -> dict[str, Any]:
        """The child's report on the data, which `descriptor` then holds, sealed. Raises LoadingFailed."""
        with os.fdopen(self._reading, "rb") as pipe:
            text = pipe.read(_MAX_REPORT_BYTES)
        _, status = os.waitpid(self._pid, 0)
        try:
            report: dict[str, Any] = json.loads(text)
            if "message" in report:
                raise LoadingFailed(cast("messages.Report", report))
            # It must not change while others have it mapped.
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        except (ValueError, OSError):
            ended = end_in_words(os.waitstatus_to_exitcode(status))
            message = f"the process that loads the data {ended}"
            raise LoadingFailed(
                {"message": message, "remedy": None, "exit_status": 1, "traceback": ""}
            ) from None
        return report


def _load(orders: dict[str, Any], parent: int, descriptor: int, writing: int) -> int:
    """In the child: write the task and its parts to `descriptor`, and a report to `writing`."""
    # Standard output is the controller's channel; what a library prints goes to the log.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        become_user(orders, parent)
        task = create_task(orders["task"], Path(orders["data_root"]), orders["seed"])
        task.load()
        parts = task.partition(orders["num_nodes"])
        pack((task, parts), descriptor)
        report: dict[str, Any] | messages.Report = {
            "standin": task.standin,
            "description": task.description,
            "data_shape": task.data_shape,
            "partition": task.partition_table(parts),
        }
    except Exception as error:
        report = report_of(error)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(report).encode())
    return 0


def prepare(orders: dict[str, Any]) -> int:
    """Have the data loaded, make torch ready, tell the controller; returns the descriptor of the packed data.

    Raises LoadingFailed.
    """
    import torch

    from node_agent.training import FlatModel, warm_up

    torch.set_num_threads(1)
    # After the import, which is expensive: the child needs torch, too, if torchvision reads the data.
    loader = Loader(orders)
    report = loader.wait()
    shape = [int(size) for size in report["data_shape"]]
    if not all(1 <= size <= _MAX_SIZE for size in shape):
        raise ValueError(f"cannot train on data of shape {shape}")
    task = create_task(orders["task"], Path(orders["data_root"]), orders["seed"])
    task.load_generated(shape)
    step_wall_s = warm_up(task)
    say(
        "loaded",
        standin=bool(report["standin"]),
        description=str(report["description"]),
        step_wall_s=step_wall_s,
        num_parameters=FlatModel(task.make_model()).num_parameters,
        partition=report["partition"],
    )
    return loader.descriptor


def settle_memory() -> None:
    """Make what exists now cheap to share: children must neither copy its pages nor inherit free memory."""
    gc.collect()
    # Return to the kernel what warming up needed only for a while; otherwise every child is charged for it.
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    # The collector writes into every object it visits, which would copy the page it is on.
    gc.freeze()


# Agents


def fork_child(work: Callable[[int], int]) -> int:
    """Run `work(pid of this process)` in a child, with its result as exit status; returns the child's pid."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = work(parent)
    except BaseException:
        with contextlib.suppress(OSError):  # the log's disk may be full
            traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        # Not sys.exit: the parent's buffers and exit handlers must not be run here.
        os._exit(status)


def become_agent(
    settings: AgentSettings, shell_pid: int, orders: dict[str, Any], packed: int, parent: int
) -> int:
    """In the child: enter the host, drop root, redirect output to the node's log, map the data, run."""
    enter_network_namespace(shell_pid)
    become_user(orders, parent)
    try:
        task, part = _settle_in(settings, packed)
    except Exception as error:
        report_failure(settings, None, error)
        raise
    # The I/O thread must get a turn between two torch calls of the training thread.
    sys.setswitchinterval(0.0005)
    return run_agent(settings, task, part)


def _settle_in(settings: AgentSettings, packed: int) -> tuple[Task, np.ndarray]:
    """Redirect output to the node's log and close inherited descriptors; returns the agent's task and data."""
    log = Path(settings.run_directory) / "nodes" / f"{settings.name}.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    os.dup2(os.open(log, flags, 0o644), 1)
    os.dup2(1, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(packed, 3)
    # Descriptors that root opened must not reach a user's code.
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    task: Task
    parts: list[np.ndarray]
    task, parts = unpack(3)
    os.close(3)
    return task, parts[settings.index]


def fork_agents(orders: dict[str, Any], agents: list[dict[str, Any]], packed: int) -> dict[int, str]:
    """Fork one child per agent; returns pid -> name."""
    children: dict[int, str] = {}
    for agent in agents:
        settings, shell = AgentSettings.from_json(json.dumps(agent["settings"])), int(agent["pid"])
        pid = fork_child(
            lambda parent, settings=settings, shell=shell: (  # type: ignore[misc]
                become_agent(settings, shell, orders, packed, parent)
            )
        )
        children[pid] = settings.name
    return children


def reap(children: dict[int, str]) -> None:
    """Tell the controller about every child that has ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        name = children.pop(pid, None)
        if name is not None:
            say("exited", name=name, pid=pid, status=os.waitstatus_to_exitcode(status))


def follow(request: dict[str, Any], orders: dict[str, Any], packed: int, children: dict[int, str]) -> None:
    """Carry out a request of the controller; `orders` came before, with what all agents share."""
    if "agents" in request:
        forked = fork_agents(orders, request["agents"], packed)
        children |= forked
        say("forked", agents={name: pid for pid, name in forked.items()})
    # A child keeps its pid until it is reaped: the signal cannot hit another process.
    elif request["pid"] in children:
        os.kill(request["pid"], request["signal"])


def serve(orders: dict[str, Any], packed: int) -> None:
    """Until standard input closes, carry out requests and report children that end; then kill the rest."""
    children: dict[int, str] = {}
    received = b""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        reap(children)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                break
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                follow(json.loads(line), orders, packed, children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def main() -> int:
    """Load the data, fork agents, report their ends."""
    # Ctrl-C goes to the whole process group of a terminal: the controller decides what it means, not its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    orders = json.loads(first_line())
    try:
        packed = prepare(orders)
    except LoadingFailed as error:
        say("error", **error.report)
        return 1
    except Exception as error:
        say("error", **report_of(error))
        return 1
    settle_memory()
    serve(orders, packed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
