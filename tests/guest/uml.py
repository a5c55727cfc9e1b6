"""Runs one command under Debian's user-mode-linux, a Linux kernel that is an ordinary process.

Tests of netem need it where the host's kernel has no sch_netem. The guest sees the host's files under a throw-away
overlay, so it runs the same Python and the same checkout and leaves nothing behind. It has one processor, its own
network stack without any way out, and slow system calls: do not measure throughput in it.

A processor with more registers than the guest kernel has room for makes it panic at its first process. It then boots
again with the old registers only (old_registers.py), where nothing may use AVX. The panic itself is what decides: how
large the registers are depends on processor, hypervisor and kernel; on machines where they fit, nothing is given up.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INIT = Path(__file__).with_name("init.sh")
_BEGIN = "mnbed-guest: begin\n"
_STATUS = re.compile(r"\n?mnbed-guest: status (\d+)\n")
_SET_UP_FAILED = "mnbed-guest: cannot set up the guest"
_OLD_REGISTERS = Path(__file__).with_name("old_registers.py")
_REGISTERS_OUTGROWN = re.compile(r"ptrace [gs]et fp ?regs failed")
# Lines of the console that say why the guest ended, the most telling first.
_REASONS = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^mnbed-guest: (lacks .*)",
        r"^(.*ptrace.*(?:fail|not permitted).*)",
        r"(Kernel panic.*)",
    )
]
# What glibc calls the features whose variants of memcpy, strlen and the like use AVX.
_GLIBC_AVX = (
    *("AVX", "AVX2", "AVX512F", "AVX512VL", "AVX512BW", "AVX512CD", "AVX512DQ", "RTM"),
    *("AVX_Fast_Unaligned_Load", "Prefer_No_VZEROUPPER"),
)

_registers_outgrown = False
"""This machine's registers have been seen not to fit: later guests need not panic first."""


class GuestError(Exception):
    """The guest could not finish the command: the message says why and ends with the guest's console."""


class GuestCannotBootError(GuestError):
    """This machine cannot run a guest at all, whatever the command: the message is one line that says why."""


@dataclass(frozen=True)
class GuestResult:
    """What the command left: exit status, and standard output and error as one text."""

    returncode: int
    output: str


def find_kernel() -> str:
    """Path of the guest kernel's executable. Raises GuestCannotBootError, with the remedy, if there is none."""
    kernel = shutil.which("linux.uml") or shutil.which("linux.uml", path="/usr/bin")
    if kernel is None:
        raise GuestCannotBootError("user-mode-linux is not installed (sudo ./install.sh --dev)")
    return kernel


def run_in_guest(
    command: Sequence[str],
    timeout_s: float,
    memory: str = "1024M",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    old_registers: bool = False,
) -> GuestResult:
    """Boot a guest, run `command` in it as root, power it off.

    The command starts in `cwd` (default: the current directory) with a minimal environment plus `env`. `old_registers`:
    as on a processor whose registers do not fit. Raises GuestCannotBootError if the guest never starts the command;
    GuestError if the command is not done after `timeout_s` seconds, when it is killed, or if the guest ends before it.
    """
    global _registers_outgrown
    kernel = find_kernel()
    # Spaces separate the words of the kernel's command line: unlike the checkout's path, this folder's has none.
    with tempfile.TemporaryDirectory(prefix="mnbed-guest-", dir="/tmp") as folder:
        shutil.copy(_INIT, f"{folder}/init.sh")
        Path(folder, "command.sh").write_text(_script(command, env or {}, cwd or Path.cwd()))

        def boot(old_registers: bool) -> str:
            arguments = [
                *(sys.executable, "-I", "-S", str(_OLD_REGISTERS)) * old_registers,
                kernel,
                *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=/bin/sh"),
                *(f"mem={memory}", "con=null", "con0=fd:0,fd:1", "quiet", f"uml_dir={folder}/"),
                # Options that the guest kernel does not know become the environment of its first process.
                *(f"{name}={value}" for name, value in (_without_avx() if old_registers else {}).items()),
                *("--", f"{folder}/init.sh", folder),
            ]
            return _run_kernel(arguments, _memory_folder(memory), timeout_s)

        console = boot(old_registers or _registers_outgrown)
        if _BEGIN not in console and _REGISTERS_OUTGROWN.search(console):
            _registers_outgrown = True
            console = boot(old_registers=True)
    return _parse(console)


def _without_avx() -> dict[str, str]:
    """An environment in which glibc, numpy, OpenSSL and torch keep to SSE.

    The guest kernel would lose the upper halves of AVX registers whenever it switches between processes.
    """
    import numpy

    # Only what numpy dispatches here: it refuses to disable its baseline, and warns about what the processor lacks.
    dispatched = numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{feature}" for feature in _GLIBC_AVX),
        "NPY_DISABLE_CPU_FEATURES": ",".join(dispatched),
        # Bit 60 is AVX; the features of the second word (AVX2, AVX-512, ...) all off.
        "OPENSSL_ia32cap": "~0x1000000000000000:0",
        "OPENBLAS_CORETYPE": "Nehalem",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    }


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
    raise GuestCannotBootError(f"no room for a guest of {memory} in {', '.join(candidates)}")


def _run_kernel(arguments: list[str], memory_folder: str, timeout_s: float) -> str:
    """All that one guest wrote to its console. Its processes share one session; none of them is left afterwards."""
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "TMPDIR": memory_folder},
            start_new_session=True,
        )
    except OSError as error:
        raise GuestCannotBootError(f"{arguments[0]} cannot be run: {error.strerror}") from None
    try:
        console, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        _kill_group(process.pid)
        so_far = _text(late.stdout or b"")
        if _BEGIN not in so_far:
            raise GuestCannotBootError(f"not booted after {timeout_s:g} s: {_reason(so_far)}") from None
        raise GuestError(f"not done after {timeout_s:g} s\n{so_far}") from None
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


def _reason(console: str) -> str:
    """The line of the console that says why the guest stopped; its last line if none does."""
    for pattern in _REASONS:
        if found := pattern.search(console):
            return found[1].strip()
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _parse(console: str) -> GuestResult:
    _, begin, output = console.partition(_BEGIN)
    if _SET_UP_FAILED in console:  # the kernel boots and has all modules: init.sh is wrong
        raise GuestError(console[-4000:])
    if not begin:
        raise GuestCannotBootError(f"no guest kernel boots here: {_reason(console)}")
    statuses = list(_STATUS.finditer(output))
    if not statuses:
        raise GuestError(f"the guest stopped before its command was done\n{console[-4000:]}")
    return GuestResult(int(statuses[-1][1]), output[: statuses[-1].start()])
