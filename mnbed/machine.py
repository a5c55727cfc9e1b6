"""What this machine can do: found out by trying, in a throw-away network namespace that goes with its
process.

`probe` gathers facts and judges nothing; `checks` says which of them a run needs and what helps where one is
missing. A fact that only root can find out is None, unknown, rather than False.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mnbed.errors import MachineError

# Tried in this order in one shell; each line stands alone. Loading a kernel module is left to the kernel, as
# in a run.
_TRIALS = {
    "sysctl": "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "veth": "ip link add mnbed-a type veth peer name mnbed-b",
    "bridge": "ip link add mnbed-br type bridge && bridge fdb show br mnbed-br",
    "htb": "tc qdisc replace dev lo root handle 5: htb default 1",
    "u32": "tc filter add dev lo parent 5: protocol ip u32 match u32 0 0 flowid 5:1",
    "netem": "tc qdisc replace dev lo root handle 6: netem delay 1ms",
    "bfifo": "tc qdisc replace dev lo root handle 7: bfifo limit 30000",
    "ovs_kernel": "ovs-dpctl -vsyslog:off add-dp mnbed-dp",
    "ovs_userspace": "ip tuntap add mnbed-tap mode tap && {python} -I -c 'import socket; socket.socket(17, 3)'",
    "nfqueue": "iptables -A INPUT -j NFQUEUE --queue-num 1 && {python} -I -c '{bind}'",
}
# Binds a queue as the delay process does: NFQNL_MSG_CONFIG (0x0302) with NFQA_CFG_CMD (1) BIND (1) to queue
# 1, and waits for the kernel's acknowledgement, whose error number is the exit status.
_BIND_QUEUE = (
    "import socket, struct; s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); s.settimeout(5); "
    's.send(struct.pack("=IHHIIBBHHHBxH", 28, 0x0302, 5, 1, 0, 0, 0, socket.htons(1), 8, 1, 1, 0)); '
    'raise SystemExit(min(255, -struct.unpack_from("=i", s.recv(4096), 16)[0]))'
)
_TRIAL_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """One machine. Fields of type `bool | None` are None where only root could tell."""

    root: bool = False
    cores: int = 1
    """Cores that this process may use."""
    memory_bytes: int = 0
    """Memory that is free for a run now."""
    open_files: int = 1024
    """Files that one process may have open, once the limit has been raised as far as it goes."""
    kernel: str = ""
    mnexec: str | None = None
    """Path of Mininet's helper program."""
    mininet: str | None = None
    """Version of Mininet's Python module."""
    htb: bool | None = None
    netem: bool | None = None
    sysctl: bool | None = None
    """A network namespace's settings under /proc/sys can be written; containers often have them read-only."""
    bfifo: bool | None = None
    u32: bool | None = None
    veth: bool | None = None
    bridge: bool | None = None
    nfqueue: bool | None = None
    openvswitch: str | None = None
    """Version of Open vSwitch; None where its tools or its daemons are not installed."""
    ovs_kernel: bool | None = None
    """Open vSwitch's datapath in the kernel works."""
    ovs_userspace: bool | None = None
    """What its datapath in userspace needs: tap devices and packet sockets."""
    congestion_controls: tuple[str, ...] = field(default=())
    """TCP congestion controls that the kernel has loaded; empty: unknown."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of `mnbed doctor`."""

    name: str
    ok: bool | None
    """None: unknown."""
    detail: str
    remedy: str = ""
    needed: bool = True
    """False: a run does without."""


def probe() -> MachineFacts:
    """The facts of this machine; takes a tenth of a second, needs no root, leaves nothing behind."""
    trials = _try_kernel()
    return MachineFacts(
        root=os.geteuid() == 0,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_free_memory(),
        open_files=_open_files(),
        kernel=platform.release(),
        mnexec=shutil.which("mnexec"),
        mininet=_mininet_version(),
        openvswitch=_openvswitch_version(),
        congestion_controls=_congestion_controls(),
        **trials,
    )


def checks(facts: MachineFacts) -> list[Check]:
    """What a run needs, then what it can use, each with its state and remedy."""
    apt = "sudo apt-get install"
    modules = "linux-modules-extra-$(uname -r) (Ubuntu) or kernel-modules-extra (Fedora, RHEL)"
    delay = None if facts.netem is None and facts.nfqueue is None else bool(facts.netem or facts.nfqueue)
    datapath = None if facts.ovs_kernel is None else bool(facts.ovs_kernel or facts.ovs_userspace)
    return [
        Check(name="root", ok=facts.root, detail="network namespaces need it", remedy="run it with sudo"),
        Check(name="mnexec", ok=facts.mnexec is not None, detail=facts.mnexec or "", remedy=f"{apt} mininet"),
        Check(
            name="Mininet",
            ok=facts.mininet is not None,
            detail=facts.mininet or f"not importable by {sys.executable}",
            remedy="run install.sh: it makes a .venv that sees the system's mininet package",
        ),
        Check(
            name="/proc/sys",
            ok=facts.sysctl,
            detail="settings of network namespaces",
            remedy="run it on the machine itself, or in a container with --privileged",
        ),
        Check(name="tc htb", ok=facts.htb, detail="bandwidth", remedy=f"install {modules}"),
        Check(name="veth", ok=facts.veth, detail="links", remedy=f"install {modules}"),
        Check(
            name="bridge", ok=facts.bridge, detail="switches", remedy=f"{apt} iproute2; or install {modules}"
        ),
        Check(
            name="delay",
            ok=delay,
            detail=_delay_detail(facts),
            remedy=f"for netem install {modules}; for nfqueue {apt} iptables",
        ),
        Check(name="cores", ok=True, detail=str(facts.cores)),
        Check(name="memory", ok=True, detail=f"{facts.memory_bytes / 1e9:.1f} GB free"),
        Check(
            name="open files",
            ok=facts.open_files >= 1024,
            detail=f"{facts.open_files} for each process",
            remedy="raise `ulimit -Hn`",
        ),
        Check(name="kernel", ok=True, detail=facts.kernel),
        Check(
            name="congestion control",
            ok=True if facts.congestion_controls else None,
            detail=", ".join(facts.congestion_controls),
        ),
        _optional("tc netem", facts.netem, "delay, jitter and loss", f"install {modules}"),
        _optional("NFQUEUE", facts.nfqueue, "delay where there is no netem", f"{apt} iptables"),
        _optional("tc bfifo", facts.bfifo, "queues beside NFQUEUE", f"install {modules}"),
        _optional("tc u32", facts.u32, "not needed yet", f"install {modules}"),
        _optional(
            "Open vSwitch",
            facts.openvswitch is not None,
            facts.openvswitch or "for switch: ovs",
            f"{apt} openvswitch-switch",
        ),
        _optional(
            "OVS datapath",
            datapath,
            _datapath_detail(facts),
            f"{apt} openvswitch-switch; or install {modules}",
        ),
    ]


