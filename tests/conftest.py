"""Rules for all tests: what this machine cannot run is skipped with a reason, none may hang, none may leave anything.

Root tests need root and network namespaces; the last line of a session says what was skipped, and why.
At the end of a session as root the machine must look as before: named network namespaces, interfaces, iptables rules,
and processes that carry our mark. Whatever is left is listed and fails the session.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests import beside

# Per phase (set-up, call, tear-down) of one test. The guest kernel alone gets 540 s in its own test.
_LIMIT_S = 120
_SLOW_LIMIT_S = 600
# Agents that have just been asked to stop may still be exiting.
_LEAVING_S = 5.0
# What every process of a run has in its environment, and the name that Mininet gives to its hosts' shells.
_MARK = re.compile(rb"(?:^|\0)MNBED_RUN=[0-9a-f]{32}(?:\0|$)")
_MININET_SHELL = b"mininet:"
_beginning_guest = threading.Lock()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "no_guest: not for the user-mode-linux guest (tests/network/test_guest.py)"
    )

    config.addinivalue_line("markers", "last: after all others")
    config.addinivalue_line("markers", "beside: of root, and yet at ease beside others (tests/beside.py)")
    config.addinivalue_line("markers", "quiet: before others are run beside it, as it needs idle cores")
    if beside.is_second_session():
        config.pluginmanager.register(beside.SecondSession(config))
    # The user who called sudo plays no part in here: tests that need such a user set it themselves.
    for variable in ("SUDO_UID", "SUDO_GID", "SUDO_USER"):
        os.environ.pop(variable, None)


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    if not beside.is_second_session() and beside.is_wanted(config, items):
        # The guest takes over the core that the unit tests leave.
        config.pluginmanager.register(beside.FirstSession(config, items, lambda: begin_guest(session)))
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
    needing_root = [item for item in items if item.get_closest_marker("root")]
    reason = _why_no_networks() if needing_root else None
    if reason is not None:
        for item in needing_root:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_networks() -> str | None:
    """Why root tests cannot run here. A container may have root and yet neither namespaces nor mounts."""
    if os.geteuid() != 0:
        return "needs root: sudo .venv/bin/pytest"
    trial = (
        "mount -t tmpfs none /mnt && ip link add mnbed-a type veth peer name mnbed-b && "
        # /proc may be hidden, or be that of other processes.
        "{ [ /proc/$$/ns/net -ef /proc/self/ns/net ] || { echo /proc shows other processes >&2; false; }; } && "
        "echo 1 > /proc/sys/net/ipv4/ip_forward"  # of the new namespace; containers often have it read-only
    )
    try:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c", trial], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"no network namespaces here: unshare: {error.strerror}"
    if done.returncode == 0:
        return None
    error_text = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
    remedy = "run it on the machine itself, or in a container with --privileged"
    return f"no network namespaces here ({error_text}): {remedy}"


# --- the last line ---


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Runs after the terminal reporter's own hook, which prints its summary."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if reporter is not None and skipped:
        reporter.write_line(skips_in_words(report.longrepr for report in skipped), yellow=True)
    return result


def skips_in_words(skips: Iterable[object]) -> str:
    """One line; `skips`: pytest's (file, line, reason) of each."""
    reasons = Counter(
        str(skip[2] if isinstance(skip, tuple) else skip).removeprefix("Skipped: ").replace("\n", " ")
        for skip in skips
    )
    text = "; ".join(f"{count} because: {reason}" for reason, count in reasons.most_common())
    return f"NOT TESTED HERE, {sum(reasons.values())} skipped: {text}"


@pytest.fixture(scope="session", autouse=True)
def _what_is_measured_is_forgotten() -> Iterator[None]:
    """Times of local steps are remembered for the session, but not in the user's cache."""
    folder = tempfile.mkdtemp(prefix="mnbed-cache-")
    # The users whom agents run as must be able to read it and to write into it.
    os.chmod(folder, 0o777)
    os.environ["MNBED_CACHE"] = folder
    yield
    del os.environ["MNBED_CACHE"]
    shutil.rmtree(folder)


def begin_guest(session: pytest.Session) -> None:
    """Unless it has begun, or no test of this session wants its result."""
    wanting = [item for item in session.items if item.get_closest_marker("last")]
    with _beginning_guest:
        if os.geteuid() == 0 and wanting and not hasattr(session.config, "mnbed_guest"):
            from tests.network import test_guest

            if test_guest.wanted():
                session.config.mnbed_guest = test_guest.begin()  # type: ignore[attr-defined]


# --- no test hangs ---


def _limited(item: pytest.Item) -> Generator[None, object, object]:
    limit_s = _SLOW_LIMIT_S if item.get_closest_marker("slow") else _LIMIT_S

    def stop(_signum: int, _frame: FrameType | None) -> None:
        pytest.fail(f"still running after {limit_s} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit_s)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _limited(item))


# --- nothing stays behind ---


@pytest.fixture(scope="session", autouse=True)
def _machine_is_left_as_found() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    before = _traces()
    yield
    deadline = time.monotonic() + _LEAVING_S
    while (stayed := _traces() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    if stayed:
        pytest.fail("the tests left on this machine:\n  " + "\n  ".join(sorted(stayed)), pytrace=False)


def _traces() -> set[str]:
    return _namespaces() | _interfaces() | _rules() | _processes()


def _namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {f"namespace {path.name}" for path in folder.iterdir()} if folder.is_dir() else set()


def _interfaces() -> set[str]:
    names = {path.name for path in Path("/sys/class/net").iterdir()}
    return {f"interface {name}" for name in names}


def _rules() -> set[str]:
    """Lines of iptables-save without counters and comments; none if iptables is not installed."""
    try:
        saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return set()
    return {f"rule {line}" for line in saved.splitlines() if line.startswith("-")}


def carries_mark(pid: int) -> bool:
    """Whether it was started by a run of this session, not by one beside it. Raises OSError if it has ended."""
    folder = Path(f"/proc/{pid}")
    if os.readlink(folder / "ns/pid") != os.readlink("/proc/self/ns/pid"):
        return False
    return _MARK.search((folder / "environ").read_bytes()) is not None


def _processes() -> set[str]:
    processes = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            marked = carries_mark(int(folder.name))
        except OSError:  # gone meanwhile
            continue
        if marked or _MININET_SHELL in command:
            words = command.replace(bytes(1), b" ").decode(errors="replace")
            processes.add(f"process {folder.name}: {words}")
    return processes
