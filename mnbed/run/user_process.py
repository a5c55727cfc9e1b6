"""The process that does everything with a user's files, as that user: `python -m mnbed.run.user_process ORDERS`.

It drops root before it looks at anything, handles one call after the other, and ends when root closes the connection.
Root's end is `user_side.py`, which documents each call.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnbed.errors import Interrupted, MachineError, MnbedError, RunError
from mnbed.run.disk_errors import disk_error
from mnbed.run.user_channel import UserChannel
from node_agent import full_disk
from node_agent.privileges import drop_for_good, end_with_parent

if TYPE_CHECKING:
    from mnbed.experiment.sections import Experiment
    from mnbed.plan.model import Plan
    from mnbed.run_directory import RunDirectory
    from node_agent.control_messages import Status

Answer = tuple[Any, int | None]
"""A result, and an open file that goes with it."""


class UserProcess:
    """Has a method for each call; `self._run` is the run that was created."""

    def __init__(self, channel: UserChannel, refusal: MachineError | None) -> None:
        """`refusal`: why nothing can be done as this user; if it is given, every call is answered with it."""
        self._channel = channel
        self._refusal = refusal
        self._created: RunDirectory | None = None

    def serve(self) -> None:
        """Handle calls until root closes the connection."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                message, _ = self._channel.receive()
                answer, file = self._reply(message)
                self._channel.send(answer, file)
                if file is not None:
                    os.close(file)

    def _reply(self, message: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        handler: Callable[..., Answer] = getattr(self, f"do_{message['call']}")
        try:
            if self._refusal is not None:
                raise self._refusal
            with _interruptible():
                result, file = handler(**message["args"])
            return {"result": result}, file
        except MnbedError as error:
            return _told(error), None
        except OSError as error:
            return _told(disk_error(error, self._created)), None
        except KeyboardInterrupt:
            return _told(Interrupted("interrupted")), None
        except (Exception, SystemExit) as error:
            return _told(RunError(f"internal error: {type(error).__name__}: {error}")), None
        finally:
            sys.stdout.flush()

    @property
    def _run(self) -> RunDirectory:
        if self._created is None:
            raise RunError("there is no run yet")
        return self._created

    # Before the network is built

    def do_load(self, file: str, overrides: list[str], facts: dict[str, Any]) -> Answer:
        from mnbed.experiment.loading import load_experiment, naming
        from mnbed.experiment.sections import resolved
        from mnbed.machine import MachineFacts, require
        from mnbed.plan.make import make_plan
        from mnbed.plan.step_cost import UNMEASURED
        from mnbed.run.step_measurement import needs_step, step_cost
        from mnbed.run.user import invoking_user

        # JSON knows lists only.
        tuples = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
        machine = MachineFacts(**{**facts, **tuples})
        experiment = load_experiment(Path(file), overrides)
        with naming(file):
            plan = make_plan(experiment, machine, UNMEASURED)
            require(machine)
            step = None
            if needs_step(experiment):
                measured = step_cost(experiment, invoking_user(), say=_say)
                step = measured.step
                if measured.complaint is not None:
                    _say(measured.text())
        result = {
            "experiment": resolved(experiment),
            "step": None if step is None else asdict(step),
            "planned_sends": _planned_sends(experiment, plan),
        }
        return result, None

    def do_new_run(self, out: str, name: str, now: str) -> Answer:
        from mnbed.run_directory import new_run_id

        run_id = new_run_id(name, datetime.fromisoformat(now))
        for suffix in ("", *(f"-{number}" for number in range(2, 100))):
            path = Path(out) / (run_id + suffix)
            with _reachable(path):
                try:
                    path.lstat()
                except FileNotFoundError:
                    return {"path": str(path), "absolute": os.path.realpath(path)}, None
        raise MachineError(f"{out} already has 99 runs of this second", "give another --out")

    def do_create_run(self, path: str, experiment: str) -> Answer:
        from mnbed.run_directory import RunDirectory

        run = RunDirectory(Path(path))
        with _reachable(run.path):
            run.create()
        with full_disk.naming(run.experiment):
            run.experiment.write_text(experiment)
        self._created = run
        return None, None

    # During the run

    def do_open_in_run(self, name: str) -> Answer:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return None, os.open(self._run.nodes / Path(name).name, flags, 0o644)

    def do_open_new(self, path: str) -> Answer:
        from mnbed.errors import InputError

        file = Path(path).expanduser()
        if file.is_dir():
            raise InputError(f"{path} is a directory; give a file, such as {file / 'out.pcap'}")
        # Without O_NONBLOCK, opening a named pipe would wait for a reader.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(file, flags, 0o644)
        except OSError as error:
            raise InputError(f"{path}: cannot write a capture there: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{path}: cannot write a capture there: it is not a regular file")
        return None, descriptor

    def do_write_experiment(self, text: str) -> Answer:
        return self._replace(self._run.experiment, text)

    def do_write_environment(self, text: str) -> Answer:
        return self._replace(self._run.environment, text)

    def _replace(self, path: Path, text: str) -> Answer:
        from mnbed.results.files import replacing

        with replacing(path) as partial:
            partial.write_text(text)
        return None, None

    def do_algorithm_digest(self, module: str | None) -> Answer:
        """Identifies the file's content, which may change while its path stays the same."""
        if module is None:
            return None, None
        try:
            return hashlib.sha256(Path(module).read_bytes()).hexdigest()[:16], None
        except OSError:
            return None, None

    def do_revision(self) -> Answer:
        from mnbed.run.revision import git_revision

        return git_revision(), None

    def do_resume(self, name: str, state: str, life: int, status: Status | None) -> Answer:
        from mnbed.run.resume import resume_settings

        return asdict(resume_settings(self._run, name, state, life, status)), None

    def do_tail(self, path: str, node: str, count: int) -> Answer:
        from mnbed.results.log_lines import LogReader
        from mnbed.run_directory import RunDirectory

        return [str(line) for line in LogReader(RunDirectory(Path(path)), [node]).read()[-count:]], None

    # After the network is down

    def do_evaluate(self, keep_snapshots: bool) -> Answer:
        from mnbed.results.evaluate import remove_snapshots, run_evaluation

        def progress(done: int, total: int) -> None:
            self._channel.send({"progress": [done, total]})

        run_evaluation(self._run, progress)
        if not keep_snapshots:
            remove_snapshots(self._run)
        return None, None

    def do_results(self, report: bool) -> Answer:
        from mnbed.results import make_results

        summary = make_results(self._run, report=report)
        return {"summary": asdict(summary), "report": str(self._run.report) if report else None}, None


def _planned_sends(experiment: Experiment, plan: Plan) -> dict[int, tuple[float, int]] | None:
    """Number of peers -> Algorithm.planned_sends, for root, which must not call it. None: not a user's algorithm."""
    from mnbed.experiment.foreign import planned_sends

    settings = experiment.algorithm
    if settings.module is None:
        return None
    return {count: planned_sends(settings, count) for count in {len(host.peers) for host in plan.hosts}}


def _say(text: str) -> None:
    print(text, flush=True)


def _refusal(orders: dict[str, Any]) -> MachineError | None:
    """Drop root; returns what prevents working as that user, if anything does."""
    installed = [path for path in sys.path if os.path.exists(path)]
    try:
        drop_for_good(orders["uid"], orders["gid"], orders["groups"])
    except (OSError, RuntimeError) as error:
        return MachineError(
            f"{getattr(error, 'strerror', None) or error}",
            "a container needs CAP_SETUID, CAP_SETGID and CAP_SETPCAP to drop root",
        )
    end_with_parent(orders["parent"])
    out_of_reach = [path for path in installed if not os.access(path, os.R_OK)]
    if not out_of_reach:
        return None
    return MachineError(
        f"user {_user_name()} cannot read mnbed's own files: {', '.join(out_of_reach)}",
        "install mnbed where every user can read it, for example below /opt",
    )


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[None]:
    """Turns the error for a run directory that cannot be made into a clear message, before anything is built."""
    try:
        yield
    except OSError as error:
        if full_disk.is_full(error):
            raise
        name = _user_name()
        raise MachineError(
            f"{path}: user {name} cannot make a run directory there: {error.strerror}",
            f"give --out a folder that {name} may write to; mnbed writes results as the user who calls it",
        ) from None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets root interrupt what is done inside, with SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _told(error: MnbedError) -> dict[str, Any]:
    """The answer that says so. Call this while the exception is being handled."""
    return {
        "error": {
            "status": error.exit_status,
            "message": error.message,
            "remedy": error.remedy,
            "traceback": error.agent_traceback or traceback.format_exc(),
        }
    }


def main() -> int:
    """Drop root, then serve on the socket that the orders name."""
    orders = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = UserChannel(socket.socket(fileno=orders["channel"]))
    UserProcess(channel, _refusal(orders)).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
