"""What this machine can do, found out by trying it in a temporary network namespace.

`probe` gathers facts without judging them; `checks` says which of them a run needs and how to provide a missing one.
A fact that only root can determine is None, unknown, rather than False.
"""

from __future__ import annotations

import importlib.metadata
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

from mnbed import container
from mnbed.errors import MachineError

# Tried in this order in one shell; each line is independent. Modules are loaded by the kernel on demand, as in a run.
_TRIALS = {
    # As mnexec does for every host and switch; it hides no interface from the trials below.
    "namespaces": "mount -t sysfs mnbed /sys",
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
# Binds a queue as the delay process does, NFQNL_MSG_CONFIG (0x0302) with NFQA_CFG_CMD (1) BIND (1) to queue 1, and
# waits for the kernel's acknowledgement, whose error number is the exit status.
_BIND_QUEUE = (
    "import socket, struct; s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); s.settimeout(5); "
    's.send(struct.pack("=IHHIIBBHHHBxH", 28, 0x0302, 5, 1, 0, 0, 0, socket.htons(1), 8, 1, 1, 0)); '
    'raise SystemExit(min(255, -struct.unpack_from("=i", s.recv(4096), 16)[0]))'
)
_TRIAL_SECONDS = 20
OPEN_FILES_REMEDY = (
    "raise the limit: `ulimit -Hn`, LimitNOFILE= of the service, or `docker run --ulimit nofile=...`"
)


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """Facts about a machine. Fields of type `bool | None` are None if only root could tell."""

    root: bool = False
    cores: int = 1
    """Cores that this process may use."""
    memory_bytes: int = 0
    """Memory currently available to a run."""
    open_files: int = 1024
    """Files that a process may have open after raising its limit as far as possible."""
    kernel: str = ""
    mnexec: str | None = None
    """Path of Mininet's helper program."""
    mininet: str | None = None
    """Version of Mininet's Python module."""
    torch: str | None = None
    """Version of torch."""
    container: str | None = None
    """docker, podman, lxc, ...; None on a machine itself."""
    missing_capabilities: tuple[str, ...] = field(default=())
    """Those that a run needs and that root lacks here, as it may in a container."""
    namespaces: bool | None = None
    """Whether network and mount namespaces can be made, and sysfs mounted in them."""
    htb: bool | None = None
    netem: bool | None = None
    sysctl: bool | None = None
    """Whether a network namespace's settings under /proc/sys can be written; in containers they are often read-only."""
    bfifo: bool | None = None
    u32: bool | None = None
    veth: bool | None = None
    bridge: bool | None = None
    nfqueue: bool | None = None
    openvswitch: str | None = None
    """Version of Open vSwitch; None if its tools or daemons are not installed."""
    ovs_kernel: bool | None = None
    """Whether Open vSwitch's kernel datapath works."""
    ovs_userspace: bool | None = None
    """Whether tap devices and packet sockets work, which its userspace datapath needs."""
    congestion_controls: tuple[str, ...] = field(default=())
    """TCP congestion controls that the kernel offers; empty: unknown."""
    virtualbox: bool = False
    """Whether this is a virtual machine of VirtualBox."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of `mnbed doctor`."""

    name: str
    ok: bool | None
    """None: unknown."""
    detail: str
    remedy: str = ""
    needed: bool = True
    """False: runs work without it."""
    doubtful: bool = False
    """Runs work, but may not be faithful; the remedy says what to do."""


def probe() -> MachineFacts:
    """The facts about this machine; takes 0.1 s, needs no root, leaves nothing behind."""
    trials = _try_kernel()
    return MachineFacts(
        root=os.geteuid() == 0,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_free_memory(),
        open_files=_open_files(),
        kernel=platform.release(),
        mnexec=shutil.which("mnexec"),
        mininet=_mininet_version(),
        torch=torch_version(),
        container=container.kind(),
        missing_capabilities=container.missing_capabilities(),
        openvswitch=_openvswitch_version(),
        congestion_controls=_congestion_controls(),
        virtualbox=_text("/sys/class/dmi/id/product_name").strip() == "VirtualBox",
        **trials,
    )


def checks(facts: MachineFacts) -> list[Check]:
    """What a run needs, followed by what it can use, each with its state and remedy."""
    apt = "sudo apt-get install"
    modules = "linux-modules-extra-$(uname -r) (Ubuntu) or kernel-modules-extra (Fedora, RHEL)"
    allow = container.remedy(facts.container)
    lacking = facts.missing_capabilities
    delay = None if facts.netem is None and facts.nfqueue is None else bool(facts.netem or facts.nfqueue)
    datapath = None if facts.ovs_kernel is None else bool(facts.ovs_kernel or facts.ovs_userspace)
    return [
        Check(name="root", ok=facts.root, detail="network namespaces need it", remedy="run it with sudo"),
        Check(name="mnexec", ok=facts.mnexec is not None, detail=facts.mnexec or "", remedy=f"{apt} mininet"),
        Check(
            name="Mininet",
            ok=facts.mininet is not None,
            detail=facts.mininet or f"not importable by {sys.executable}",
            remedy="run install.sh: it creates a .venv that can import the system's mininet package",
        ),
        Check(
            name="torch",
            ok=facts.torch is not None,
            detail=facts.torch or f"not installed for {sys.executable}",
            remedy="run install.sh; for an installed package: pip install 'mnbed[torch]'",
        ),
        Check(
            name="capabilities",
            ok=None if not facts.root else not lacking,
            detail=f"root lacks {container.uses(lacking)}" if lacking else "what root needs",
            remedy=allow,
        ),
        Check(name="namespaces", ok=facts.namespaces, detail="hosts, switches", remedy=allow),
        Check(name="/proc/sys", ok=facts.sysctl, detail="settings of network namespaces", remedy=allow),
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
        *_timers(facts),
        Check(name="memory", ok=True, detail=f"{facts.memory_bytes / 1e9:.1f} GB free"),
        Check(
            name="open files",
            ok=facts.open_files >= 1024,
            detail=f"{facts.open_files} per process",
            remedy="raise `ulimit -Hn`",
        ),
        Check(name="kernel", ok=True, detail=facts.kernel),
        Check(
            name="congestion control",
            ok=True if facts.congestion_controls else None,
            detail=", ".join(facts.congestion_controls),
        ),
        _optional("tc netem", facts.netem, "delay, jitter and loss", f"install {modules}"),
        _optional("NFQUEUE", facts.nfqueue, "delay without netem", f"{apt} iptables"),
        _optional("tc bfifo", facts.bfifo, "queues with the nfqueue backend", f"install {modules}"),
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
    """Raises MachineError that lists everything that a run needs and this machine lacks."""
    missing = [check for check in checks(facts) if check.needed and check.ok is False]
    if missing:
        raise MachineError(
            "; ".join(
                f"{check.name} is missing ({check.detail})" if check.detail else f"{check.name} is missing"
                for check in missing
            ),
            "; ".join(f"{', '.join(names)}: {remedy}" for remedy, names in _by_remedy(missing).items()),
        )


def _by_remedy(missing: list[Check]) -> dict[str, list[str]]:
    """Remedy -> names of what it is for."""
    names: dict[str, list[str]] = {}
    for check in missing:
        names.setdefault(check.remedy, []).append(check.name)
    return names


def unknown(facts: MachineFacts) -> list[str]:
    """Names of the checks that only root could make; a plan assumes that they would pass."""
    return [check.name for check in checks(facts) if check.needed and check.ok is None]


def _optional(name: str, ok: bool | None, detail: str, remedy: str) -> Check:
    return Check(name=name, ok=ok, detail=detail, remedy=remedy, needed=False)


def _timers(facts: MachineFacts) -> list[Check]:
    """VirtualBox holds packets back for up to hundreds of milliseconds: mininet/mininet issue 1138."""
    if not facts.virtualbox or facts.cores == 1:
        return []
    return [
        Check(
            name="VirtualBox",
            ok=True,
            doubtful=True,
            needed=False,
            detail=f"with {facts.cores} processors; more than one spoil the links' delays there",
            remedy="give the virtual machine one processor: MNBED_CPUS=1 vagrant reload",
        )
    ]


def _delay_detail(facts: MachineFacts) -> str:
    if facts.netem:
        return "netem"
    if facts.nfqueue:
        return "nfqueue, because the kernel has no netem" if facts.netem is False else "nfqueue"
    return "neither netem nor nfqueue works" if facts.netem is False else "netem or nfqueue"


def _datapath_detail(facts: MachineFacts) -> str:
    if facts.openvswitch is None:
        return "for switch: ovs"
    if facts.ovs_kernel is False and facts.ovs_userspace:
        return "userspace, because the kernel has no openvswitch module: for small networks"
    return "kernel" if facts.ovs_kernel else "for switch: ovs"


def _try_kernel() -> dict[str, bool | None]:
    """Which trials work. Without root they run in a user namespace, where a failure proves nothing."""
    root = os.geteuid() == 0
    command = ["unshare", "--net", "--mount"]
    command += [] if root else ["--map-root-user"]
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
    # Without an answer there was no namespace in which to try anything.
    statuses = {"namespaces": "1", **statuses}
    return {name: None if name not in statuses else (statuses[name] == "0" or failed) for name in _TRIALS}


def _text(path: str) -> str:
    """Content of a file under /proc; empty if that is hidden."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _free_memory() -> int:
    match = re.search(r"MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"))
    return int(match.group(1)) * 1024 if match else 0


def raise_open_files(wanted: int) -> None:
    """Let this process and those that it starts later have `wanted` files open. Raises MachineError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limits = (wanted, hard if hard == resource.RLIM_INFINITY else max(wanted, hard))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (ValueError, OSError):
        raise MachineError(
            f"a process of this run needs {wanted:,} open files, but at most {hard:,} are allowed here",
            OPEN_FILES_REMEDY,
        ) from None


def _open_files() -> int:
    """The limit that `raise_open_files` can set in a run, which is root."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = int(_text("/proc/sys/fs/nr_open") or hard)
    if hard == resource.RLIM_INFINITY or os.geteuid() != 0 or _may_raise_limits():
        return ceiling
    return hard


def _may_raise_limits() -> bool:
    """Whether root has CAP_SYS_RESOURCE (bit 24), which containers often lack."""
    return bool((container.effective_capabilities() or 0) >> 24 & 1)


def _mininet_version() -> str | None:
    """Asks another process: importing Mininet here would change this one's log levels and file limits."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import mininet.net; print(mininet.net.VERSION)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def torch_version() -> str | None:
    """None if it is not installed. Without importing it, which takes a second."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def _openvswitch_version() -> str | None:
    """The daemon's version; distributions package the tools separately."""
    programs = ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl")
    paths = [
        shutil.which(program) or shutil.which(program, path="/usr/bin:/usr/sbin") for program in programs
    ]
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
