"""A network as `mnbed topo` and `mnbed export` show it: from a generator, a file, or an experiment.

Nothing here depends on the machine: networks that could not be built on it can still be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import networkx as nx

import topologies
from mnbed.errors import InputError
from mnbed.experiment.loading import load_experiment, naming
from mnbed.experiment.ready_made import find
from mnbed.experiment.sections import Experiment
from mnbed.experiment.yaml_source import parse_value, parse_yaml
from mnbed.plan import draws
from mnbed.plan.links import plan_links
from mnbed.plan.make import network_graph
from mnbed.plan.properties import PROPERTIES
from topologies import files, rules
from topologies.description import put_properties
from topologies.properties import ATTRIBUTES
from topologies.reading import brief, read_text


@dataclass(frozen=True, kw_only=True)
class NetworkView:
    """A graph whose links carry all their known properties."""

    title: str
    graph: nx.Graph
    stragglers: frozenset[str] = frozenset()
    """Hosts with slower links; only experiments have them."""
    notes: Sequence[str] = field(default=())

    def direction(self, source: str, target: str) -> Mapping[str, Any]:
        """The properties of a link in that direction, as far as they are given; see `topologies.properties`."""
        data = self.graph.edges[source, target]
        return {**data, **data.get("towards", {}).get(target, {})}


def view_of(name: str, overrides: Sequence[str], *, seed: int = 1, **options: Any) -> NetworkView:
    """The network that `name` stands for: of an experiment file, a topology file, a generator, or an experiment that
    comes with mnbed, in this order.

    overrides: "key=value" for keys of an experiment or parameters of a generator. options: of `files.load`.
    Raises InputError.
    """
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file() and _is_experiment(path):
        return _of_experiment(path, overrides)
    if path.suffix.lower() in files.FORMATS:
        return _of_file(path, overrides, options)
    if path.exists():
        raise InputError(f"{name}: unknown ending {brief(path.suffix)}; allowed: {files.endings()}")
    if name.replace("-", "_") not in topologies.names() and (experiment := find(path)) != path:
        return _of_experiment(experiment, overrides)
    given = _parameters(overrides)
    try:
        graph = topologies.generate(name, given, seed)
        kind = topologies.canonical(name)
    except topologies.ParameterError as error:
        wrong = error.problems[0][0] == "kind" and "kind" not in given
        hint = "; or give a file" if wrong else ""
        raise InputError(f"{name}: {error}{hint}") from None
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    shown = ", ".join(f"{key}={value}" for key, value in given.items())
    return NetworkView(title=f"{kind} ({shown})" if shown else kind, graph=graph)


def resolved_network(experiment: Experiment) -> tuple[nx.Graph, frozenset[str]]:
    """(graph whose links have the experiment's properties, stragglers). Raises InputError."""
    graph = network_graph(experiment)
    problems: list[str] = []
    stragglers = draws.straggler_factors(experiment, rules.hosts(graph), problems)
    links = plan_links(experiment, graph, stragglers, 1.0, problems)
    if problems:
        raise InputError("\n".join(problems))
    for link in links:
        edge = graph.edges[link.a, link.b]
        for key in (*ATTRIBUTES, "towards"):
            edge.pop(key, None)
        forward, backward = (
            {
                row.edge.attribute: row.to_graph(value)
                for row in PROPERTIES
                if row.edge is not None
                and ((value := getattr(direction.asked, row.field)) or row.key in ("bandwidth", "delay"))
            }
            for direction in link.directions
        )
        put_properties(edge, link.a, link.b, forward, backward)
    return graph, frozenset(link.a for link in links if link.straggler)


def _of_experiment(path: Path, overrides: Sequence[str]) -> NetworkView:
    notes: list[str] = []
    experiment = load_experiment(path, overrides, notes.append)
    with naming(path):
        graph, stragglers = resolved_network(experiment)
    return NetworkView(title=experiment.name, graph=graph, stragglers=stragglers, notes=notes)


def _of_file(path: Path, overrides: Sequence[str], options: Mapping[str, Any]) -> NetworkView:
    if overrides:
        raise InputError(
            f"--set {overrides[0]}: {path} is a topology file, and only experiments and generators have keys"
        )
    try:
        graph = files.load(path, **options)
    except ValueError as error:
        raise InputError(str(error)) from None
    return NetworkView(title=path.name, graph=graph, notes=graph.graph.get("notes", ()))


def _is_experiment(path: Path) -> bool:
    """Whether a YAML file has a section of experiments; for one that cannot be read, its loader reports the error."""
    try:
        data = parse_yaml(read_text(path, files.MAX_FILE_BYTES), str(path)).data
    except (InputError, OSError, ValueError):
        return False
    return bool(data.keys() & Experiment.__dataclass_fields__.keys()) and "hosts" not in data


def _parameters(overrides: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {text}: write parameter=value, for example --set nodes=16")
        try:
            parsed = parse_value(value)
        except ValueError as error:
            raise InputError(f"--set {text}: {error}") from None
        outer, dot, inner = key.strip().partition(".")
        if dot:  # args.n=3 of a generator that takes a mapping
            given.setdefault(outer, {})[inner] = parsed
        else:
            given[outer] = parsed
    return given


def say_notes(view: NetworkView, say: Callable[[str], None]) -> None:
    """Pass on the notes about choices that a file leaves open."""
    for text in view.notes:
        say(f"note: {text}")
