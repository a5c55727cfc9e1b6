"""What a plan is: hosts, links, forwarding and the events of a run, with every name, rate and time decided.

Frozen data, with the queries that its users need; `make.py` makes it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mnbed.experiment.sections import Experiment
from mnbed.plan import feasible
from mnbed.plan.properties import LinkProperties, PairProperties, PathProperties, along
from mnbed.plan.step_cost import StepCost


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Destinations that share one queue at the sender."""

    targets: tuple[str, ...]
    """Names of the destination hosts."""
    asked: PairProperties
    """In emulated units, in addition to those of the access link."""
    wire: PairProperties


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction of a link: what is sent at `source` and arrives at `target`."""

    source: str
    target: str
    interface: str
    """The interface at the source; its egress is shaped."""
    arrival: str
    """The interface at the target."""
    asked: LinkProperties
    """In emulated units, as the experiment asks for."""
    wire: LinkProperties
    """In wall-clock units: `asked` under the run's dilation, as applied to the interface."""
    branches: tuple[Branch, ...] = ()
    """On a host's access link: further limits on its packets, by destination."""


@dataclass(frozen=True, kw_only=True)
class LinkPlan:
    """One edge of the network graph: two interfaces, and a direction from each."""

    forward: Direction
    """From a to b: on an access link from the host to its switch."""
    backward: Direction
    straggler: bool = False
    """Whether this is a straggler's access link: one of `network.stragglers`, or below half of the hosts' median."""

    @property
    def a(self) -> str:
        return self.forward.source

    @property
    def b(self) -> str:
        return self.forward.target

    @property
    def a_interface(self) -> str:
        return self.forward.interface

    @property
    def b_interface(self) -> str:
        return self.backward.interface

    @property
    def directions(self) -> tuple[Direction, Direction]:
        return self.forward, self.backward


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
    """Whether this host's access link is a straggler's."""
    step_time_s: float
    """Emulated cost of one local step on this node, slow-node factor included."""
    peers: tuple[str, ...]
    """Names of the overlay neighbours, in host order."""
    label: str | None = None
    """What the topology's source calls it, if that is not its name."""
    region: str | None = None


# What happens to the network and its nodes during a run: a sorted list of elementary events.
#
# `network.events` of the experiment file is a richer language (flaps, churn, traces, partitions that heal); it is
# expanded into these when the plan is made, so that nothing is left to decide when they are applied.


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens at an emulated time."""

    at_s: float
    """Emulated seconds since the common start."""
    text: str
    """What users read in figures and logs: "h3 - s1: bandwidth 5mbit"."""
    entry: int
    """Number of the entry of `network.events` that it comes from, from 0."""


@dataclass(frozen=True, kw_only=True)
class Reshape(Event):
    """The properties of links change."""

    directions: tuple[Direction, ...]
    """The directions that change, with all their properties from then on."""


@dataclass(frozen=True, kw_only=True)
class SetLink(Event):
    """A link goes down or comes up in both directions; packets on a link that is down are lost silently."""

    a: str
    b: str
    up: bool


@dataclass(frozen=True, kw_only=True)
class SetPartition(Event):
    """Hosts of different groups can no longer reach each other; no groups: all hosts can reach each other again."""

    groups: tuple[tuple[str, ...], ...]
    """Disjoint groups of hosts; a host in none of them reaches all others."""


@dataclass(frozen=True, kw_only=True)
class NodeEvent(Event):
    """Something happens to an agent's process."""

    node: str
    action: Literal["kill", "pause", "resume", "restart"]
    state: Literal["last", "fresh"] = "last"
    """What a restarted node starts from: its last snapshot, or the initial model."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run does, decided in advance."""

    experiment: Experiment
    dilation: float
    delay_backend: str
    """"netem", "nfqueue", or "none" if no link has a delay."""
    hosts: tuple[HostPlan, ...]
    switches: tuple[str, ...]
    links: tuple[LinkPlan, ...]
    forwarding: Mapping[str, Mapping[str, str]]
    """Switch -> destination host's MAC -> the switch's outgoing interface; from shortest paths by delay."""
    dilation_asked: float | str = 1.0
    """As set in the experiment: a number, or auto."""
    step: StepCost | None = None
    """What a local step costs on this machine, if it was measured."""
    datapath: str | None = None
    """With Open vSwitch: "kernel" or "userspace"."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Host or switch -> what the topology's source calls it, if that is not its name."""
    timeline: tuple[Event, ...] = ()
    """What happens during the run, in order of time."""
    subnet: str = "10.0.0.0/8"

    def host(self, name: str) -> HostPlan:
        """The host of that name. Raises KeyError."""
        return self._hosts_by_name[name]

    @property
    def open_files(self) -> int:
        """Number of open files of the process that has the most."""
        peers = max(len(host.peers) for host in self.hosts)
        return feasible.open_files(len(self.hosts), len(self.switches), peers)

    @functools.cached_property
    def _hosts_by_name(self) -> Mapping[str, HostPlan]:
        return {host.name: host for host in self.hosts}

    @functools.cached_property
    def directions(self) -> Mapping[tuple[str, str], Direction]:
        """(source, target) -> that direction of their link."""
        return {
            (direction.source, direction.target): direction
            for link in self.links
            for direction in link.directions
        }

    @functools.cached_property
    def _by_interface(self) -> Mapping[str, Direction]:
        return {direction.interface: direction for direction in self.directions.values()}

    @functools.cached_property
    def _access(self) -> Mapping[str, Direction]:
        names = {host.name for host in self.hosts}
        return {
            direction.source: direction for direction in self.directions.values() if direction.source in names
        }

    @functools.cached_property
    def _macs(self) -> Mapping[str, str]:
        return {host.name: host.mac for host in self.hosts}

    def route(self, source: str, target: str) -> Iterator[Direction]:
        """The directions that a packet takes from one host to another."""
        mac = self._macs[target]
        direction = self._access[source]
        yield direction
        while direction.target != target:
            direction = self._by_interface[self.forwarding[direction.target][mac]]
            yield direction

    @functools.cached_property
    def _pairs(self) -> Mapping[tuple[str, str], PairProperties]:
        return {
            (source, target): branch.wire
            for source, direction in self._access.items()
            for branch in direction.branches
            for target in branch.targets
        }

    def pair(self, source: str, target: str) -> PairProperties | None:
        """The limits between two hosts in addition to the links on the way; wall-clock units. None: there are none."""
        return self._pairs.get((source, target))

    def path(
        self, source: str, target: str, wires: Mapping[tuple[str, str], LinkProperties] | None = None
    ) -> PathProperties:
        """The combined properties of the links from one host to another, wall-clock units.

        `wires`: (source, target) of a direction -> its properties now, if events have changed them.
        """
        links = (
            direction.wire
            if wires is None
            else wires.get((direction.source, direction.target), direction.wire)
            for direction in self.route(source, target)
        )
        return along(links, self.pair(source, target))
