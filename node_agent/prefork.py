"""The warm parent: pays for importing torch and loading the data once, then forks an agent into every host.

Run as `python -m node_agent.prefork`. It speaks JSON lines: on standard input first {"task", "data_root", "seed",
"num_nodes", "uid", "gid", "groups"}, then, as often as agents are wanted, {"agents": [{"pid": of the host's shell,
"settings": {AgentSettings}}]}; on standard output

    loaded   standin, description, step_wall_s, num_parameters, partition
    error    message, remedy, exit_status, traceback
    forked   agents: {name: pid}
    exited   name, pid, status (a negative number is the signal that ended it)

It ends when standard input closes, and takes with it what is left of its children.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from node_agent.agent import run_agent
from node_agent.namespaces import acting_as, drop_root, enter_network_namespace
from node_agent.settings import AgentSettings
from node_agent.tasks import Task, create_task


def say(kind: str, **fields: Any) -> None:
    """One message to the controller."""
    sys.stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def first_line() -> bytes:
    """One line of standard input and not a byte more: `serve` reads the descriptor itself."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def load(orders: dict[str, Any]) -> tuple[Task, list[np.ndarray]]:
    """Load the task and split its data, as the invoking user; warm torch up. Tells the controller what was found."""
    import torch

    from node_agent.training import FlatModel, warm_up

    torch.set_num_threads(1)
    task = create_task(orders["task"], Path(orders["data_root"]), orders["seed"])
    # Standard output is the controller's channel; what a library prints goes to the log.
    with acting_as(orders["uid"], orders["gid"]), contextlib.redirect_stdout(sys.stderr):
        task.load()
    parts = task.partition(orders["num_nodes"])
    step_wall_s = warm_up(task)
    say(
        "loaded",
        standin=task.standin,
        description=task.description,
        step_wall_s=step_wall_s,
        num_parameters=FlatModel(task.make_model()).num_parameters,
        partition=task.partition_table(parts),
    )
    return task, parts


def settle_memory() -> None:
    """Make what exists now cheap to share: children must neither copy its pages nor carry along what is free."""
    gc.collect()
    # What loading needed for a while goes back to the kernel; else every child's share of it counts.
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    # The collector writes into every object it visits, which would copy the page it is on.
    gc.freeze()


def become_agent(
    settings: AgentSettings, shell_pid: int, orders: dict[str, Any], task: Task, part: np.ndarray
) -> int:
    """In the child: enter the host, drop root, send output to the node's log, run."""
    enter_network_namespace(shell_pid)
    drop_root(orders["uid"], orders["gid"], orders["groups"])
    log = Path(settings.run_directory) / "nodes" / f"{settings.name}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # The I/O thread must get a word in between two torch calls of the training thread.
    sys.setswitchinterval(0.0005)
    return run_agent(settings, task, part)


def fork_agents(
    orders: dict[str, Any], agents: list[dict[str, Any]], task: Task, parts: list[np.ndarray]
) -> dict[int, str]:
    """Fork one child per agent; returns pid -> name."""
    children: dict[int, str] = {}
    for agent in agents:
        settings = AgentSettings.from_json(json.dumps(agent["settings"]))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                status = become_agent(settings, agent["pid"], orders, task, parts[settings.index])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                # Not sys.exit: the parent's buffers and exit handlers are not this process's to run.
                os._exit(status)
        children[pid] = settings.name
    return children


def reap(children: dict[int, str]) -> None:
    """Tell the controller of every child that has ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        name = children.pop(pid, None)
        if name is not None:
            say("exited", name=name, pid=pid, status=os.waitstatus_to_exitcode(status))


def serve(orders: dict[str, Any], task: Task, parts: list[np.ndarray]) -> None:
    """Until standard input closes: fork the agents that are asked for, report children that end. Then end the rest."""
    children: dict[int, str] = {}
    asked = b""
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
            *lines, asked = (asked + data).split(b"\n")
            for line in lines:
                forked = fork_agents(orders, json.loads(line)["agents"], task, parts)
                children |= forked
                say("forked", agents={name: pid for pid, name in forked.items()})
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def main() -> int:
    """Load, fork, watch."""
    # Ctrl-C goes to the whole process group of a terminal: the controller decides what it means, not its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    orders = json.loads(first_line())
    try:
        task, parts = load(orders)
    except Exception as error:
        say(
            "error",
            message=str(error) or type(error).__name__,
            remedy=getattr(error, "remedy", None),
            exit_status=3 if getattr(error, "remedy", None) else 2 if isinstance(error, ValueError) else 1,
            traceback=traceback.format_exc(),
        )
        return 1
    settle_memory()
    serve(orders, task, parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
