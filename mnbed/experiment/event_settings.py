"""`network.events` of the experiment file: the kinds of entries, distinguished by their keys, and what each takes.

Only the shape of an entry is checked here. Whether its links and nodes exist, and whether entries contradict each
other, is checked when mnbed/plan/unfold.py turns them into a timeline for a given network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator

from mnbed import units
from mnbed.experiment.fields import (
    Duration,
    PositiveDuration,
    Section,
    SettingsError,
    adapter,
    did_you_mean,
    no_bool,
    twelve_digits,
)
from mnbed.experiment.link_settings import PartialLinkSettings
from mnbed.experiment.variants import field_types, key_of
from topologies.properties import TRACED, EdgeProperty
from topologies.reading import brief

_RATE_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
# A point of a trace, for messages.
_POINT = "[time, bandwidth, delay or null, loss or null]"
# A link in a cell of a trace, h3-s1: no blanks.
_LINK_NAME = re.compile(r"\S+-\S+")


class Point(NamedTuple):
    """One point of a trace."""

    at_s: float
    """Seconds from the start of the trace."""
    values: Mapping[str, float]
    """Property -> its value from then on; bandwidth 0: the lowest the link supports. Others keep their values."""
    link: str | None = None
    """ "h3-s1"; only if the entry itself names no link."""


def _ends(value: Any) -> tuple[str, str]:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(end, str) for end in value):
        return value[0], value[1]
    raise ValueError("it must be the two ends of a link, such as [h3, s1]")


def _rate(value: Any) -> float | str:
    """Events per second, or text: "2/min"."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|h)", value.strip())):
        number, text = float(match[1]), f"{float(match[1]):.12g}/{match[2]}"
        if number > 0:
            return text
    elif not isinstance(value, str):
        number = float(no_bool(value))
        if 0 < number < math.inf:
            return number
    raise ValueError("it must be above 0: a number per second, or text such as 2/min")


def _points(value: Any) -> tuple[Point, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"it must be a list of {_POINT}")
    points = tuple(_point(number, item) for number, item in enumerate(value))
    last: dict[str | None, float] = {}
    for number, point in enumerate(points):
        if point.at_s <= last.get(point.link, -1.0):
            shown = units.format_duration(point.at_s)
            raise SettingsError([(None, f"point {number}: its time, {shown}, is not after the previous one")])
        last[point.link] = point.at_s
    return points


def _point(number: int, item: Any) -> Point:
    if isinstance(item, Point):
        return item
    try:
        if not isinstance(item, (list, tuple)) or not 2 <= len(item) <= 2 + len(TRACED):
            raise ValueError(f"it must be {_POINT}")
        time, *given = item
        # Text after bandwidth and delay can only be the link.
        link = given.pop() if len(given) > 2 and isinstance(given[-1], str) else None
        if len(given) > len(TRACED):
            raise ValueError(f"got {brief(given[-1])} as its link; write h3-s1, for example")
        values = {
            row.key: traced_value(row, value)
            for row, value in zip(TRACED, given, strict=False)
            if value is not None
        }
        if not values:
            raise ValueError(f"it changes nothing: neither {' nor '.join(row.key for row in TRACED)}")
        if link is not None and not _LINK_NAME.fullmatch(link):
            raise ValueError(f"got {brief(link)} as its link; write h3-s1, for example")
        return Point(twelve_digits(units.parse_duration(time)), values, link)
    except ValueError as error:
        raise SettingsError([(None, f"point {number}: {error}")]) from None


def traced_value(row: EdgeProperty, value: Any) -> float:
    """The value of that property in a point or a cell. Raises ValueError."""
    parsed = row.read(value)
    # Bandwidth 0 stands for the lowest that the link supports.
    if parsed and (words := row.wrong(parsed)):
        raise ValueError(words)
    return float(parsed)


def _plain_points(points: tuple[Point, ...]) -> list[Any]:
    return [plain_point(units.format_duration(point.at_s), point.values, point.link) for point in points]


def plain_point(time: str, values: Mapping[str, float], link: str | None) -> list[Any]:
    """A point as written in a file: null for what stays the same, trailing nulls after the delay left out."""
    item = [row.form(values[row.key]) if row.key in values else None for row in TRACED]
    while len(item) > 2 and item[-1] is None:
        item.pop()
    return [time, *item, *([] if link is None else [link])]


