"""Kollaps XML, as published with Kollaps (EuroSys 2020) and DivShare's artifact: services, bridges, links.

    <service name="fast" image="..." replicas="53" share="false"/>      53 hosts, each with every link of the service
    <bridge name="switch"/>
    <link origin="fast" dest="switch" latency="1" upload="60Mbps" download="60Mbps" drop="0" network="..."/>

`upload` is the rate from origin to dest, `download` that from dest to origin; with one of them alone the link goes one
way, and needs another link back. `latency` and `jitter` are one-way milliseconds, `drop` is a probability. Services
with supervisor="true" are Kollaps's own.

Links directly between services, without bridges, form a matrix of pairs. It becomes one switch and `paths`: each pair
of hosts gets the rate of its services' link, and a host's own access link is practically unlimited.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from topologies import rules
from topologies.building import MAX_HOSTS
from topologies.burst_loss import NONE
from topologies.description import put_properties
from topologies.formats import safe_xml
from topologies.properties import ATTRIBUTES
from topologies.reading import brief

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)bps", re.IGNORECASE)
_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
# The access link of a host that only pairs limit; HTB's own limit is 34 Gbit/s.
UNLIMITED_BPS = 10e9
_HUB = "s1"


@dataclass(frozen=True, kw_only=True)
class _Link:
    """One <link>, in plain numbers."""

    origin: str
    dest: str
    up: Mapping[str, float] | None
    """From origin to dest."""
    down: Mapping[str, float] | None


@dataclass
class _Parts:
    """What the file says."""

    replicas: dict[str, int] = field(default_factory=dict)
    bridges: list[str] = field(default_factory=list)
    links: list[_Link] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(text: str) -> nx.Graph:
    """Raises ValueError."""
    root = safe_xml.parse(text)
    if root.tag != "experiment":
        raise ValueError(f"not a Kollaps topology: the root element is <{root.tag}>, not <experiment>")
    parts = _parts(root)
    between_services = [link for link in parts.links if {link.origin, link.dest} <= parts.replicas.keys()]
    if between_services and len(between_services) < len(parts.links):
        link = between_services[0]
        raise ValueError(
            f"link {link.origin} - {link.dest} joins two services, while others lead to bridges; a file must not mix "
            "the two"
        )
    graph = _matrix(parts) if between_services else _bridged(parts)
    if parts.notes:
        graph.graph["notes"] = parts.notes
    return graph


def _parts(root: Any) -> _Parts:
    parts = _Parts()
    for service in root.iterfind("services/service"):
        name = _named(service, parts)
        if service.get("supervisor", "").lower() == "true":
            parts.notes.append(f"service {name} is Kollaps's own and was left out")
            continue
        count = service.get("replicas", "1")
        if not count.isdecimal() or not 1 <= int(count) <= MAX_HOSTS:
            raise ValueError(f"service {name}: replicas={brief(count)}; it must be 1 to {MAX_HOSTS}")
        parts.replicas[name] = int(count)
    parts.bridges = [_named(bridge, parts) for bridge in root.iterfind("bridges/bridge")]
    if sum(parts.replicas.values()) > MAX_HOSTS:
        raise ValueError(f"the services have more than {MAX_HOSTS} replicas")
    for number, link in enumerate(root.iterfind("links/link"), start=1):
        parts.links.append(_link(link, number, parts))
    if num_dynamic := len(root.findall("dynamic/schedule")):
        parts.notes.append(f"<dynamic>: {num_dynamic} events were left out; write them as network.events")
    return parts


def _named(element: Any, parts: _Parts) -> str:
    name: str = element.get("name", "")
    if not name:
        raise ValueError(f"a <{element.tag}> has no name")
    if name in parts.replicas or name in parts.bridges:
        raise ValueError(f"{name} is given twice")
    return name


def _link(link: Any, number: int, parts: _Parts) -> _Link:
    origin, dest = link.get("origin", ""), link.get("dest", link.get("destination", ""))
    where = f"link {number} ({origin} - {dest})"
    for end in (origin, dest):
        if end not in parts.replicas and end not in parts.bridges:
            raise ValueError(f"{where}: no service or bridge {brief(end)}")
    common: dict[str, float] = {}
    for key, name, scale in (
        ("latency", "delay_s", 1e-3),
        ("jitter", "jitter_s", 1e-3),
        ("drop", "loss", 1.0),
    ):
        value = link.get(key)
        if value in (None, ""):
            continue
        try:
            common[name] = float(f"{float(value) * scale:.12g}")
        except ValueError:
            raise ValueError(f"{where}: {key}={brief(value)} is not a number") from None
    common = {name: value for name, value in common.items() if value or name == "delay_s"}
    up, down = (_rate(link.get(key), key, where) for key in ("upload", "download"))
    if up is None and down is None:
        raise ValueError(f"{where}: neither upload nor download")
    return _Link(
        origin=origin,
        dest=dest,
        up=None if up is None else {"bandwidth_bps": up, **common},
        down=None if down is None else {"bandwidth_bps": down, **common},
    )


def _rate(text: str | None, key: str, where: str) -> float | None:
    if text in (None, ""):
        return None
    match = _RATE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{where}: {key}={brief(text)}; write for example 60Mbps")
    return float(match[1]) * _SCALE[match[2].upper()]


def _directions(parts: _Parts) -> dict[tuple[str, str], Mapping[str, float]]:
    """(from, to) -> properties, of all links; both directions of every pair. Raises ValueError."""
    directions: dict[tuple[str, str], Mapping[str, float]] = {}
    for link in parts.links:
        for ends, properties in (((link.origin, link.dest), link.up), ((link.dest, link.origin), link.down)):
            if properties is None:
                continue
            if ends in directions and ends[0] != ends[1]:
                raise ValueError(f"link {ends[0]} - {ends[1]} is given twice")
            directions[ends] = properties
    for a, b in directions:
        if (b, a) not in directions:
            raise ValueError(f"link {a} - {b} goes one way only; give its download, or a link back")
    return directions


def _members(name: str, parts: _Parts) -> list[str]:
    count = parts.replicas.get(name, 1)
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]


def _bridged(parts: _Parts) -> nx.Graph:
    graph = nx.Graph()
    for name in parts.replicas:
        graph.add_nodes_from(_members(name, parts), kind="host")
    graph.add_nodes_from(parts.bridges, kind="switch")
    directions = _directions(parts)
    for (a, b), forward in directions.items():
        for source in _members(a, parts):
            for target in _members(b, parts):
                if not graph.has_edge(source, target):
                    graph.add_edge(source, target)
                    put_properties(graph.edges[source, target], source, target, forward, directions[b, a])
    return _as_directed(graph)


def _matrix(parts: _Parts) -> nx.Graph:
    graph = nx.Graph(paths=[], paths_shared=False)
    # With one service per host, its region says the same as its name.
    for name in parts.replicas:
        for member in _members(name, parts):
            graph.add_node(member, kind="host", region=name)
            graph.add_edge(member, _HUB, bandwidth_bps=UNLIMITED_BPS, delay_s=0.0)
    if _HUB in parts.replicas:
        raise ValueError(
            f"a service is called {_HUB}, which is the name of the switch that joins all services"
        )
    graph.nodes[_HUB]["kind"] = "switch"
    directions = _directions(parts)
    for (a, b), forward in directions.items():
        if forward != directions[b, a]:
            raise ValueError(
                f"link {a} - {b}: upload and download of a link between two services must be the same"
            )
        if not any(set(path["between"]) == {a, b} for path in graph.graph["paths"]):
            graph.graph["paths"].append({"between": [a, b], **forward})
    return graph


def _as_directed(graph: nx.Graph) -> nx.Graph:
    """Each direction with its own properties, as other directed formats give it."""
    from topologies.normal_form import flat

    return flat(graph)


# Writing


def write(graph: nx.Graph) -> str:
    """Raises ValueError if the graph has something that Kollaps cannot express, or leaves rates to the experiment."""
    if graph.graph.get("per_pair"):
        raise ValueError("Kollaps limits pairs by links between services; use kind: regions, or a star")
    for a, b, data in graph.edges(data=True):
        for properties in (data, *data.get("towards", {}).values()):
            if properties.get("burst_loss", NONE) != NONE:
                raise ValueError(f"link {a} - {b} loses packets in bursts, which Kollaps cannot express")
    root = ElementTree.Element("experiment", boot="kollaps:2.0")
    services = ElementTree.SubElement(root, "services")
    ElementTree.SubElement(
        services, "service", name="dashboard", image="kollaps/dashboard:1.0", supervisor="true", port="8088"
    )
    write_links = _write_matrix if graph.graph.get("paths") else _write_bridged
    for attributes in write_links(graph, root, services):
        ElementTree.SubElement(root[-1], "link", attributes)
    ElementTree.indent(root, "  ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _write_bridged(graph: nx.Graph, root: Any, services: Any) -> list[dict[str, str]]:
    for host in rules.hosts(graph):
        _service(services, host, 1)
    bridges = ElementTree.SubElement(root, "bridges")
    for switch in rules.switches(graph):
        ElementTree.SubElement(bridges, "bridge", name=switch)
    ElementTree.SubElement(root, "links")
    links = []
    for a, b, data in graph.edges(data=True):
        towards = data.get("towards", {})
        up, down = {**data, **towards.get(b, {})}, {**data, **towards.get(a, {})}
        for key in ATTRIBUTES:
            if key != "bandwidth_bps" and up.get(key, 0.0) != down.get(key, 0.0):
                raise ValueError(
                    f"link {a} - {b}: {key} differs between its directions, which Kollaps cannot express"
                )
        links.append(_link_attributes(a, b, up, down))
    return links


def _write_matrix(graph: nx.Graph, root: Any, services: Any) -> list[dict[str, str]]:
    if graph.graph.get("paths_shared"):
        raise ValueError(
            "paths that all hosts of a region share (paths_shared) cannot be expressed in Kollaps"
        )
    hosts = rules.hosts(graph)
    limited = [
        data.get("bandwidth_bps", 0.0) < UNLIMITED_BPS or data.get("delay_s", 0.0) > 0
        for _, _, data in graph.edges(data=True)
    ]
    if any(limited):
        raise ValueError(
            "Kollaps has no access links beside those between services: give them 10gbit and no delay "
            "(network.link: {bandwidth: 10gbit, delay: 0s})"
        )
    for region in dict.fromkeys(graph.nodes[host]["region"] for host in hosts):
        _service(services, region, sum(graph.nodes[host]["region"] == region for host in hosts))
    ElementTree.SubElement(root, "links")
    links = []
    for path in graph.graph["paths"]:
        a, b = path["between"]
        # Kollaps has no link without a rate.
        properties = {"bandwidth_bps": UNLIMITED_BPS, **path}
        links.append(_link_attributes(a, b, properties, properties))
    return links


def _service(services: Any, name: str, replicas: int) -> None:
    ElementTree.SubElement(
        services, "service", name=name, image="kollaps/dp:1.0", replicas=str(replicas), share="false"
    )


def _link_attributes(a: str, b: str, up: Mapping[str, Any], down: Mapping[str, Any]) -> dict[str, str]:
    for properties in (up, down):
        if properties.get("bandwidth_bps") is None:
            raise ValueError(
                f"link {a} - {b} has no bandwidth, and Kollaps has no default; export an experiment instead"
            )
    attributes = {"origin": a, "dest": b, "latency": f"{up.get('delay_s', 0.0) * 1e3:.12g}"}
    attributes |= {"upload": _rate_text(up["bandwidth_bps"]), "download": _rate_text(down["bandwidth_bps"])}
    if up.get("jitter_s"):
        attributes["jitter"] = f"{up['jitter_s'] * 1e3:.12g}"
    return {**attributes, "drop": f"{up.get('loss') or 0:.12g}", "network": "kollaps_network"}


def _rate_text(bps: float) -> str:
    for letter, scale in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if bps >= scale:
            return f"{bps / scale:.12g}{letter}bps"
    return f"{bps:.12g}bps"
