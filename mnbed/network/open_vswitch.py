"""Open vSwitch for one network: its own daemons, in their own namespace, with static flows and no controller.

All switches of a plan are OVS bridges in one namespace, since a datapath belongs to a namespace and its daemon; the
system's Open vSwitch service and the root namespace are not involved. A frame goes where the one flow for its
destination says, or is dropped: nothing is flooded, so any graph carries frames without a spanning tree.

With the kernel datapath switches are cheap. The userspace datapath copies every frame through the daemon; it is for
small networks on machines whose kernel has no openvswitch module.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mininet.node import Switch

from mnbed.errors import RunError
from mnbed.network import packet_buffers
from mnbed.network.forwarding import Forwarding
from mnbed.network.mark import RUNTIME_DIRECTORY, note
from mnbed.network.namespaces import heredoc, run_script_in

_DATAPATH_TYPES = {"kernel": "system", "userspace": "netdev"}
_START_PATIENCE_S = 10.0
_TOOL_PATIENCE_S = 60
_END_PATIENCE_S = 5.0
# Open vSwitch counts the processors only once 10 s have passed since the last count, or since the machine started:
# until then it assumes none, and has no thread for the kernel's upcalls (lib/ovs-thread.c: count_cpu_cores, 3.1).
_MIN_UPTIME_S = 10.5
# By default a datapath forgets a path after 10 idle seconds and asks the daemon again: a delay that no link has.
_KEEP_PATHS_MS = 24 * 3600 * 1000
_FLOW = re.compile(r"priority=1,dl_dst=([0-9a-f:]{17}) actions=output:(\d+)$")


class OpenVSwitchNode(Switch):  # type: ignore[misc]
    """A Mininet switch whose shell is in the namespace that all OVS bridges share."""

    controlIntf: Any = None

    def __init__(self, name: str, namespace_pid: int, environment: Mapping[str, str], **params: Any) -> None:
        """`environment`: variables by which Open vSwitch's tools find this network's daemons."""
        self._namespace_pid = namespace_pid
        self._environment = environment
        super().__init__(name, **{**params, "inNamespace": True})

    def startShell(self, mnopts: str | None = None) -> None:
        """Start the shell in the existing namespace; Mininet would make a new one."""
        self.inNamespace = False
        super().startShell(f"{mnopts or '-cd'}a{self._namespace_pid}")
        self.inNamespace = True
        self.cmd("export " + " ".join(f"{key}='{value}'" for key, value in self._environment.items()))

    def start(self, controllers: Any) -> None:
        """Nothing to start: `build_network` has set the bridge up, and no controller takes part."""

    def dpctl(self, *arguments: str) -> str:
        """Mininet's verb: `ovs-ofctl` on this bridge."""
        return str(self.cmd("ovs-ofctl", arguments[0], self.name, *arguments[1:]))