def require(facts: MachineFacts) -> None:
    """Raises MachineError that lists everything a run needs and this machine lacks."""
    missing = [check for check in checks(facts) if check.needed and check.ok is False]
    if missing:
        raise MachineError(
            "; ".join(
                f"{check.name} is missing ({check.detail})" if check.detail else f"{check.name} is missing"
                for check in missing
            ),
            "; ".join(f"{check.name}: {check.remedy}" for check in missing),
        )


def unknown(facts: MachineFacts) -> list[str]:
    """Names of what only root can find out here and what a plan therefore takes for granted."""
    return [check.name for check in checks(facts) if check.needed and check.ok is None]


def _optional(name: str, ok: bool | None, detail: str, remedy: str) -> Check:
    return Check(name=name, ok=ok, detail=detail, remedy=remedy, needed=False)


def _delay_detail(facts: MachineFacts) -> str:
    if facts.netem:
        return "netem"
    if facts.nfqueue:
        return "nfqueue, as the kernel has no netem" if facts.netem is False else "nfqueue"
    return "neither netem nor nfqueue works" if facts.netem is False else "netem or nfqueue"


def _datapath_detail(facts: MachineFacts) -> str:
    if facts.openvswitch is None:
        return "for switch: ovs"
    if facts.ovs_kernel is False and facts.ovs_userspace:
        return "userspace, as the kernel has no module openvswitch: for small networks"
    return "kernel" if facts.ovs_kernel else "for switch: ovs"


def _try_kernel() -> dict[str, bool | None]:
    """Which trials work. Without root a user namespace is tried, whose failures prove nothing."""
    root = os.geteuid() == 0
    command = ["unshare", "--net"] if root else ["unshare", "--map-root-user", "--net"]
    script = "\n".join(
        f"( {trial.format(python=sys.executable, bind=_BIND_QUEUE)} ) >/dev/null 2>&1; echo {name} $?"
        for name, trial in _TRIALS.items()
    )
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            [*command, "sh"],
            input=script,
            capture_output=True,
            text=True,
            timeout=_TRIAL_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return dict.fromkeys(_TRIALS)
    return _read_trials(done.stdout, root)


def _read_trials(output: str, root: bool) -> dict[str, bool | None]:
    statuses: Mapping[str, str] = dict(line.split() for line in output.splitlines() if len(line.split()) == 2)
    failed = False if root else None
    return {name: None if name not in statuses else (statuses[name] == "0" or failed) for name in _TRIALS}


def _text(path: str) -> str:
    """Of a file under /proc; empty where that is hidden."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _free_memory() -> int:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"))
    return int(found.group(1)) * 1024 if found else 0


def raise_open_files(wanted: int) -> None:
    """Let this process, and all that it starts afterwards, have `wanted` files open. Raises MachineError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limits = (wanted, hard if hard == resource.RLIM_INFINITY else max(wanted, hard))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (ValueError, OSError):
        raise MachineError(
            f"a process of this run needs {wanted:,} open files, and at most {hard:,} are allowed here",
            "raise the limit: `ulimit -Hn`, LimitNOFILE= of the service, or `docker run --ulimit nofile=...`",
        ) from None


def _open_files() -> int:
    """What `raise_open_files` can reach as root, which is what a run is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = int(_text("/proc/sys/fs/nr_open") or hard)
    if hard == resource.RLIM_INFINITY or os.geteuid() != 0 or _may_raise_limits():
        return ceiling
    return hard


def _may_raise_limits() -> bool:
    """Whether root has CAP_SYS_RESOURCE (bit 24), which containers often take away."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", _text("/proc/self/status"), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> 24 & 1)


def _mininet_version() -> str | None:
    """Asked of another process: importing Mininet here would change this one's log levels and file limits."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import mininet.net; print(mininet.net.VERSION)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _openvswitch_version() -> str | None:
    """The daemon's; distributions have the tools in a package of their own."""
    programs = ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl")
    paths = [shutil.which(one) or shutil.which(one, path="/usr/bin:/usr/sbin") for one in programs]
    path = paths[0]
    if path is None or None in paths:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split("\n", 1)[0].split()
    return words[-1] if words else None


def _congestion_controls() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split())
    except OSError:
        return ()