LinkEnds = Annotated[tuple[str, str], BeforeValidator(_ends)]
Rate = Annotated[float | str, BeforeValidator(_rate)]
Points = Annotated[tuple[Point, ...], PlainValidator(_points), PlainSerializer(_plain_points)]
State = Literal["last", "fresh"]


@dataclass(frozen=True, kw_only=True)
class _Timed(Section):
    at: Duration
    """When."""


@dataclass(frozen=True, kw_only=True)
class _OfLinks(Section):
    link: LinkEnds | None = None
    """The two ends of the link: [h3, s1]."""
    links: tuple[LinkEnds, ...] | None = None
    """Several links: [[h1, s1], [h2, s1]]."""

    def __post_init__(self) -> None:
        if (self.link is None) == (not self.links):
            raise SettingsError([("link", "which link? Give link: [h3, s1], or links: [[h1, s1], [h2, s1]]")])

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The ends of every link of this entry."""
        return self.links or ((self.link,) if self.link else ())


@dataclass(frozen=True, kw_only=True)
class LinkChange(PartialLinkSettings, _OfLinks, _Timed):
    """Changes properties of a link."""

    one_way: bool = False
    """Apply only to the direction from the first end to the second."""
    for_: Annotated[PositiveDuration | None, Field(alias="for")] = None
    """How long the change lasts; null: until the end of the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not changed_keys(self):
            names = ", ".join(item.name for item in fields(PartialLinkSettings))
            raise SettingsError([(None, f"what changes? Give one or more of: {names}; or an action")])


@dataclass(frozen=True, kw_only=True)
class LinkAction(_OfLinks, _Timed):
    """Takes a link down, dropping whatever is sent over it, or brings it up again."""

    action: Literal["down", "up"]
    """down or up."""
    for_: Annotated[PositiveDuration | None, Field(alias="for")] = None
    """How long it is down; null: until an `up` action."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action == "up" and self.for_ is not None:
            raise SettingsError([("for", "action up does not take it; action down does")])


@dataclass(frozen=True, kw_only=True)
class Flap(_OfLinks, _Timed):
    """Takes a link down and up repeatedly."""

    action: Literal["flap"]
    """flap."""
    down: PositiveDuration
    """How long it is down each time."""
    up: PositiveDuration
    """How long it is up in between."""
    until: Duration | None = None
    """When flapping ends; the link then stays up."""
    times: Annotated[int, Field(strict=True, ge=1)] | None = None
    """How often it goes down, instead of `until`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.until is None) == (self.times is None):
            raise SettingsError([("until", "how long? Give either until: 50s or times: 5")])


@dataclass(frozen=True, kw_only=True)
class Partition(_Timed):
    """Cuts hosts of different groups off from each other."""

    partition: tuple[tuple[str, ...], ...]
    """The groups: [[h1, h2], [h3, h4]]; a host in no group reaches everyone."""
    for_: Annotated[PositiveDuration | None, Field(alias="for")] = None
    """How long; null: until a `heal` action."""


@dataclass(frozen=True, kw_only=True)
class Heal(_Timed):
    """Ends a partition."""

    action: Literal["heal"]
    """heal."""


@dataclass(frozen=True, kw_only=True)
class _OfNodes(Section):
    node: str | None = None
    """The node, by the name of its host: h5."""
    nodes: tuple[str, ...] | None = None
    """Several nodes: [h1, h2]."""

    def __post_init__(self) -> None:
        if (self.node is None) == (not self.nodes):
            raise SettingsError([("node", "which node? Give node: h5, or nodes: [h1, h2]")])

    @property
    def names(self) -> tuple[str, ...]:
        """Every node of this entry."""
        return self.nodes or ((self.node,) if self.node else ())


@dataclass(frozen=True, kw_only=True)
class NodeChange(_OfNodes, _Timed):
    """Kills a node's process, or resumes a paused one."""

    action: Literal["kill", "resume"]
    """kill or resume."""


