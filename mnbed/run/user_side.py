"""Root's side of everything that concerns a user's files: it asks the user's process, and touches none of them itself.

What comes back is data: it is checked as an experiment file is, and never executed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnbed.errors import RunError, error_from
from mnbed.programs import our_program, wait_or_kill
from mnbed.run.user import User, callers_umask, invoking_user, user_environment
from mnbed.run.user_channel import UserChannel
from node_agent.control_messages import Status
from node_agent.failures import end_in_words
from node_agent.settings import ResumeSettings

if TYPE_CHECKING:
    from mnbed.experiment.sections import Experiment
    from mnbed.machine import MachineFacts
    from mnbed.plan.step_cost import StepCost
    from mnbed.results.summary import Summary

_END_PATIENCE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An experiment, checked as the user, by code of his where it has an algorithm of his own."""

    experiment: Experiment
    step: StepCost | None
    """What a local step costs here, where the plan depends on it."""


class UserSide:
    """A process that has dropped root for good. One call at a time; threads wait for each other."""

    def __init__(self, user: User) -> None:
        """Start it before any of the user's files is opened."""
        self.user = user
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        with theirs:
            orders = {
                "uid": user.uid,
                "gid": user.gid,
                "groups": user.groups,
                "channel": theirs.fileno(),
                "parent": os.getpid(),
            }
            self._process = subprocess.Popen(
                our_program("mnbed.run.user_process", json.dumps(orders)),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                umask=callers_umask(),
                env={**os.environ, **user_environment(user)},
                # A terminal's Ctrl-C is root's to handle.
                start_new_session=True,
            )
        self._channel = UserChannel(ours)

    @classmethod
    @contextlib.contextmanager
    def start(cls) -> Iterator[UserSide]:
        """For the user who called mnbed; ends with the block."""
        side = cls(invoking_user())
        try:
            yield side
        finally:
            side.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self._channel.close()
        wait_or_kill(self._process, _END_PATIENCE_S)

    # What it does

    def load(self, file: Path, overrides: Sequence[str], facts: MachineFacts) -> Loaded:
        """The experiment in a file, with a step timed where that is needed. Raises InputError, MachineError."""
        from pydantic import TypeAdapter

        from mnbed.experiment.sections import parse
        from mnbed.plan.step_cost import StepCost

        found = self._ask("load", file=str(file), overrides=list(overrides), facts=asdict(facts))
        # Never None, whatever comes: here no file of the user's is imported.
        sends = {int(count): value for count, value in (found["planned_sends"] or {}).items()}
        experiment = parse(found["experiment"], sends)
        step: StepCost | None = TypeAdapter(StepCost | None).validate_python(found["step"])
        return Loaded(experiment=experiment, step=step)

    def new_run(self, out: Path, name: str, now: datetime) -> tuple[Path, Path]:
        """A place in `out` for a run, as the user wrote it and resolved; nothing is made yet. Raises MachineError."""
        found = self._ask("new_run", out=str(out), name=name, now=now.isoformat())
        return Path(found["path"]), Path(found["absolute"])

    def create_run(self, path: Path, experiment: str) -> None:
        """Make that directory, with the resolved experiment in it. Raises MachineError."""
        self._ask("create_run", path=str(path), experiment=experiment)

    def open_in_run(self, name: str) -> int:
        """A file of the run's nodes folder, open to append to and to read. Raises MachineError."""
        return self._open("open_in_run", name=name)

    def open_new(self, path: Path) -> int:
        """A file to write to, emptied. Raises InputError."""
        return self._open("open_new", path=str(path))

    def write_experiment(self, text: str) -> None:
        """experiment.yaml of the run once more. Raises MachineError."""
        self._ask("write_experiment", text=text)

    def write_environment(self, text: str) -> None:
        """environment.json of the run. Raises MachineError."""
        self._ask("write_environment", text=text)

    def algorithm_digest(self, module: str | None) -> str | None:
        """Of the file that holds the user's own algorithm; None where there is none, or it cannot be read."""
        found = self._ask("algorithm_digest", module=module)
        return None if found is None else str(found)

    def revision(self) -> str | None:
        """Of mnbed's source, which may be the user's, and so may what git runs on the way."""
        found = self._ask("revision")
        return None if found is None else str(found)

    def resume(self, name: str, state: str, life: int, status: Status | None) -> ResumeSettings:
        """Where an agent goes on that was killed: see mnbed.run.resume."""
        return ResumeSettings(**self._ask("resume", name=name, state=state, life=life, status=status))

    def evaluate(self, keep_snapshots: bool, progress: Callable[[float, float], None]) -> None:
        """Score the run's snapshots. Raises RunError; any other exception ends the evaluation before it travels on."""
        self._ask("evaluate", progress, keep_snapshots=keep_snapshots)

    def results(self, report: bool) -> tuple[Summary, Path | None]:
        """Tables, summary.json and, if wanted, the page, whose path it returns."""
        from pydantic import TypeAdapter

        from mnbed.results.summary import Summary

        found = self._ask("results", report=report)
        summary: Summary = TypeAdapter(Summary).validate_python(found["summary"])
        return summary, None if found["report"] is None else Path(found["report"])

    def tail(self, path: Path, node: str, count: int) -> list[str]:
        """The last lines of a node's log in that run. Raises RunError."""
        return [str(line) for line in self._ask("tail", path=str(path), node=node, count=count)]

    # How

    def _open(self, call: str, **args: Any) -> int:
        with self._lock:
            _, file = self._exchange(call, None, args)
        if file is None or not stat.S_ISREG(os.fstat(file).st_mode):
            raise RunError(f"{call}: the user's process gave no file")
        return file

    def _ask(self, call: str, progress: Callable[[float, float], None] | None = None, /, **args: Any) -> Any:
        with self._lock:
            result, file = self._exchange(call, progress, args)
        if file is not None:
            os.close(file)
        return result

    def _exchange(
        self, call: str, progress: Callable[[float, float], None] | None, args: dict[str, Any]
    ) -> tuple[Any, int | None]:
        try:
            self._channel.send({"call": call, "args": args})
            message, file = self._answer(progress)
        except (EOFError, ConnectionError, ValueError):
            raise RunError(f"{call}: {self._end()}") from None
        except BaseException:  # a signal, most likely
            self._break_off()
            raise
        if "error" in message:
            error = message["error"]
            remedy, traceback = error.get("remedy"), error.get("traceback")
            raise error_from(error["status"], str(error["message"]), remedy, traceback)
        return message["result"], file

    def _answer(
        self, progress: Callable[[float, float], None] | None = None
    ) -> tuple[dict[str, Any], int | None]:
        """The message that ends a call."""
        while True:
            message, file = self._channel.receive()
            if "progress" not in message:
                return message, file
            if progress is not None:
                done, total = map(float, message["progress"])
                progress(done, total)

    def _break_off(self) -> None:
        """Have it stop what it does, and read what it still says of it; without an answer it ends for good."""
        self._process.send_signal(signal.SIGINT)
        self._channel.be_patient(_END_PATIENCE_S)
        try:
            _, file = self._answer()
            if file is not None:
                os.close(file)
        except (OSError, EOFError, ValueError):
            self._process.kill()
        finally:
            self._channel.be_patient(None)

    def _end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"the user's process {end_in_words(self._process.wait(_END_PATIENCE_S))}"
        return "the user's process does not answer"
