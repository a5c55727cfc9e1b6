"""What the testbed does with one property of a link: a row of the table in `properties.py`.

How files write a property is defined in `topologies.properties`, which knows nothing about emulation. Everything else
is defined in its row, and no other module lists the properties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from topologies.properties import BY_KEY, EdgeProperty

BACKENDS = ("none", "netem", "nfqueue")
"""What may delay and lose packets: nothing, the kernel's qdisc, or the process that serves NFQUEUE."""
DELAYING = ("netem", "nfqueue")


@dataclass(frozen=True, kw_only=True)
class PromptWords:
    """A property as an argument of the prompt's verb `shape`."""

    name: str
    """ "bw", as in Mininet."""
    example: str
    """An example value, for the verb's help."""
    parse: Callable[[str], Any]
    """From the word after the name to the value in an experiment. Raises ValueError."""
    units: str = ""
    """The unit of its numbers, for the verb's help."""
    answer: Callable[[Any], str] = str
    """The verb's answer with the link's new value; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """A row. The first argument of a callable is the value in LinkProperties, unless it says otherwise."""

    key: str
    """Its name in experiments and events: "delay"."""
    field: str
    """Its name in LinkProperties: "delay_s"."""
    form: Callable[[Any], str] = str
    """From a value in an experiment to its text."""
    has_unit: bool = False
    """Whether the text has a unit; four digits of it are enough for people."""
    fields: Callable[[Any], Mapping[str, Any]] | None = None
    """From a value in an experiment to fields of LinkProperties; None: the value of `field` itself."""
    dilated: Callable[[Any, float], Any] = lambda value, _dilation: value
    """The value on the wire, when an emulated second lasts that many wall seconds."""
    together: Callable[[Sequence[Any]], Any] | None = None
    """The value for several links in a row; None: paths and pairs of hosts have no such property."""
    backends: tuple[str, ...] = DELAYING
    """The backends that support it."""
    problems: Callable[[Any, Any, str], Iterable[str]] = lambda _asked, _wire, _where: ()
    """(LinkProperties asked, LinkProperties on the wire, "on link h1 - s1") -> problems with it there."""
    netem: Callable[[Any], str] = lambda _wire: ""
    """From LinkProperties on the wire to netem's arguments, with a leading blank; empty if netem needs none."""
    read_back: Callable[[Mapping[str, Any]], Any] | None = None
    """From the options that tc shows of a netem qdisc to the value; None: tc does not show it."""
    close: Callable[[Any, Any], bool] = lambda actual, requested: bool(actual == requested)
    """Whether the kernel's value equals the one asked for, up to the precision of tc's output."""
    kernel_text: Callable[[Any], str] = lambda value: f"{value:g}"
    """The value as text, for messages about a kernel that has another value."""
    prompt: PromptWords | None = None
    """None: the prompt cannot change it."""
    from_graph: Callable[[Any], Any] = lambda value: value
    """From the attribute of a graph's link to the value; `to_graph` is the way back."""
    to_graph: Callable[[Any], Any] = lambda value: value

    @property
    def edge(self) -> EdgeProperty | None:
        """The property as an attribute of a graph's links; None: they do not have it."""
        return BY_KEY.get(self.key)

    def changes(self, value: Any) -> Mapping[str, Any]:
        """Field of LinkProperties -> value, for a value in an experiment."""
        return {self.field: value} if self.fields is None else self.fields(value)

    def of_edge(self, edge: Mapping[str, Any]) -> Any:
        """The value given by a graph's link or path; None if it gives none."""
        value = None if self.edge is None else edge.get(self.edge.attribute)
        return None if value is None else self.from_graph(value)

    def words(self, value: Any, *, brief: bool = False) -> str:
        """ "delay 20ms", for a value in an experiment; brief: to four digits."""
        if brief and self.has_unit:
            value = float(f"{value:.4g}")
        return f"{self.key} {self.form(value)}"

    def asked_of(self, link: Any) -> bool:
        """Whether those LinkProperties need a backend for it."""
        return "none" not in self.backends and bool(getattr(link, self.field))


def within(tolerance: float) -> Callable[[float, float], bool]:
    """A function for `close`: whether two values differ by at most the tolerance."""
    return lambda actual, requested: abs(actual - requested) <= tolerance


def unable(rows: Iterable[Property], links: Iterable[Any], backend: str) -> Iterator[Property]:
    """The properties that some link asks for and that backend does not support."""
    links = list(links)
    return (row for row in rows if backend not in row.backends and any(map(row.asked_of, links)))
