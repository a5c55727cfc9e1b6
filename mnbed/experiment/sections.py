"""The experiment file as frozen dataclasses, one per section: fields, units, defaults, limits, docstrings.

Nothing here reads a file or looks at the machine, so what is valid here is valid everywhere. Settings of
algorithms, tasks and topology generators are checked by the classes and functions that use them. `loading.py`
turns errors into messages for the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo

import topologies
from mnbed.experiment.event_settings import EventEntry
from mnbed.experiment.fields import (
    Count,
    Number,
    PositiveDuration,
    Section,
    SettingsError,
    did_you_mean,
    file_name,
    no_bool,
    one_line,
)
from mnbed.experiment.fields import adapter as _adapter
from mnbed.experiment.foreign import foreign_settings, plain
from mnbed.experiment.link_settings import LinkSettings, OneLinkSettings
from mnbed.experiment.step_time import StepTime
from mnbed.experiment.variants import field_types, variants
from node_agent import algorithms, tasks
from node_agent.algorithms import AlgorithmSettings
from node_agent.tasks._interface import TaskSettings
from topologies.description import KEYS as DESCRIPTION_KEYS
from topologies.description import from_description, to_description
from topologies.reading import brief

# What a section selects by default.
DEFAULT_NAMES = {"algorithm": "divshare", "task": "digits", "topology": "star"}
# Wall seconds per emulated second: about three hours.
MAX_DILATION = 10_000
# Kind of overlay -> the keys it takes, the first of which must be given.
OVERLAY_KEYS: dict[str, tuple[str, ...]] = {
    "complete": (),
    "ring": (),
    "random_regular": ("degree",),
    "small_world": ("degree", "probability"),
    "networkx": ("graph", "args"),
    "edges": ("edges",),
}
# The kind of a topology that is written out; files become such topologies when an experiment is loaded.
INLINE = "inline"


def _as_dict(settings: Any) -> dict[str, Any]:
    return plain(settings)


def _dilation(value: Any) -> float | str:
    if value == "auto":
        return "auto"
    try:
        number = float(no_bool(value))
    except (TypeError, ValueError):
        raise ValueError("it must be 'auto' or a number such as 4") from None
    if not 0.01 <= number <= MAX_DILATION:
        raise ValueError(f"it must be 'auto' or a number from 0.01 to {MAX_DILATION}")
    return number


def _target(value: float) -> float:
    """Refuses what no task's score can reach; `soundness` refuses what the chosen task's score cannot reach."""
    if not 0 < value <= 5:
        raise ValueError("it must be above 0 and at most 5; an accuracy is a fraction: 0.7 for 70 %")
    return value


def known_name(what: str, given: Any, allowed: Sequence[str]) -> str:
    """The allowed name that `given` spells; hyphens and underscores, and upper and lower case, are the same. Raises
    SettingsError.
    """
    name = algorithms.canonical_name(str(given))
    if what != "algorithm":
        name = name.replace("-", "_")
    if name not in allowed:
        raise SettingsError([("name", f"unknown {what} {brief(given)}{did_you_mean(name, allowed)}")])
    return name


def _algorithm(section: Any, info: ValidationInfo | None) -> Any:
    sends = None if info is None or info.context is None else info.context["planned_sends"]
    if sends is not None and isinstance(section, Mapping) and section.get("module") is not None:
        return foreign_settings(section, sends)
    settings = _settings_class("algorithm", section)
    return _adapter(settings).validate_python({**section, "name": _name("algorithm", section)})


def _task(section: Any) -> Any:
    settings = _settings_class("task", section)
    return _adapter(settings).validate_python({**section, "name": _name("task", section)})


def _name(what: str, section: Any) -> str:
    """The name of the algorithm or task that the section selects."""
    if not isinstance(section, Mapping):
        raise ValueError(f"it must be a section such as {{name: {DEFAULT_NAMES[what]}}}")
    if what == "algorithm" and section.get("module") is not None:
        if not isinstance(section.get("name"), str):
            raise SettingsError([("name", "missing; an algorithm of your own needs a name")])
        own = algorithms.canonical_name(section["name"])
        if own in algorithms.algorithm_names():
            raise SettingsError(
                [("name", f"got {section['name']}, which comes with mnbed; choose another name for yours")]
            )
        return own
    allowed = algorithms.algorithm_names() if what == "algorithm" else tasks.task_names()
    return known_name(what, section.get("name", DEFAULT_NAMES[what]), allowed)


def _settings_class(what: str, section: Any) -> type:
    name = _name(what, section)
    if what == "task":
        return tasks.task_class(name).Settings
    try:
        return algorithms.algorithm_class(name, section.get("module")).Settings
    except (ImportError, TypeError) as error:
        raise SettingsError([("module", str(error))]) from None


def _topology(section: Any) -> dict[str, Any]:
    """{kind, every parameter of that generator}."""
    if not isinstance(section, Mapping):
        raise ValueError("it must be a section such as {kind: star, nodes: 8}")
    given = {key: value for key, value in section.items() if key != "kind"}
    if section.get("kind") == INLINE:
        try:
            return {"kind": INLINE, **to_description(from_description(given))}
        except ValueError as error:
            raise SettingsError([(None, str(error))]) from None
    try:
        kind = topologies.canonical(str(section.get("kind", DEFAULT_NAMES["topology"])))
        return {"kind": kind, **topologies.resolve(kind, given)}
    except topologies.ParameterError as error:
        raise SettingsError(error.problems) from None


def _with_underscores(value: Any) -> Any:
    return value.replace("-", "_") if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class StragglerSettings(Section):
    """Hosts with a slower access link: bandwidth / factor, varied by `spread`."""

    count: Count = 0
    """How many, drawn from the seed."""
    factor: Annotated[Number, Field(ge=1)] = 5.0
    """How much slower."""
    spread: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    """Each straggler's bandwidth is drawn from within this fraction of bandwidth / factor; ignored if factor is 1."""
    hosts: tuple[str, ...] | None = None
    """Names of the stragglers, e.g. [h1, h3], instead of `count` random ones."""