class OpenVSwitch(Forwarding):
    """The daemons and bridges of one network."""

    def __init__(self, folder: Path, datapath: str) -> None:
        """`folder`: sockets, database and log; `datapath`: kernel or userspace."""
        self.datapath = datapath
        # The userspace datapath takes frames as they come: it can neither complete a checksum nor cut a segment.
        self.needs_whole_frames = datapath == "userspace"
        self._folder = folder
        self._locations = {
            name: str(folder) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        }
        self._daemon: subprocess.Popen[bytes] | None = None
        self._ports: Mapping[str, list[str]] = {}

    @classmethod
    @contextlib.contextmanager
    def start(cls, datapath: str) -> Iterator[OpenVSwitch]:
        """Start the daemons; they end with the block. Raises RunError."""
        RUNTIME_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="run-ovs-", dir=RUNTIME_DIRECTORY))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            switches = cls(folder, datapath)
            switches._tool("ovsdb-tool", "create")
            socket = folder / "db.sock"
            database = switches._spawn(stack, ["ovsdb-server", f"--remote=punix:{socket}"], "ovsdb-server")
            switches._wait_for(socket, database)
            setting = f"other_config:max-idle={_KEEP_PATHS_MS}"
            switches._tool("ovs-vsctl", "--no-wait", "init", "--", "set", "Open_vSwitch", ".", setting)
            if datapath == "kernel":
                time.sleep(max(0.0, _MIN_UPTIME_S - time.monotonic()))
            # In its own namespace from the first moment; a switch's shell enters that through this process.
            daemon = switches._spawn(stack, ["mnexec", "-n", "ovs-vswitchd", "--pidfile"], "ovs-vswitchd")
            os.setpriority(os.PRIO_PROCESS, daemon.pid, -20)
            switches._wait_for(folder / "ovs-vswitchd.pid", daemon)
            note(daemon.pid)  # again: now it has its namespace
            switches._daemon = daemon
            yield switches

    @property
    def pid(self) -> int:
        """The daemon that holds the namespace."""
        assert self._daemon is not None
        return self._daemon.pid

    def died(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is not None

    def add_switch(self, mininet: Any, name: str, number: int) -> None:
        mininet.addSwitch(
            name,
            cls=OpenVSwitchNode,
            dpid=f"{number:x}",
            namespace_pid=self.pid,
            environment=self._locations,
        )

    def connect(self, ports: Mapping[str, list[str]]) -> None:
        """Make all bridges in one transaction, since the daemon takes a tenth of a second for each."""
        self._ports = ports
        # By default it removes the qdiscs of its ports; the type linux-noop "prevents Open vSwitch from changing the
        # QoS configuration for a port" (ovs-vswitchd.conf.db(5)).
        orders = ["--id=@ours create QoS type=linux-noop"]
        for switch, interfaces in ports.items():
            orders.append(f"add-br {switch}")
            kind = _DATAPATH_TYPES[self.datapath]
            orders.append(f"set Bridge {switch} fail_mode=secure datapath_type={kind}")
            for interface, number in _numbered(interfaces).items():
                orders.append(f"add-port {switch} {interface}")
                orders.append(f"set Port {interface} qos=@ours")
                orders.append(f"set Interface {interface} ofport_request={number}")
        self._tool("ovs-vsctl", f"--timeout={_TOOL_PATIENCE_S}", *" -- ".join(orders).split())
        self._check_ports()
        if self.datapath == "userspace":
            self._widen_buffers(next(iter(ports)))

    def configure(self, switch: str, table: Mapping[str, str], script: str) -> None:
        script += heredoc("ip -batch -", [f"link set {port} up" for port in self._ports[switch]])
        run_script_in(self.pid, script, what=f"configuring {switch}")
        numbers = _numbered(self._ports[switch])
        asked = {mac: numbers[interface] for mac, interface in table.items()}
        lines = [f"priority=1,dl_dst={mac},actions=output:{number}\n" for mac, number in asked.items()]
        self._tool("ovs-ofctl", "add-flows", switch, "-", text="".join(lines))
        shown = self._tool("ovs-ofctl", "--no-names", "--no-stats", "dump-flows", switch)
        check_flows(switch, asked, shown)

    def set_port(self, switch: str, interface: str, up: bool) -> None:
        for action in ("receive", "forward") if up else ("no-receive", "no-forward"):
            self._tool("ovs-ofctl", "mod-port", switch, interface, action)
        # Otherwise the datapath would keep using its cached flows for some milliseconds.
        self._tool("ovs-appctl", "-t", "ovs-vswitchd", "revalidator/purge")

    def _check_ports(self) -> None:
        columns = "--columns=name,ofport,error"
        listing = self._tool("ovs-vsctl", "--format=json", columns, "list", "Interface")
        actual = {name: (number, error) for name, number, error in json.loads(listing)["data"]}
        asked = {name: number for ports in self._ports.values() for name, number in _numbered(ports).items()}
        for interface, number in asked.items():
            if actual.get(interface, (None, ""))[0] != number:
                _, error = actual.get(interface, (None, "it is not there"))
                raise RunError(f"Open vSwitch did not take {interface} as port {number}: {error}")

    def _widen_buffers(self, switch: str) -> None:
        """Make room for all that the links' queues can hold; the ports are still down, so nothing is sent."""
        frame = f"{'ff' * 6}{'02' + '00' * 5}88b5{'00' * 46}"
        self._tool("ovs-ofctl", "packet-out", switch, f"in_port=controller packet={frame} actions=output:1")
        packet_buffers.widen(self.pid)

    def _tool(self, *command: str, text: str = "") -> str:
        """Run one of Open vSwitch's programs on our daemons; returns its output. Raises RunError with its errors."""
        # By default they write every call to the system's log.
        program, *arguments = command
        try:
            done = subprocess.run(
                [program, "-vsyslog:off", *arguments],
                input=text,
                capture_output=True,
                text=True,
                timeout=_TOOL_PATIENCE_S + 5,
                env=os.environ | self._locations,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunError(f"{' '.join(command[:5])}: {error}") from None
        if done.returncode != 0:
            raise RunError(
                f"{' '.join(command[:5])} failed: {'; '.join(done.stderr.strip().splitlines()[:5])}"
            )
        return done.stdout

    def _spawn(self, stack: contextlib.ExitStack, command: list[str], name: str) -> subprocess.Popen[bytes]:
        """A daemon that ends with the stack."""
        log = stack.enter_context((self._folder / f"{name}.log").open("wb"))
        try:
            daemon = subprocess.Popen(
                [*command, "-vsyslog:off", "--no-chdir"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._locations,
                # Ctrl-C must not stop the switches before the agents have ended.
                start_new_session=True,
            )
        except OSError as error:
            raise RunError(f"{name} cannot be run: {error.strerror}") from None
        stack.callback(daemon.wait)
        stack.callback(daemon.kill)
        note(daemon.pid)
        return daemon

    def _wait_for(self, path: Path, daemon: subprocess.Popen[bytes]) -> None:
        """Wait until the daemon has made that file. Raises RunError with its last log lines."""
        deadline = time.monotonic() + _START_PATIENCE_S
        while not path.exists():
            if daemon.poll() is not None or time.monotonic() > deadline:
                words = "; ".join(
                    line for log in self._folder.glob("*.log") for line in log.read_text().splitlines()[-3:]
                )
                raise RunError(f"Open vSwitch did not start: {words or 'its logs are empty'}")
            time.sleep(0.005)


def _numbered(interfaces: list[str]) -> dict[str, int]:
    """OpenFlow's port numbers."""
    return {interface: number for number, interface in enumerate(interfaces, start=1)}


def check_flows(switch: str, asked: Mapping[str, int], shown: str) -> None:
    """Compare what `ovs-ofctl dump-flows` shows with destination MAC -> port number.

    Raises RunError naming the first difference.
    """
    actual = {}
    for line in shown.splitlines():
        if match := _FLOW.search(line):
            actual[match[1]] = int(match[2])
        elif "actions=" in line:
            raise RunError(f"{switch}: a flow that nobody asked for: {line.strip()}")
    for mac in asked.keys() | actual.keys():
        if actual.get(mac) != asked.get(mac):
            raise RunError(
                f"{switch}: frames for {mac} go to port {actual.get(mac)} instead of {asked.get(mac)}"
            )