@dataclass(frozen=True, kw_only=True)
class Pause(_OfNodes, _Timed):
    """Pauses a node's process; its connections stay open."""

    action: Literal["pause"]
    """pause."""
    for_: Annotated[PositiveDuration | None, Field(alias="for")] = None
    """How long; null: until a `resume` action."""


@dataclass(frozen=True, kw_only=True)
class Restart(_OfNodes, _Timed):
    """Restarts a killed node."""

    action: Literal["restart"]
    """restart."""
    state: State = "last"
    """What it starts from: its last snapshot, or the initial model (fresh)."""


@dataclass(frozen=True, kw_only=True)
class Crash(_OfNodes, _Timed):
    """Kills a node and restarts it later."""

    action: Literal["crash"]
    """crash."""
    downtime: PositiveDuration
    """How long it is down."""
    state: State = "last"
    """What it starts from: its last snapshot, or the initial model (fresh)."""


@dataclass(frozen=True, kw_only=True)
class Churn(_Timed):
    """Crashes nodes at random times and restarts them; the last two that are alive are spared."""

    action: Literal["churn"]
    """churn."""
    until: Duration
    """When crashes end; nodes that are down then still come back."""
    rate: Rate
    """Mean rate of crashes in the whole network: 2/min, or a number per second."""
    downtime: PositiveDuration
    """How long a node is down."""
    nodes: tuple[str, ...] | None = None
    """Which nodes may crash; null: all except those named by other entries."""
    state: State = "last"
    """What a node starts from: its last snapshot, or the initial model (fresh)."""

    @property
    def per_s(self) -> float:
        """The rate, in crashes per second."""
        if isinstance(self.rate, str):
            number, _, unit = self.rate.partition("/")
            return float(number) / _RATE_UNITS_S[unit]
        return self.rate


@dataclass(frozen=True, kw_only=True)
class Trace(_OfLinks, Section):
    """Makes a link follow a recording of bandwidth, delay and loss."""

    at: Duration = 0.0
    """When the recording starts."""
    one_way: bool = False
    """Apply only to the direction from the first end to the second."""
    trace: str | None = None
    """A CSV file with the columns time, link and some of bandwidth, delay, loss; read when the experiment is loaded."""
    mahimahi: str | None = None
    """A packet-delivery trace of Mahimahi; read when the experiment is loaded."""
    bin: PositiveDuration | None = None
    """With mahimahi: the interval over which packets are averaged into a bandwidth; default 500ms."""
    repeat: bool | None = None
    """Whether the recording starts over when it ends; default: true with mahimahi or when `period` is given."""
    period: PositiveDuration | None = None
    """Time after which the recording starts over; default with mahimahi: the length of the file."""
    points: Points = ()
    """The points read, each [time, bandwidth, delay or null, loss]; may be given here instead of a file."""

    def __post_init__(self) -> None:
        problems: list[tuple[str | None, str]] = []
        if self.link is not None and self.links is not None:
            problems.append(("links", "give link or links, not both"))
        if self.trace is not None and self.mahimahi is not None:
            problems.append(("mahimahi", "give trace or mahimahi, not both"))
        if self.mahimahi is None:
            if self.bin is not None:
                problems.append(("bin", "only mahimahi takes it"))
            if self.repeat and self.period is None:
                problems.append(
                    ("period", "missing; repeat needs it: after how long does the recording start over?")
                )
        elif not self.pairs:
            problems.append(("link", "which link? A Mahimahi file names none: give link: [h3, s1]"))
        if self.repeat is False and self.period is not None:
            problems.append(("period", "repeat: false does not take it"))
        if problems:
            raise SettingsError(problems)


