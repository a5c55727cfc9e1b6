"""What the testbed does with one property of a link: a row of the table in `properties.py`.

How files write a property stands in `topologies.properties`, which knows nothing of emulation; the rest stands in its
row, and nowhere else is a list of properties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from topologies.properties import BY_KEY, EdgeProperty

BACKENDS = ("none", "netem", "nfqueue")
"""What may delay and lose packets: nobody, the kernel's qdisc, or the process that serves NFQUEUE."""
DELAYING = ("netem", "nfqueue")


@dataclass(frozen=True, kw_only=True)
class PromptWords:
    """How the prompt's verb `shape` takes a property."""

    name: str
    """ "bw", as Mininet has it."""
    example: str
    """A value, for the verb's help."""
    parse: Callable[[str], Any]
    """From the word behind the name to the value in an experiment. Raises ValueError."""
    units: str = ""
    """What its numbers are, for the verb's help."""
    answer: Callable[[Any], str] = str
    """What the verb says of the link's new value, an empty text for nothing."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """One row. A callable's first argument is the value in LinkProperties unless it says otherwise."""

    key: str
    """Its name in experiments and events: "delay"."""
    field: str
    """Its name in LinkProperties: "delay_s"."""
    form: Callable[[Any], str] = str
    """From a value in an experiment to its text."""
    has_unit: bool = False
    """The text has a unit, and four digits of it are enough for eyes."""
    fields: Callable[[Any], Mapping[str, Any]] | None = None
    """From a value in an experiment to fields of LinkProperties; None: it is the value of `field`."""
    dilated: Callable[[Any, float], Any] = lambda value, _dilation: value
    """The value on the wire, when one emulated second lasts so many wall seconds."""
    together: Callable[[Sequence[Any]], Any] | None = None
    """What links in a row do to a packet together; None: what lies between two hosts has no such property."""
    backends: tuple[str, ...] = DELAYING
    """Who can do it."""
    problems: Callable[[Any, Any, str], Iterable[str]] = lambda _asked, _wire, _where: ()
    """(LinkProperties asked, LinkProperties on the wire, "on link h1 - s1") -> what is wrong with it there."""
    netem: Callable[[Any], str] = lambda _wire: ""
    """From LinkProperties on the wire to netem's words, with a blank before them; empty where netem needs none."""
    read_back: Callable[[Mapping[str, Any]], Any] | None = None
    """From the options that tc shows of a netem qdisc to the value; None: tc does not show it."""
    close: Callable[[Any, Any], bool] = lambda one, other: bool(one == other)
    """Whether the kernel has it as asked, up to what tc's output leaves out."""
    kernel_text: Callable[[Any], str] = lambda value: f"{value:g}"
    """The value in words, where the kernel has another than asked."""
    prompt: PromptWords | None = None
    """None: the prompt cannot change it."""
    from_graph: Callable[[Any], Any] = lambda value: value
    """From the attribute of a graph's link to the value; `to_graph` is the way back."""
    to_graph: Callable[[Any], Any] = lambda value: value

    @property
    def edge(self) -> EdgeProperty | None:
        """How a graph's links carry it; None: they do not."""
        return BY_KEY.get(self.key)

    def changes(self, value: Any) -> Mapping[str, Any]:
        """Field of LinkProperties -> its value, for a value in an experiment."""
        return {self.field: value} if self.fields is None else self.fields(value)

    def of_edge(self, edge: Mapping[str, Any]) -> Any:
        """The value that a graph's link or path gives; None: it gives none."""
        value = None if self.edge is None else edge.get(self.edge.attribute)
        return None if value is None else self.from_graph(value)

    def words(self, value: Any, *, brief: bool = False) -> str:
        """ "delay 20ms", for a value in an experiment; brief: to four digits."""
        if brief and self.has_unit:
            value = float(f"{value:.4g}")
        return f"{self.key} {self.form(value)}"

    def asked_of(self, link: Any) -> bool:
        """Whether those LinkProperties ask for it, so that somebody must be able to do it."""
        return "none" not in self.backends and bool(getattr(link, self.field))


def within(tolerance: float) -> Callable[[float, float], bool]:
    """For `close`: at most that far apart."""
    return lambda one, other: abs(one - other) <= tolerance


def unable(rows: Iterable[Property], links: Iterable[Any], backend: str) -> Iterator[Property]:
    """The properties that one of the links asks for and that backend cannot do."""
    links = list(links)
    return (row for row in rows if backend not in row.backends and any(map(row.asked_of, links)))
