"""The experiment file as frozen dataclasses, one for each section: fields, units, defaults, limits,
docstrings.

Nothing here reads a file or looks at the machine, so what is valid here is valid everywhere. Settings of
algorithms, tasks and topology generators are checked by the classes and functions that use them. `loading.py`
turns the errors into messages for the user.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, TypeAdapter

import topologies
from mnbed import units
from mnbed.variants import field_types, variants
from node_agent import algorithms, tasks
from node_agent.algorithms import AlgorithmSettings
from node_agent.tasks._interface import TaskSettings

# What a section is about that does not say so.
DEFAULT_NAMES = {"algorithm": "divshare", "task": "digits", "topology": "star"}
# Keys that a later version will take: said so, rather than called unknown.
NOT_YET: dict[tuple[str | int, ...], str] = {
    ("network", "events"): "events are not there yet",
    (
        "network",
        "topology",
        "file",
    ): "reading a graph from a file is not there yet; use a generator (kind: ...)",
}


class SettingsError(ValueError):
    """Wrong settings of an algorithm, a task or a generator.

    `problems` holds (key inside the section or None, message) for each; a key may be a pydantic location's
    first part.
    """

    def __init__(self, problems: list[tuple[str | None, str]]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


# Building one takes a tenth of a second.
_adapter = functools.cache(TypeAdapter[Any])


def _as_dict(settings: Any) -> dict[str, Any]:
    return asdict(settings)


def _twelve_digits(value: float) -> float:
    # "0.3ms" and "300us" must be the same number, or a resolved experiment would differ from its original in
    # the last bit.
    return float(f"{value:.12g}")


def _above_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("it must be above 0")
    return value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


def _one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("it must be one line of printable text")
    return value


def _dilation(value: Any) -> float | str:
    if value == "auto":
        return "auto"
    try:
        number = float(_no_bool(value))
    except (TypeError, ValueError):
        raise ValueError("it must be 'auto' or a number such as 4") from None
    if not 0.01 <= number <= 10_000:
        raise ValueError("it must be 'auto' or a number from 0.01 to 10000")
    return number


def _queue(value: Any) -> Any:
    """Packets, or bandwidth-delay products as text: "2bdp"."""
    if value is None:
        return None
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*bdp", value.strip().lower())):
        if not 0 < float(match[1]) <= 1000:
            raise ValueError("it must be above 0bdp and at most 1000bdp")
        return f"{float(match[1]):g}bdp"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return value
    raise ValueError(
        "it must be a number of packets, 1 to 1000000, or of bandwidth-delay products, such as 2bdp"
    )


def _fraction(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        raise ValueError("write a fraction, not a percentage: 0.01 for 1 %")
    return _no_bool(value)


Bandwidth = Annotated[units.Bandwidth, AfterValidator(_twelve_digits)]
Duration = Annotated[units.Duration, AfterValidator(_twelve_digits)]
PositiveBandwidth = Annotated[Bandwidth, AfterValidator(_above_zero)]
PositiveDuration = Annotated[Duration, AfterValidator(_above_zero)]
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Fraction = Annotated[float, BeforeValidator(_fraction), Field(ge=0, le=1, allow_inf_nan=False)]
Queue = Annotated[int | str | None, BeforeValidator(_queue)]
Distribution = Literal["normal", "uniform", "pareto", "paretonormal"]


def did_you_mean(wrong: str, allowed: Iterable[str]) -> str:
    """ "; did you mean degree? (allowed: degree, name)" for a misspelt name."""
    allowed = list(allowed)
    close = difflib.get_close_matches(wrong, allowed, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant} (allowed: {', '.join(allowed)})" if allowed else meant


def known_name(what: str, given: Any, allowed: Sequence[str]) -> str:
    """The allowed name that was meant, hyphens and underscores being alike. Raises SettingsError."""
    name = str(given).replace("-", "_")
    if name not in allowed:
        raise SettingsError([("name", f"unknown {what} {given!r}{did_you_mean(name, allowed)}")])
    return name


def _algorithm(section: Any) -> Any:
    settings = _settings_class("algorithm", section)
    return _adapter(settings).validate_python({**section, "name": _name("algorithm", section)})


def _task(section: Any) -> Any:
    settings = _settings_class("task", section)
    return _adapter(settings).validate_python({**section, "name": _name("task", section)})


def _name(what: str, section: Any) -> str:
    """The algorithm or task that the section is about."""
    if not isinstance(section, Mapping):
        raise ValueError(f"it must be a section such as {{name: {DEFAULT_NAMES[what]}}}")
    allowed = algorithms.algorithm_names() if what == "algorithm" else tasks.task_names()
    return known_name(what, section.get("name", DEFAULT_NAMES[what]), allowed)


def _settings_class(what: str, section: Any) -> type:
    name = _name(what, section)
    return (algorithms.algorithm_class(name) if what == "algorithm" else tasks.task_class(name)).Settings


def _topology(section: Any) -> dict[str, Any]:
    """{kind, every parameter of that generator}."""
    if not isinstance(section, Mapping):
        raise ValueError("it must be a section such as {kind: star, nodes: 8}")
    if "file" in section:
        raise SettingsError([("file", NOT_YET["network", "topology", "file"])])
    given = {key: value for key, value in section.items() if key != "kind"}
    try:
        kind = topologies.canonical(str(section.get("kind", DEFAULT_NAMES["topology"])))
        return {"kind": kind, **topologies.resolve(kind, given)}
    except topologies.ParameterError as error:
        raise SettingsError(error.problems) from None


def _with_underscores(value: Any) -> Any:
    return value.replace("-", "_") if isinstance(value, str) else value


class Section:
    """What all sections share: unknown keys are refused, and the text under a field is its help."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, kw_only=True)
