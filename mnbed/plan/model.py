"""What a plan is: hosts, links, forwarding and the events of a run, every name, rate and time decided.

Frozen data, and the questions that whoever executes or prices a plan asks of it; `make.py` is how it is made.
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
    """Hosts."""
    asked: PairProperties
    """In emulated units, beside what the access link has."""
    wire: PairProperties


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction of a link: what is sent at `source` and arrives at `target`."""

    source: str
    target: str
    interface: str
    """At the source; its egress carries the shaping."""
    arrival: str
    """The interface at the target."""
    asked: LinkProperties
    """In emulated units, as the experiment asks."""
    wire: LinkProperties
    """In wall-clock units: `asked` under the run's dilation; what shaping puts on the interface."""
    branches: tuple[Branch, ...] = ()
    """Of a host's access link: what else limits its packets, by destination."""


@dataclass(frozen=True, kw_only=True)
class LinkPlan:
    """One edge of the network graph: two interfaces, and a direction from each."""

    forward: Direction
    """From a to b: on an access link from the host to its switch."""
    backward: Direction
    straggler: bool = False
    """True for a straggler's access link: of `network.stragglers`, or slower than half of the hosts' median."""

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
    """True if the experiment slowed this host's access link."""
    step_time_s: float
    """Emulated cost of one local step on this node, slow-node factor included."""
    peers: tuple[str, ...]
    """Names of the overlay neighbours, in host order."""
    label: str | None = None
    """What the topology's source calls it, where that is not its name."""
    region: str | None = None


# What happens to the network and its nodes while an experiment runs: a sorted list of elementary events.
#
# `network.events` of the experiment file is a richer language (flaps, churn, traces, partitions that heal); it is
# expanded into these when the plan is made, so that whoever applies them decides nothing.


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens at an emulated time."""

    at_s: float
    """Emulated seconds since the common start."""
    text: str
    """What a user reads on plots and in logs: "h3 - s1: bandwidth 5mbit"."""
    entry: int
    """Which entry of `network.events` it comes from, from 0."""


@dataclass(frozen=True, kw_only=True)
class Reshape(Event):
    """Links get other properties."""

    directions: tuple[Direction, ...]
    """The directions that change, with all their properties from then on."""


@dataclass(frozen=True, kw_only=True)
class SetLink(Event):
    """A link goes down or comes up, both ways; packets on a link that is down are lost without a word."""

    a: str
    b: str
    up: bool


@dataclass(frozen=True, kw_only=True)
class SetPartition(Event):
    """Hosts of different groups no longer reach each other; no groups: everybody reaches everybody again."""

    groups: tuple[tuple[str, ...], ...]
    """Disjoint groups of hosts; a host in none of them reaches all."""


@dataclass(frozen=True, kw_only=True)
class NodeEvent(Event):
    """Something happens to an agent's process."""

    node: str
    action: Literal["kill", "pause", "resume", "restart"]
    state: Literal["last", "fresh"] = "last"
    """What a restarted node begins with: its last snapshot, or the initial model."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a run does, decided."""

    experiment: Experiment
    dilation: float
    delay_backend: str
    """"netem", "nfqueue", or "none" if no link has a delay."""
    hosts: tuple[HostPlan, ...]
    switches: tuple[str, ...]
    links: tuple[LinkPlan, ...]
    forwarding: Mapping[str, Mapping[str, str]]
    """switch -> destination host's MAC -> that switch's outgoing interface; from shortest paths by delay."""
    dilation_asked: float | str = 1.0
    """The experiment's own word: a number, or auto."""
    step: StepCost | None = None
    """What a local step costs on this machine, where it was measured."""
    datapath: str | None = None
    """With Open vSwitch: "kernel" or "userspace"."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Host or switch -> what the topology's source calls it, where that is not its name."""
    timeline: tuple[Event, ...] = ()
    """What happens during the run, in order of time."""
    subnet: str = "10.0.0.0/8"

    def host(self, name: str) -> HostPlan:
        """The host of that name. Raises KeyError."""
        return self._hosts_by_name[name]

    @property
    def open_files(self) -> int:
        """Files that the busiest process of the run has open."""
        peers = max(len(host.peers) for host in self.hosts)
        return feasible.open_files(len(self.hosts), len(self.switches), peers)

    @functools.cached_property
    def _hosts_by_name(self) -> Mapping[str, HostPlan]:
        return {host.name: host for host in self.hosts}

    @functools.cached_property
    def directions(self) -> Mapping[tuple[str, str], Direction]:
        """(source, target) -> that direction of their link."""
        return {(one.source, one.target): one for link in self.links for one in link.directions}

    @functools.cached_property
    def _by_interface(self) -> Mapping[str, Direction]:
        return {one.interface: one for one in self.directions.values()}

    @functools.cached_property
    def _access(self) -> Mapping[str, Direction]:
        names = {host.name for host in self.hosts}
        return {one.source: one for one in self.directions.values() if one.source in names}

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
        """What lies between two hosts beside the links on the way, wall-clock units."""
        return self._pairs.get((source, target))

    def path(
        self, source: str, target: str, wires: Mapping[tuple[str, str], LinkProperties] | None = None
    ) -> PathProperties:
        """What the links on the way from one host to another do together, wall-clock units.

        `wires`: (source, target) of a direction -> its properties now, where events have changed them.
        """
        links = (
            one.wire if wires is None else wires.get((one.source, one.target), one.wire)
            for one in self.route(source, target)
        )
        return along(links, self.pair(source, target))
