"""The network tests under a kernel with netem, if this machine's kernel has none.

One guest boots (in seconds) and runs this folder's other tests, so TCLink's netem path is tested on every machine. It
takes minutes and one processor: it starts along with the unit tests, which need no more than one other, and its test is
the last (tests/conftest.py). On a machine that cannot boot a guest these tests are skipped, and say why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.guest.uml import GuestCannotBootError, GuestResult, run_in_guest

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.no_guest]

_CHECKOUT = Path(__file__).parents[2]
_TIMEOUT_S = 540


def _kernel_has_netem() -> bool:
    """Tried in a network namespace that vanishes with the trial."""
    trial = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"
    return subprocess.run(["unshare", "--net", "sh", "-c", trial], capture_output=True).returncode == 0


@pytest.fixture(scope="module", autouse=True)
def _needs_a_guest() -> None:
    if os.environ.get("MNBED_IN_GUEST"):
        pytest.skip("this is the guest")


def begin() -> Future[GuestResult]:
    """Start the guest's tests in a thread."""
    pytest_command = [sys.executable, "-m", "pytest", "tests/network", "-m", "not no_guest"]
    pool = ThreadPoolExecutor(max_workers=1)
    future = pool.submit(
        run_in_guest,
        [*pytest_command, "-p", "no:cacheprovider", "--durations=5", "--color=no"],
        timeout_s=_TIMEOUT_S,
        env={"MNBED_IN_GUEST": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=_CHECKOUT,
    )
    pool.shutdown(wait=False)
    return future


def wanted() -> bool:
    """Whether this machine needs the guest at all."""
    return not os.environ.get("MNBED_IN_GUEST") and not _kernel_has_netem()


def _of_a_guest(run: Callable[[], GuestResult]) -> GuestResult:
    """The guest's result; the test is skipped if no guest boots, which says nothing about mnbed."""
    try:
        return run()
    except GuestCannotBootError as error:
        pytest.skip(f"netem is not tested under user-mode-linux: {error}")


def _run(
    shell: str, old_registers: bool = False, cwd: Path = _CHECKOUT, timeout_s: float = 90
) -> GuestResult:
    command = ["sh", "-c", shell]
    return _of_a_guest(
        lambda: run_in_guest(command, timeout_s=timeout_s, old_registers=old_registers, cwd=cwd)
    )


@pytest.mark.last
def test_network_tests_pass_where_the_kernel_has_netem(request: pytest.FixtureRequest) -> None:
    if not wanted():
        pytest.skip("host kernel has netem, tests run directly")
    begun: Future[GuestResult] | None = getattr(request.config, "mnbed_guest", None)
    result = _of_a_guest((begun or begin()).result)
    print(result.output)
    assert result.returncode == 0, "the network tests failed under the guest kernel; its output is above"


either_registers = pytest.mark.parametrize(
    "old_registers", [False, True], ids=["current registers", "old registers"]
)


@either_registers
def test_exit_status_and_output_of_a_guest_command_arrive(old_registers: bool) -> None:
    result = _run("echo 'out  put'; echo error >&2; exit 7", old_registers)
    assert (result.returncode, result.output) == (7, "out  put\nerror\n")


def test_a_guest_leaves_the_host_files_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("host")
    result = _run("cat kept; echo guest > kept; cat kept; touch new", cwd=tmp_path)
    assert (result.returncode, result.output) == (0, "hostguest\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("kept", "host")]


_TEXT = "%s and the rest of a line that is longer than the widest of all registers, twice over"
# Processes that take the processor from one another in the middle of glibc's and numpy's inner loops.
_REGISTER_USERS = f"""
work() {{
    for number in $(seq 40); do
        printf '{_TEXT.replace("%s", "%%s")} %s\\n' $1 | sed 's/ [0-9]*$//'
        printf '%s' '{_TEXT}' | sha256sum | cut -c -16
    done | sort | uniq -c | sed 's/^ *//'
}}
sum() {{ {sys.executable} -c '
import numpy
a = numpy.arange(4096.0)
print({{float((a * 3 + a).sum()) for _ in range(20_000)}})'; }}
sum > /run/sum & work 1 > /run/one & work 2 > /run/two
wait
cat /run/one /run/two /run/sum
"""


@either_registers
def test_processes_of_a_guest_keep_their_registers(old_registers: bool, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(_REGISTER_USERS)
    here = subprocess.run(["sh", "-c", f"printf '%s' '{_TEXT}' | sha256sum"], capture_output=True, text=True)
    lines = sorted([f"40 {_TEXT}", f"40 {here.stdout[:16]}"])
    result = _run(f"sh {script}", old_registers)
    *texts, total = result.output.splitlines()
    assert sorted(texts) == sorted(lines * 2)
    assert total == str({4095 * 4096 / 2 * 4})


_NO_PTRACE = """
import errno, json, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import old_registers
PTRACE_TRACEME = 0
old_registers.install_filter(old_registers.refusing(errno.EPERM, [PTRACE_TRACEME]))
sys.path.insert(0, {checkout!r})
from tests.guest.uml import GuestCannotBootError, run_in_guest
try:
    run_in_guest(["true"], timeout_s=60)
except GuestCannotBootError as error:
    print(json.dumps(str(error)))
"""


def test_a_guest_that_may_not_trace_its_processes_says_so_on_one_line() -> None:
    _run("true")  # with ptrace it boots
    script = _NO_PTRACE.format(folder=str(_CHECKOUT / "tests/guest"), checkout=str(_CHECKOUT))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90)
    reason = json.loads(done.stdout)
    assert "ptrace" in reason, done
    assert "\n" not in reason


def test_without_the_package_the_reason_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_kwargs: None)
    with pytest.raises(GuestCannotBootError, match=r"not installed \(sudo ./install.sh --dev\)"):
        run_in_guest(["true"], timeout_s=5)
