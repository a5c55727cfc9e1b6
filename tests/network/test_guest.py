"""The network tests under a kernel with netem, where this machine's kernel has none.

One guest boots (seconds) and runs this folder's other tests in it, so TCLink's netem path is tested on every machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.uml import run_in_guest

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


def test_network_tests_pass_where_the_kernel_has_netem() -> None:
    if _kernel_has_netem():
        pytest.skip("host kernel has netem, tests run directly")
    pytest_command = [sys.executable, "-m", "pytest", "tests/network", "-m", "not no_guest"]
    result = run_in_guest(
        [*pytest_command, "-p", "no:cacheprovider", "--durations=5", "--color=no"],
        timeout_s=_TIMEOUT_S,
        env={"MNBED_IN_GUEST": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=_CHECKOUT,
    )
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
