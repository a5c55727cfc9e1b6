"""Many hosts, and a process whose descriptors have high numbers, as with many hosts."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.network.build import build_network
from mnbed.network.capture import Capture
from tests.network.plans import facts, ping, plan_for

pytestmark = [pytest.mark.root, pytest.mark.no_guest]

# Half a minute on two cores.
_MANY_HOSTS = 600
_FIRST_HIGH = 1024


@pytest.fixture
def low_limit() -> Iterator[int]:
    """A limit on open files like that of a login shell; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def all_low_descriptors_taken() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * _FIRST_HIGH:
        pytest.skip(f"at most {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < _FIRST_HIGH:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("all_low_descriptors_taken")
def test_packets_are_delayed_and_captured_beyond_descriptor_1024(tmp_path: Path) -> None:
    if not facts().nfqueue:
        pytest.skip("this kernel has no NFQUEUE")
    plan = plan_for({"kind": "star", "nodes": 2}, delay="5ms", network={"delay_backend": "nfqueue"})
    with build_network(plan) as network:
        path = tmp_path / "h1.pcap"
        capture = Capture(network.pid("h1"), "h1-eth0", path, os.open(path, os.O_WRONLY | os.O_CREAT))
        assert min(ping(network, "h1", "h2", count=5)) > 0.019
        capture.stop()
        assert network.delay is not None
        assert network.delay.take_statistics()["packets"] >= 10
    assert capture.packets >= 10


@pytest.mark.slow
def test_many_hosts_are_built_and_torn_down_from_a_low_limit_of_open_files(low_limit: int) -> None:
    plan = plan_for(
        {"kind": "star", "nodes": _MANY_HOSTS}, overlay={"kind": "random_regular", "degree": 6}, delay="1ms"
    )
    with build_network(plan) as network:
        used = len(os.listdir("/proc/self/fd"))
        assert low_limit < used < plan.open_files
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= plan.open_files
        assert ping(network, "h1", f"h{_MANY_HOSTS}", count=2)
        pids = [network.pid(host.name) for host in plan.hosts]
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/net").exists()]
