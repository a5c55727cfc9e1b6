"""Network graphs: which generators there are, what they accept, and what a valid graph is.

`generate` is the one way in: it checks the parameters against the generator's signature and the graph against
the rules. This package knows nothing of experiments, machines or Mininet.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import networkx as nx

from topologies import generators, rules

__all__ = [
    "Parameter",
    "ParameterError",
    "canonical",
    "generate",
    "names",
    "parameters",
    "purpose",
    "resolve",
]

# What a generator may take, and how it is called in messages.
_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class ParameterError(ValueError):
    """Wrong parameters; `problems` holds (parameter or None, its message) for each."""

    def __init__(self, problems: list[tuple[str | None, str]]) -> None:
        super().__init__("; ".join(f"{key}: {text}" if key else text for key, text in problems))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One keyword parameter of a generator."""

    name: str
    type: type
    default: Any
    """None where the parameter must be given."""
    required: bool
    help: str
    """From the generator's docstring."""


def names() -> list[str]:
    """The generators' names."""
    return [
        name
        for name, function in vars(generators).items()
        if inspect.isfunction(function)
        and function.__module__ == generators.__name__
        and not name.startswith("_")
    ]


def canonical(kind: str) -> str:
    """The generator's own name, hyphens and underscores being alike. Raises ParameterError for an unknown one."""
    return _generator(kind).__name__


def purpose(kind: str) -> str:
    """One line that says what the generator makes. Raises ParameterError for an unknown one."""
    return inspect.getdoc(_generator(kind)).splitlines()[0]  # type: ignore[union-attr]


def parameters(kind: str) -> dict[str, Parameter]:
    """The parameters an experiment may give to that generator. Raises ParameterError for an unknown one."""
    function = _generator(kind)
    hints = get_type_hints(function)
    helps = dict(
        line.strip().split(": ", 1)
        for line in (inspect.getdoc(function) or "").splitlines()[1:]
        if ": " in line
    )
    return {
        name: Parameter(
            name=name,
            type=hints[name],
            default=None if parameter.default is parameter.empty else parameter.default,
            required=parameter.default is parameter.empty,
            help=helps.get(name, ""),
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "seed"
    }


def resolve(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters, checked, with the defaults of the others.

    Raises ParameterError with everything that is wrong; a misspelt name gets a suggestion.
    """
    known = parameters(kind)
    problems: list[tuple[str | None, str]] = [
        (name, f"{kind} has no such parameter{_suggestion(str(name), known)}")
        for name in given
        if name not in known
    ]
    resolved = {}
    for parameter in known.values():
        value = given.get(parameter.name, parameter.default)
        if parameter.required and parameter.name not in given:
            problems.append((parameter.name, f"missing; {kind} needs it ({_TYPE_NAMES[parameter.type]})"))
        elif not _fits(value, parameter.type):
            problems.append((parameter.name, f"got {value!r}; it must be {_TYPE_NAMES[parameter.type]}"))
        else:
            resolved[parameter.name] = value
    if problems:
        raise ParameterError(problems)
    return resolved


def generate(kind: str, given: Mapping[str, Any], seed: int) -> nx.Graph:
    """The graph of that generator, checked: the same arguments give the same graph.

    Raises ParameterError for wrong parameters, ValueError where no valid graph comes of them.
    """
    function = _generator(kind)
    arguments = resolve(kind, given)
    if "seed" in inspect.signature(function).parameters:
        arguments["seed"] = seed
    graph = function(**arguments)
    rules.check(graph)
    return graph


def _generator(kind: str) -> Callable[..., nx.Graph]:
    kind = str(kind).replace("-", "_")
    if kind not in names():
        raise ParameterError([("kind", f"unknown generator {kind!r}{_suggestion(kind, names())}")])
    function: Callable[..., nx.Graph] = getattr(generators, kind)
    return function


def _suggestion(wrong: str, allowed: Any) -> str:
    close = difflib.get_close_matches(wrong, list(allowed), n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant} (allowed: {', '.join(allowed)})" if allowed else f"{meant} (it takes none)"


def _fits(value: Any, wanted: type) -> bool:
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)
