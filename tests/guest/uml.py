"""Runs one command under Debian's user-mode-linux, a Linux kernel that is an ordinary process.

Tests of netem need it where the host's kernel has no sch_netem. The guest sees the host's files under a throw-away
overlay, so it runs the same Python and the same checkout and leaves nothing behind. It has one processor, its own
network stack without any way out, and slow system calls: do not measure throughput in it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INIT = Path(__file__).with_name("init.sh")
_BEGIN = "mnbed-guest: begin\n"
_STATUS = re.compile(r"\n?mnbed-guest: status (\d+)\n")


class GuestError(Exception):
    """The guest could not run the command to its end: the message says why and ends with its console."""


@dataclass(frozen=True)
class GuestResult:
    """What the command left: exit status, and standard output and error as one text."""

    returncode: int
    output: str


def find_kernel() -> str:
    """Path of the guest kernel's executable; GuestError with the remedy where there is none."""
    kernel = shutil.which("linux.uml") or shutil.which("linux.uml", path="/usr/bin")
    if kernel is None:
        raise GuestError("user-mode-linux is not installed\n  remedy: sudo ./install.sh --dev")
    return kernel


def run_in_guest(
    command: Sequence[str],
    timeout_s: float,
    memory: str = "1024M",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> GuestResult:
    """Boot a guest, run `command` in it as root, power it off.

    The command starts in `cwd` (default: the current directory) with a minimal environment plus `env`.
    GuestError when the guest does not boot or is not done after `timeout_s` seconds; it is killed then.
    """
    kernel = find_kernel()
    # The kernel's command line separates by spaces: this folder's name has none, whatever the checkout's has.
    with tempfile.TemporaryDirectory(prefix="mnbed-guest-", dir="/tmp") as folder:
        shutil.copy(_INIT, f"{folder}/init.sh")
        Path(folder, "command.sh").write_text(_script(command, env or {}, cwd or Path.cwd()))
        arguments = [
            kernel,
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=/bin/sh"),
            *(f"mem={memory}", "con=null", "con0=fd:0,fd:1", "quiet", f"uml_dir={folder}/"),
            *("--", f"{folder}/init.sh", folder),
        ]
        console = _run_kernel(arguments, _memory_folder(memory), timeout_s)
    return _parse(console)


def _script(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> str:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return "\n".join([*exports, f"cd {shlex.quote(str(cwd))} || exit 127", f"exec {shlex.join(command)}", ""])


def _memory_folder(memory: str) -> str:
    """A folder for the guest's memory, which is one unlinked file mapped executable: large enough, not noexec.

    In containers /dev/shm has often 64 MB only, and a guest that outgrows its file dies by SIGBUS.
    """
    needed_bytes = int(memory.removesuffix("M")) << 20
    candidates = ["/dev/shm", tempfile.gettempdir(), "/var/tmp"]
    for folder in candidates:
        if not os.path.isdir(folder):
            continue
        status = os.statvfs(folder)
        if status.f_bavail * status.f_frsize >= needed_bytes and not status.f_flag & os.ST_NOEXEC:
            return folder
    raise GuestError(f"no room for a guest of {memory} in {', '.join(candidates)}")


def _run_kernel(arguments: list[str], memory_folder: str, timeout_s: float) -> str:
    """The console of a whole guest life. Its processes share one session, and all of them are gone afterwards."""
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.defpath, "TMPDIR": memory_folder},
        start_new_session=True,
    )
    try:
        console, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        _kill_group(process.pid)
        raise GuestError(f"not done after {timeout_s:g} s\n{_text(late.stdout or b'')}") from None
    finally:
        _kill_group(process.pid)
        process.communicate()
    return _text(console)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _text(console: bytes) -> str:
    return console.decode(errors="replace").replace("\r\n", "\n")


def _parse(console: str) -> GuestResult:
    _, begin, output = console.partition(_BEGIN)
    statuses = list(_STATUS.finditer(output))
    if not begin or not statuses:
        raise GuestError(f"the guest stopped before its command was done\n{console[-4000:]}")
    return GuestResult(int(statuses[-1][1]), output[: statuses[-1].start()])