@dataclass(frozen=True, kw_only=True)
class TcpSettings(Section):
    """TCP settings of all hosts."""

    congestion_control: str = "cubic"
    """One that the kernel offers; `mnbed doctor` lists them."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Section):
    """The emulated network: hosts, switches, links."""

    topology: Annotated[dict[str, Any], PlainValidator(_topology)] = field(
        default_factory=lambda: _topology({})
    )
    """A generator (`kind`) and its parameters; or `file`, a graph in one of many formats; or a graph written out here,
    with kind: inline. See docs/topologies.md."""
    link: LinkSettings = field(default_factory=LinkSettings)
    stragglers: StragglerSettings = field(default_factory=StragglerSettings)
    links: tuple[OneLinkSettings, ...] = ()
    """Individual links that differ from `link`; these override everything else, including stragglers."""
    switch: Literal["bridge", "ovs"] = "bridge"
    """How switches are built: a Linux bridge with static entries, or Open vSwitch with static flows."""
    delay_backend: Literal["auto", "netem", "nfqueue"] = "auto"
    """What delays packets; auto: netem if the kernel has it, otherwise nfqueue."""
    tcp: TcpSettings = field(default_factory=TcpSettings)
    events: tuple[EventEntry, ...] = ()
    """What happens during the run: links change, nodes come and go. Its keys determine the kind of an entry."""
    probe: Annotated[bool, Field(strict=True)] = True
    """Measure every link's bandwidth and delay before training; takes a second or two, and serves the verdict."""


@dataclass(frozen=True, kw_only=True)
class OverlaySettings(Section):
    """Which nodes may exchange models; not the same graph as the network."""

    kind: Annotated[
        Literal["complete", "ring", "random_regular", "small_world", "networkx", "edges"],
        BeforeValidator(_with_underscores),
    ] = "complete"
    """complete: all pairs; ring; random_regular: a connected random graph with `degree` peers per node; small_world: a
    ring with `degree` neighbours per node, some edges rewired; networkx: one of its generators; edges: a list."""
    degree: Annotated[int, Field(strict=True, ge=1)] | None = None
    """Peers per node; required by random_regular and small_world."""
    probability: Annotated[Number, Field(ge=0, le=1)] | None = None
    """small_world: probability of rewiring an edge; null: 0.2."""
    graph: str | None = None
    """networkx: the generator's name, e.g. petersen_graph; it must return as many nodes as there are hosts."""
    args: dict[str, Any] | None = None
    """networkx: the generator's parameters; `seed`, if it takes one, comes from the experiment."""
    edges: tuple[tuple[str, str], ...] | str | None = None
    """edges: pairs of hosts, [[h1, h2], [h2, h3]]; or a file with one pair per line, names or numbers from 0."""

    def __post_init__(self) -> None:
        allowed = OVERLAY_KEYS[self.kind]
        for key in ("degree", "probability", "graph", "args", "edges"):
            if getattr(self, key) is not None and key not in allowed:
                raise ValueError(f"kind {self.kind} takes no {key}")
        if allowed and getattr(self, allowed[0]) is None:
            raise ValueError(f"kind {self.kind} needs {'a ' if allowed[0] != 'edges' else ''}{allowed[0]}")


@dataclass(frozen=True, kw_only=True)
class SlowNodeSettings(Section):
    """Nodes that compute more slowly: step_time x factor, varied by `spread`."""

    count: Count = 0
    """How many, drawn from the seed."""
    factor: Annotated[Number, Field(ge=1)] = 1.0
    """How many times step_time a step takes on them."""
    spread: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Each slow node's step time is drawn from within this fraction of step_time x factor."""
    hosts: tuple[str, ...] | None = None
    """Names of the slow nodes, e.g. [h1, h3], instead of `count` random ones."""


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(Section):
    """The emulated cost of computing."""

    step_time: StepTime = 0.02
    """Emulated time of a local training step: a time; a list with one per node; a distribution to draw them from; or
    measured: what a step takes on this machine when nothing else runs."""
    slow_nodes: SlowNodeSettings = field(default_factory=SlowNodeSettings)


