"""What the kernel tells of a process, whatever the process calls itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from mnbed.network.processes import is_stopped, process_ids, process_stat, state_of

CODE = r"""
open("/proc/self/comm", "w").write("a) Z 1 (b\n")
print("named", flush=True)
input()
"""


def test_a_process_is_told_by_its_fields_whatever_its_name_is() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"named\n"
            stat = process_stat(process.pid)
            assert (stat.parent, stat.session) == (os.getpid(), process.pid)
            assert stat.start_ticks >= process_stat(os.getpid()).start_ticks
            assert process.pid in process_ids()
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            assert (state_of(process.pid), is_stopped(process.pid)) == ("T", True)
        finally:
            process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (state_of(process.pid), is_stopped(process.pid)) == ("Z", False)
    assert state_of(process.pid) is None
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        process_stat(process.pid)
