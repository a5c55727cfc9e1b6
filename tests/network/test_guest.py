"""The network tests under a kernel with netem, where this machine's kernel has none.

One guest boots (seconds) and runs this folder's other tests in it, so TCLink's netem path is tested on every machine.
It takes minutes and one processor: it begins with the unit tests, which need no more than another, and its test is the
last (tests/conftest.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.guest.uml import GuestResult, run_in_guest

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.no_guest]

_CHECKOUT = Path(__file__).parents[2]
_TIMEOUT_S = 540


def _kernel_has_netem() -> bool:
    """Tried in a network namespace that goes away with the trial."""
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


@pytest.mark.last
def test_network_tests_pass_where_the_kernel_has_netem(request: pytest.FixtureRequest) -> None:
    if not wanted():
        pytest.skip("host kernel has netem, tests run directly")
    begun: Future[GuestResult] | None = getattr(request.config, "mnbed_guest", None)
    result = (begun or begin()).result()
    print(result.output)
    assert result.returncode == 0, "the network tests failed under the guest kernel; its output is above"


def test_exit_status_and_output_of_a_guest_command_arrive() -> None:
    result = run_in_guest(["sh", "-c", "echo 'out  put'; echo error >&2; exit 7"], timeout_s=60)
    assert (result.returncode, result.output) == (7, "out  put\nerror\n")


def test_a_guest_leaves_the_host_files_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("host")
    result = run_in_guest(
        ["sh", "-c", "cat kept; echo guest > kept; cat kept; touch new"], timeout_s=60, cwd=tmp_path
    )
    assert (result.returncode, result.output) == (0, "hostguest\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("kept", "host")]