EventSettings = (
    LinkChange | LinkAction | Flap | Partition | Heal | NodeChange | Pause | Restart | Crash | Churn | Trace
)
KINDS: tuple[type, ...] = (
    LinkChange,
    LinkAction,
    Flap,
    Partition,
    Heal,
    NodeChange,
    Pause,
    Restart,
    Crash,
    Churn,
    Trace,
)
_EXAMPLES: dict[type, str] = {
    LinkChange: "{at: 30s, link: [h3, s1], bandwidth: 5mbit, for: 10s}",
    LinkAction: "{at: 30s, link: [h3, s1], action: down, for: 5s}",
    Flap: "{at: 20s, link: [h3, s1], action: flap, down: 1s, up: 3s, until: 50s}",
    Partition: "{at: 20s, partition: [[h1, h2], [h3, h4]], for: 10s}",
    Heal: "{at: 30s, action: heal}",
    NodeChange: "{at: 40s, node: h5, action: kill}",
    Pause: "{at: 40s, node: h5, action: pause, for: 5s}",
    Restart: "{at: 50s, node: h5, action: restart, state: last}",
    Crash: "{at: 30s, node: h2, action: crash, downtime: 5s, state: fresh}",
    Churn: "{at: 10s, until: 50s, action: churn, rate: 2/min, downtime: 5s}",
    Trace: "{link: [h3, s1], mahimahi: cell.trace, bin: 500ms}",
}
_TRACE_KEYS = ("trace", "mahimahi", "points")


def _actions() -> dict[str, type]:
    """Action -> the kind of entry that has it."""
    actions = {}
    for kind in KINDS:
        if "action" in (hints := field_types(kind)):
            actions.update(dict.fromkeys(hints["action"].__args__, kind))
    return actions


_ACTIONS = _actions()
_LINK_ACTIONS = [action for action, kind in _ACTIONS.items() if issubclass(kind, _OfLinks)]
_NODE_ACTIONS = [action for action, kind in _ACTIONS.items() if kind is Churn or issubclass(kind, _OfNodes)]


def entry_class(entry: Any) -> type:
    """The kind of that entry of `network.events`, by its keys. Raises ValueError that says what is wrong."""
    if not isinstance(entry, Mapping):
        raise ValueError("it must be a section such as {at: 30s, link: [h3, s1], bandwidth: 5mbit}")
    if "partition" in entry:
        return Partition
    if any(key in entry for key in _TRACE_KEYS):
        return Trace
    of_links, of_nodes = ("link" in entry or "links" in entry), ("node" in entry or "nodes" in entry)
    allowed = _LINK_ACTIONS if of_links else _NODE_ACTIONS if of_nodes else list(_ACTIONS)
    if "action" in entry:
        action = entry["action"]
        if not isinstance(action, str) or action not in allowed:
            what = "for a link: " if of_links else "for a node: " if of_nodes else ""
            raise SettingsError([("action", f"got {_short(action)}{_meant(action, allowed, what)}")])
        return _ACTIONS[action]
    if of_links:
        return LinkChange
    if of_nodes:
        raise SettingsError([("action", f"missing (allowed: {', '.join(allowed)})")])
    raise SettingsError(list(_no_kind(entry)))


def _meant(action: Any, allowed: list[str], what: str) -> str:
    text = did_you_mean(str(action), allowed)
    return text.replace("(allowed: ", f"({what}", 1) if what else text


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _no_kind(entry: Mapping[str, Any]) -> Iterable[tuple[str | None, str]]:
    """The problems of an entry whose keys do not say what happens: the misspelt keys, if any."""
    known = dict.fromkeys(key_of(item.name) for kind in KINDS for item in fields(kind))
    wrong = [key for key in entry if key not in known]
    for key in wrong:
        yield key, f"no such key{did_you_mean(key, known)}"
    if not wrong:
        yield None, f"what happens? Give one of: link, node, partition, action, {', '.join(_TRACE_KEYS)}"


def _entry(value: Any) -> Any:
    if isinstance(value, KINDS):
        return value
    kind: Any = entry_class(value)
    return adapter(kind).validate_python(value)


def _plain_entry(entry: Any) -> dict[str, Any]:
    kind: Any = type(entry)
    plain: dict[str, Any] = adapter(kind).dump_python(entry, by_alias=True, exclude_none=True)
    return plain


EventEntry = Annotated[EventSettings, PlainValidator(_entry), PlainSerializer(_plain_entry)]


def example(kind: type) -> str:
    """An entry of that kind, as written in a file."""
    return _EXAMPLES[kind]


def changed_keys(change: PartialLinkSettings) -> tuple[str, ...]:
    """The properties that the entry sets: ("bandwidth", "delay")."""
    return tuple(item.name for item in fields(PartialLinkSettings) if getattr(change, item.name) is not None)
