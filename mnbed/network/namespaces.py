"""Running programs in the namespace of an emulated node, without a shell prompt in between."""

from __future__ import annotations

import os
import subprocess

from mnbed.errors import RunError


def network_namespace(pid: int) -> int:
    """The number of the network namespace that the process is in; namespaces may be shared. Raises OSError."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def run_in(pid: int, argv: list[str], *, text: str = "", what: str) -> str:
    """Run a program in the network namespace of process `pid`, with `text` on its standard input.

    Returns its standard output. Raises RunError, with `what` was being done and the program's output, if it fails or
    cannot be started.
    """
    try:
        done = subprocess.run(
            ["mnexec", "-a", str(pid), *argv],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{what}: {error}") from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise RunError(f"{what}: {argv[0]} failed ({done.returncode}): {'; '.join(lines[:5])}")
    return done.stdout


def run_script_in(pid: int, script: str, *, what: str) -> str:
    """Run a shell script in that namespace; the first command that fails ends it. Raises RunError."""
    return run_in(pid, ["sh", "-e", "-s"], text=script, what=what)


def heredoc(program: str, lines: list[str]) -> str:
    """Shell text that feeds those lines to a program's standard input; nothing for no lines."""
    return f"{program} <<'LINES'\n" + "\n".join(lines) + "\nLINES\n" if lines else ""
