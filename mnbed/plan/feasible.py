"""Whether a machine can do what an experiment asks: delay backend, congestion control, number of hosts.

Pure: works on MachineFacts. Facts that are unknown (None) are assumed to be fine; `machine.unknown` names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mnbed.errors import MachineError
from mnbed.experiment.sections import Experiment
from mnbed.machine import OPEN_FILES_REMEDY, MachineFacts
from mnbed.plan.link_property import unable
from mnbed.plan.properties import PROPERTIES, LinkProperties

# Proportional memory, measured with GN-LeNet on Python 3.11: an agent forked from the warm parent takes 16 MB
# and grows with what it queues; one started separately takes 130 MB; Mininet's shell of a node 3 MB.
AGENT_BYTES = {"prefork": 25e6, "exec": 150e6}
_SHELL_BYTES = 3e6
# The controller, and the warm parent with torch and a data set.
_BASE_BYTES = 500e6
# Socket buffers and Python objects for one connection.
_PEER_BYTES = 64e3
# Mininet keeps a pseudo-terminal and pipes for each node; the controller one control connection for each
# agent and two sockets that read counters.
_FILES_PER_NODE = 10
# A connection to each peer and one from it, in an agent.
_FILES_PER_PEER = 2
# Libraries, logs, data and, in an agent, connections that are about to end or turn out not to be from peers.
_FILES_BASE = 256
_NETEM_REMEDY = (
    "install the module sch_netem: linux-modules-extra-$(uname -r) on Ubuntu, kernel-modules-extra on Fedora and RHEL; "
    "or use another kernel"
)


def delay_backend(experiment: Experiment, links: Iterable[LinkProperties], facts: MachineFacts) -> str:
    """ "netem", "nfqueue", or "none" if nothing is to be delayed or lost. Raises MachineError."""
    links = list(links)
    keys = [row.key for row in unable(PROPERTIES, links, "none")]
    if not keys:
        return "none"
    asked = experiment.network.delay_backend
    if asked == "auto":
        chosen = _automatic(facts, keys)
    else:
        chosen = asked
        if getattr(facts, asked) is False:
            raise MachineError(
                f"network.delay_backend: {asked} was asked for, but this kernel does not have it",
                _NETEM_REMEDY
                if asked == "netem"
                else "install iptables, and a kernel with NFQUEUE; or use netem",
            )
    for row in unable(PROPERTIES, links, chosen):
        raise MachineError(
            f"network.link.{row.key}: the backend {chosen} cannot do this; {' or '.join(row.backends)} can",
            _NETEM_REMEDY if facts.netem is False else f"set network.delay_backend to {row.backends[0]}",
        )
    return chosen


def check_distributions(
    asked: Iterable[LinkProperties], later: Iterable[LinkProperties], backend: str
) -> None:
    """`later`: links after events. Raises MachineError if netem cannot follow: it cannot drop a table once loaded."""
    tables = any(link.jitter_s and link.distribution != "uniform" for link in (*asked, *later))
    if (
        backend == "netem"
        and tables
        and any(link.jitter_s and link.distribution == "uniform" for link in later)
    ):
        raise MachineError(
            "network.events: a link's distribution becomes uniform, which netem cannot change to during a run",
            "use one distribution throughout, or set network.delay_backend to nfqueue",
        )


def _automatic(facts: MachineFacts, keys: Sequence[str]) -> str:
    """`keys`: the properties that need a backend."""
    if facts.netem:
        return "netem"
    if facts.nfqueue:
        return "nfqueue"
    if facts.netem is None:
        return "netem"
    raise MachineError(
        f"a link {', '.join(keys)} was asked for, but this kernel has neither netem nor a usable NFQUEUE",
        f"{_NETEM_REMEDY}; or install iptables, for NFQUEUE; or "
        + ("set every delay to 0" if keys == ["delay"] else f"do without {', '.join(keys)}"),
    )


def check_congestion_control(experiment: Experiment, facts: MachineFacts) -> None:
    """Raises MachineError if the kernel is known not to have it."""
    name = experiment.network.tcp.congestion_control
    available = facts.congestion_controls
    if available and name not in available:
        raise MachineError(
            f"network.tcp.congestion_control: got {name}; this kernel has: {', '.join(available)}",
            f"load it (`sudo modprobe tcp_{name}`) or choose one of these",
        )


def datapath(experiment: Experiment, facts: MachineFacts) -> str | None:
    """For Open vSwitch "kernel", or "userspace" if the kernel has no datapath; otherwise None. Raises MachineError."""
    if experiment.network.switch != "ovs":
        return None
    if facts.openvswitch is None:
        raise MachineError(
            "network.switch: ovs was asked for, but Open vSwitch is not installed",
            "sudo apt-get install openvswitch-switch; or set network.switch to bridge",
        )
    if facts.ovs_kernel is not False:
        return "kernel"
    if facts.ovs_userspace is not False:
        return "userspace"
    raise MachineError(
        "network.switch: ovs was asked for, but Open vSwitch has no datapath here: the kernel has neither the module "
        "openvswitch nor tap devices and packet sockets",
        "load it (`sudo modprobe openvswitch`), or make /dev/net/tun usable; or set network.switch to bridge",
    )


def memory_bytes(experiment: Experiment, num_hosts: int, num_switches: int, num_peers: int) -> float:
    """Estimated memory of a whole run; `num_peers`: of one node."""
    agent = AGENT_BYTES[experiment.agents.launch] + num_peers * _PEER_BYTES
    return _BASE_BYTES + num_hosts * agent + (num_hosts + num_switches) * _SHELL_BYTES


def open_files(num_hosts: int, num_switches: int, num_peers: int) -> int:
    """Open files of the process with the most: the controller, or an agent with `num_peers` peers."""
    return _FILES_BASE + max(_FILES_PER_NODE * (num_hosts + num_switches), _FILES_PER_PEER * num_peers)


def check_size(experiment: Experiment, num_hosts: int, num_switches: int, facts: MachineFacts) -> None:
    """Raises MachineError, with the possible number of hosts, if open files or memory do not suffice."""
    switches_per_host = num_switches / num_hosts

    def peers(hosts: int) -> int:
        overlay = experiment.overlay
        return {"complete": hosts - 1, "ring": 2}.get(overlay.kind, overlay.degree or 0)

    def switches(hosts: int) -> int:
        return min(num_switches, max(1, round(hosts * switches_per_host)))

    def files(hosts: int) -> float:
        return open_files(hosts, switches(hosts), peers(hosts))

    def memory(hosts: int) -> float:
        return memory_bytes(experiment, hosts, switches(hosts), peers(hosts))

    for what, need, have, remedy in (
        (
            "open files",
            files,
            facts.open_files,
            OPEN_FILES_REMEDY,
        ),
        ("bytes of free memory", memory, facts.memory_bytes, "free memory, or use fewer nodes"),
    ):
        if have and need(num_hosts) > have:
            possible = next((hosts for hosts in range(num_hosts, 0, -1) if need(hosts) <= have), 0)
            raise MachineError(
                f"network.topology: {num_hosts} hosts need about {need(num_hosts):,.0f} {what}, but this machine has "
                f"{have:,.0f}: enough for {possible} hosts",
                remedy,
            )