class PartialLinkSettings(Section):
    """Some properties of a link; null: as before."""

    bandwidth: PositiveBandwidth | None = None
    """Rate, Ethernet header included."""
    delay: Duration | None = None
    """One-way delay."""
    jitter: Duration | None = None
    """Spread of the delay; see `distribution`."""
    distribution: Distribution | None = None
    """How the delay is spread: normal, uniform, pareto or paretonormal, as netem's tables."""
    loss: Fraction | None = None
    """Probability of losing a packet, 0 to 1."""
    reorder: Fraction | None = None
    """Probability that a packet overtakes those that are delayed, 0 to 1; needs the netem backend."""
    queue: Queue = None
    """Waiting room in full-size packets, or in bandwidth-delay products: 2bdp."""


@dataclass(frozen=True, kw_only=True)
class OneLinkSettings(PartialLinkSettings):
    """One link that differs from the others."""

    link: Annotated[tuple[str, str], Field(strict=False)]
    """Its two ends: [h3, s1]."""
    one_way: bool = False
    """Only the direction from the first end to the second."""


@dataclass(frozen=True, kw_only=True)
class LinkSettings(Section):
    """Every link, unless the topology's edge, `stragglers` or `links` says otherwise."""

    bandwidth: PositiveBandwidth = 60e6
    """Rate of each direction, Ethernet header included."""
    delay: Duration = 0.001
    """One-way delay."""
    jitter: Duration = 0.0
    """Spread of the delay: its standard deviation, or half the width of the uniform distribution."""
    distribution: Distribution = "normal"
    """How the delay is spread: normal, uniform, pareto or paretonormal, as netem's tables."""
    loss: Fraction = 0.0
    """Probability of losing a packet, 0 to 1."""
    reorder: Fraction = 0.0
    """Probability that a packet overtakes those that are delayed, 0 to 1; needs the netem backend."""
    queue: Queue = None
    """Waiting room in full-size packets, or in bandwidth-delay products (2bdp); null: 1bdp, at least 20 packets."""
    reverse: PartialLinkSettings = field(default_factory=PartialLinkSettings)
    """Where the other direction differs: towards the host on an access link, else from the second switch to the
    first in natural order."""


@dataclass(frozen=True, kw_only=True)
class StragglerSettings(Section):
    """Hosts whose access link is slower: bandwidth / factor, give or take `spread`."""

    count: Count = 0
    """How many, drawn from the seed."""
    factor: Annotated[Number, Field(ge=1)] = 5.0
    """How much slower."""
    spread: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    """Each straggler's bandwidth is drawn within this fraction around bandwidth / factor."""
    hosts: tuple[str, ...] | None = None
    """Names of the stragglers, e.g. [h1, h3], instead of `count` drawn ones."""