@dataclass(frozen=True, kw_only=True)
class TimeSettings(Section):
    """How long the run lasts, and how fast emulated time passes."""

    duration: PositiveDuration = 60.0
    """How long the agents train, in emulated time."""
    dilation: Annotated[float | str, BeforeValidator(_dilation)] = "auto"
    """Wall seconds per emulated second: above 1 gives a small machine time to keep up; auto: the smallest, at least 1,
    at which the planned CPU time fits 70 % of the cores."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Section):
    """How models are evaluated, after the network has been taken down."""

    every: PositiveDuration = 5.0
    """Emulated time between snapshots of a node's model."""
    samples: Annotated[int, Field(strict=True, ge=1)] | None = 1000
    """Test samples per snapshot; null: all."""
    targets: tuple[Annotated[Number, AfterValidator(_target)], ...] = ()
    """Scores whose time to reach is reported: accuracies as fractions, [0.5, 0.6]; RMSE for movielens, [1.0, 0.95]."""
    model: Literal["aggregated", "current"] = "aggregated"
    """Which of a node's models is evaluated: the one its last aggregation produced, which is what papers report, or the
    current one in the middle of local training, biased towards the node's own data."""
    keep_snapshots: bool = False
    """Keep the snapshots in the run directory after the evaluation."""


@dataclass(frozen=True, kw_only=True)
class AgentsSettings(Section):
    """How agents run; rarely needs changing."""

    launch: Literal["prefork", "exec"] = "prefork"
    """prefork: forked from one warm parent; exec: `python -m node_agent` on each host, slow, for debugging."""
    port: Annotated[int, Field(strict=True, ge=1024, le=65535)] = 9000
    """TCP port on which every agent listens."""
    ledger: bool | None = None
    """Record each fragment's creation, sending, dropping, arrival and aggregation; null: only up to 64 nodes."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Section):
    """An experiment file with every default filled in."""

    name: Annotated[str, Field(max_length=100), AfterValidator(file_name)] = "experiment"
    """What the run directory and the report are called."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 1
    """Determines everything random: stragglers, overlay, data split, initial parameters, choice of peers."""
    data_root: Annotated[str, AfterValidator(one_line)] | None = None
    """Where data sets are stored; null: $MNBED_DATA, otherwise ~/.cache/mnbed."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    overlay: OverlaySettings = field(default_factory=OverlaySettings)
    algorithm: Annotated[AlgorithmSettings, PlainValidator(_algorithm), PlainSerializer(_as_dict)] = field(
        default_factory=lambda: _algorithm({}, None)
    )
    """What nodes exchange, and when: a name and its settings."""
    task: Annotated[TaskSettings, PlainValidator(_task), PlainSerializer(_as_dict)] = field(
        default_factory=lambda: _task({})
    )
    """What is learned: a name and its settings."""
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    time: TimeSettings = field(default_factory=TimeSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    agents: AgentsSettings = field(default_factory=AgentsSettings)


def parse(
    sections: Mapping[str, Any], planned_sends: Mapping[int, tuple[float, int]] | None = None
) -> Experiment:
    """The experiment of those sections. Raises pydantic.ValidationError with every error.

    planned_sends: if given, an algorithm in a user's file is not imported; see `foreign.py`.
    """
    context = {"planned_sends": planned_sends}
    experiment: Experiment = _adapter(Experiment).validate_python(sections, context=context)
    return experiment


def resolved(experiment: Experiment) -> dict[str, Any]:
    """Plain dicts, lists, text and numbers, defaults included, from which `parse` makes an equal experiment."""
    plain: dict[str, Any] = _adapter(Experiment).dump_python(experiment)
    return plain


def settings_class(section: str, sections: Mapping[str, Any]) -> type | None:
    """The Settings class that checks the section `algorithm` or `task`; None for other sections."""
    return _settings_class(section, sections[section]) if section in ("algorithm", "task") else None


def algorithm_keys(section: Mapping[str, Any]) -> list[str]:
    """The keys that the section's algorithm takes. Raises ValueError for an unknown one."""
    return [item.name for item in fields(_settings_class("algorithm", section))]


def keys_of_kind(path: tuple[str, ...], value: Any, sections: Mapping[str, Any]) -> list[str] | None:
    """The keys allowed next to the key `path` when it has that value: those of that task, generator, ...

    `sections`: the file, whose task determines what task.partition.kind may be. None if `path` selects no kind.
    Raises ValueError for an unknown value.
    """
    if path in (("algorithm", "name"), ("task", "name")):
        return [item.name for item in fields(_settings_class(path[0], {"name": value}))]
    if path == ("network", "topology", "kind"):
        return ["kind", *(DESCRIPTION_KEYS if value == INLINE else topologies.parameters(str(value)))]
    if path == ("overlay", "kind"):
        return ["kind", *OVERLAY_KEYS.get(_with_underscores(value), ())]
    if path[0] in ("algorithm", "task") and path[2:] == ("kind",):
        settings = _settings_class(path[0], sections.get(path[0], {}))
        choices = variants(field_types(settings).get(path[1]))
        if value in choices:
            return [item.name for item in fields(choices[value])]
    return None
