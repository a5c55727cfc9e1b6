"""From an experiment and the facts of a machine to a frozen Plan: every name, address, route and dilated rate.

Pure: nothing here touches the machine, opens a file or draws from a random generator that the seed does not fix.
What comes after only executes the plan, so `mnbed plan` shows exactly what `mnbed run` will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnbed.experiment import Experiment
from mnbed.links import LinkProperties


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """One emulated host, and the agent that will run in it."""

    name: str
    """h1..hN; also the agent's name."""
    index: int
    """0..N-1: the node's identity on the wire and in every random stream."""
    address: str
    """IPv4 address, e.g. 10.0.0.1."""
    mac: str
    straggler: bool
    """True where the experiment slowed this host's access link."""
    step_time_s: float
    """Emulated cost of one local step on this node, slow-node factor included."""
    peers: tuple[str, ...]
    """Names of the overlay neighbours, in host order."""


@dataclass(frozen=True, kw_only=True)
class LinkPlan:
    """One edge of the network graph: two interfaces, both shaped alike."""

    a: str
    b: str
    a_interface: str
    b_interface: str
    asked: LinkProperties
    """In emulated units, as the experiment asks."""
    wire: LinkProperties
    """In wall-clock units: `asked` under the run's dilation; what shaping puts on the interfaces."""
    straggler: bool = False
    """True for the slowed access link of a straggler."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a run does, decided."""

    experiment: Experiment
    dilation: float
    delay_backend: str
    """"netem", "nfqueue", or "none" where no link has a delay."""
    hosts: tuple[HostPlan, ...]
    switches: tuple[str, ...]
    links: tuple[LinkPlan, ...]
    forwarding: Mapping[str, Mapping[str, str]]
    """switch -> destination host's MAC -> that switch's outgoing interface; from shortest paths by delay."""
    path_delay_s: Mapping[tuple[str, str], float]
    """(source host, destination host) -> sum of the one-way delays along the route, wall-clock seconds."""
    subnet: str = "10.0.0.0/8"

    def host(self, name: str) -> HostPlan:
        """The host of that name. Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)