@dataclass(frozen=True, kw_only=True)
class TcpSettings(Section):
    """TCP of all hosts."""

    congestion_control: str = "cubic"
    """One that the kernel has: see `mnbed doctor`."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Section):
    """The emulated network: hosts, switches, links."""

    topology: Annotated[dict[str, Any], PlainValidator(_topology)] = field(
        default_factory=lambda: _topology({})
    )
    """A generator (`kind`) and its parameters."""
    link: LinkSettings = field(default_factory=LinkSettings)
    stragglers: StragglerSettings = field(default_factory=StragglerSettings)
    links: tuple[OneLinkSettings, ...] = ()
    """Links that differ from `link`, one by one; they have the last word, stragglers included."""
    switch: Literal["bridge", "ovs"] = "bridge"
    """What stands for a switch: a Linux bridge with static entries, or Open vSwitch with static flows."""
    delay_backend: Literal["auto", "netem", "nfqueue"] = "auto"
    """What delays packets; auto: netem where the kernel has it, else nfqueue."""
    tcp: TcpSettings = field(default_factory=TcpSettings)


@dataclass(frozen=True, kw_only=True)
class OverlaySettings(Section):
    """Which nodes may exchange models; not the same graph as the network."""

    kind: Annotated[Literal["complete", "ring", "random_regular"], BeforeValidator(_with_underscores)] = (
        "complete"
    )
    """complete: everyone with everyone; ring; random_regular: a connected random graph, `degree` peers each."""
    degree: Annotated[int, Field(strict=True, ge=1)] | None = None
    """Peers of each node; random_regular needs it, the others do not take it."""

    def __post_init__(self) -> None:
        if (self.degree is None) == (self.kind == "random_regular"):
            raise ValueError(
                "kind random_regular needs a degree"
                if self.degree is None
                else f"kind {self.kind} takes no degree"
            )


@dataclass(frozen=True, kw_only=True)
class SlowNodeSettings(Section):
    """Nodes that compute more slowly."""

    count: Count = 0
    """How many, drawn from the seed."""
    factor: Annotated[Number, Field(ge=1)] = 1.0
    """A step takes this many times step_time on them."""


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(Section):
    """The emulated cost of computing."""

    step_time: PositiveDuration = 0.02
    """Emulated time of one local training step."""
    slow_nodes: SlowNodeSettings = field(default_factory=SlowNodeSettings)


@dataclass(frozen=True, kw_only=True)
class TimeSettings(Section):
    """How long, and how fast emulated time passes."""

    duration: PositiveDuration = 60.0
    """Emulated time that the agents train."""
    dilation: Annotated[float | str, BeforeValidator(_dilation)] = "auto"
    """Wall seconds that one emulated second lasts: above 1 gives a small machine time to keep up; auto: the smallest,
    1 or more, at which the planned processor time fits 70 % of the cores."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Section):
    """What is measured of the models, after the network is down."""

    every: PositiveDuration = 5.0
    """Emulated time between two snapshots of a node's model."""
    samples: Annotated[int, Field(strict=True, ge=1)] | None = 1000
    """Test samples for each snapshot; null: all."""
    targets: tuple[Fraction, ...] = ()
    """Accuracies whose first time is reported, as fractions: [0.5, 0.6]."""
    model: Literal["aggregated", "current"] = "aggregated"
    """Which of a node's models is evaluated at an instant: as its last aggregation left it, which is what papers
    report, or as it is in the middle of local training, bent towards the node's own data."""
    keep_snapshots: bool = False
    """Keep the parameters in the run directory after the evaluation."""


@dataclass(frozen=True, kw_only=True)
class AgentsSettings(Section):
    """How agents run; seldom of interest."""

    launch: Literal["prefork", "exec"] = "prefork"
    """prefork: forked from one warm parent; exec: `python -m node_agent` for each host, slow, for debugging."""
    port: Annotated[int, Field(strict=True, ge=1024, le=65535)] = 9000
    """TCP port on which every agent listens."""
    ledger: bool | None = None
    """Record each fragment's creation, send, drop, arrival, aggregation; null: on up to 64 nodes."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Section):
    """One experiment file, every default filled in."""

    name: Annotated[str, Field(max_length=100), AfterValidator(_one_line)] = "experiment"
    """What the run directory and the report are called."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 1
    """Fixes everything random: stragglers, overlay, data split, initial parameters, peers drawn."""
    data_root: Annotated[str, AfterValidator(_one_line)] | None = None
    """Where data sets are; null: $MNBED_DATA, else ~/.cache/mnbed."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    overlay: OverlaySettings = field(default_factory=OverlaySettings)
    algorithm: Annotated[AlgorithmSettings, PlainValidator(_algorithm), PlainSerializer(_as_dict)] = field(
        default_factory=lambda: _algorithm({})
    )
    """What is exchanged, and when: a name and its settings."""
    task: Annotated[TaskSettings, PlainValidator(_task), PlainSerializer(_as_dict)] = field(
        default_factory=lambda: _task({})
    )
    """What is learned: a name and its settings."""
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    time: TimeSettings = field(default_factory=TimeSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    agents: AgentsSettings = field(default_factory=AgentsSettings)


def parse(sections: Mapping[str, Any]) -> Experiment:
    """The experiment of those sections. Raises pydantic.ValidationError with every error."""
    experiment: Experiment = _adapter(Experiment).validate_python(sections)
    return experiment


def resolved(experiment: Experiment) -> dict[str, Any]:
    """Plain dicts, lists, text and numbers that `parse` turns back into an equal experiment, every default included."""
    plain: dict[str, Any] = _adapter(Experiment).dump_python(experiment)
    return plain


def settings_class(section: str, sections: Mapping[str, Any]) -> type | None:
    """The Settings class that checks `algorithm` or `task`, by the name in it; None for other sections."""
    return _settings_class(section, sections[section]) if section in ("algorithm", "task") else None


def keys_of_kind(path: tuple[str, ...], value: Any, sections: Mapping[str, Any]) -> list[str] | None:
    """The keys that may stand beside the key `path` when it has that value: those of that task, generator, ...

    `sections`: the file, whose task says what task.partition.kind may be. None where `path` is not a key that chooses.
    Raises ValueError for an unknown value.
    """
    if path in (("algorithm", "name"), ("task", "name")):
        return [item.name for item in fields(_settings_class(path[0], {"name": value}))]
    if path == ("network", "topology", "kind"):
        return ["kind", *topologies.parameters(str(value))]
    if path == ("overlay", "kind"):
        return ["kind", "degree"] if _with_underscores(value) == "random_regular" else ["kind"]
    if path[0] in ("algorithm", "task") and path[2:] == ("kind",):
        settings = _settings_class(path[0], sections.get(path[0], {}))
        choices = variants(field_types(settings).get(path[1]))
        if value in choices:
            return [item.name for item in fields(choices[value])]
    return None
