"""Network graphs: the generators and their parameters, files of many formats, and which graphs are valid.

A generator is a public function of `structures`, `random_graphs` or `regions`. Its keyword parameters, their types and
defaults are its keys in an experiment file; its docstring's first line is its help, the lines `name: text` below it are
those of its parameters. A parameter called `seed` is not a key: it gets the experiment's own seed. Impossible
parameters raise ValueError.

A graph's nodes carry kind="host" or kind="switch", and may carry `label` (their name in a file, if Linux cannot use
it) and `region`. An edge may carry the attributes of `properties.EDGE_PROPERTIES`, which override the
experiment's link settings, and `towards`: node -> properties of the direction that arrives there, if the two
differ. The graph may carry `paths`: properties between regions, shaped for each destination at the sender.

`generate` and `files.load` are the entry points: they check the graph against the rules. This package imports
neither mnbed nor node_agent: it knows nothing about experiments, machines or Mininet.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import networkx as nx

from topologies import random_graphs, regions, rules, structures
from topologies.reading import brief

__all__ = [
    "Parameter",
    "ParameterError",
    "canonical",
    "generate",
    "names",
    "parameters",
    "parameters_of",
    "purpose",
    "resolve",
]

_MODULES = (structures, random_graphs, regions)
# The types of parameters, and what messages call them.
_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a mapping (key: value)",
}


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
    """None if the parameter must be given, or has no value unless it is given."""
    required: bool
    help: str
    """From the generator's docstring."""

    @property
    def type_name(self) -> str:
        """The type in words."""
        return _TYPE_NAMES[self.type]


def names() -> list[str]:
    """The generators' names."""
    return list(_generators())


def canonical(kind: str) -> str:
    """The generator's own name; hyphens and underscores are alike. Raises ParameterError for an unknown one."""
    return _generator(kind).__name__


def purpose(kind: str) -> str:
    """One line that says what the generator makes. Raises ParameterError for an unknown one."""
    return inspect.getdoc(_generator(kind)).splitlines()[0]  # type: ignore[union-attr]


def parameters(kind: str) -> dict[str, Parameter]:
    """The parameters an experiment may give to that generator. Raises ParameterError for an unknown one."""
    return parameters_of(_generator(kind))


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword parameters of a function, except `seed`, from its signature and docstring."""
    hints = get_type_hints(function)
    helps = dict(
        line.strip().split(": ", 1)
        for line in (inspect.getdoc(function) or "").splitlines()[1:]
        if ": " in line
    )
    return {
        name: Parameter(
            name=name,
            type=_plain_type(hints[name]),
            default=None if parameter.default is parameter.empty else parameter.default,
            required=parameter.default is parameter.empty,
            help=helps.get(name, ""),
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "seed" and parameter.kind is parameter.KEYWORD_ONLY
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
            problems.append((parameter.name, f"missing; {kind} needs it ({parameter.type_name})"))
        elif not _fits(value, parameter):
            problems.append((parameter.name, f"got {brief(value)}; it must be {parameter.type_name}"))
        else:
            resolved[parameter.name] = value
    if problems:
        raise ParameterError(problems)
    return resolved


def generate(kind: str, given: Mapping[str, Any], seed: int) -> nx.Graph:
    """The graph of that generator, checked: the same arguments give the same graph.

    Raises ParameterError for wrong parameters, ValueError if they do not give a valid graph.
    """
    function = _generator(kind)
    arguments = resolve(kind, given)
    if "seed" in inspect.signature(function).parameters:
        arguments["seed"] = seed % 2**32
    graph = function(**arguments)
    rules.check(graph)
    return graph


def _generators() -> dict[str, Callable[..., nx.Graph]]:
    return {
        name: function
        for module in _MODULES
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }


def _generator(kind: str) -> Callable[..., nx.Graph]:
    kind = str(kind).replace("-", "_")
    if kind not in names():
        raise ParameterError([("kind", f"unknown generator {brief(kind)}{_suggestion(kind, names())}")])
    return _generators()[kind]


def _suggestion(wrong: str, allowed: Any) -> str:
    close = difflib.get_close_matches(wrong, list(allowed), n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant} (allowed: {', '.join(allowed)})" if allowed else f"{meant} (it takes none)"


def _plain_type(hint: Any) -> type:
    """`int` of int, `dict` of dict[str, Any] | None."""
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    plain: type = typing.get_origin(hint) or hint
    return plain


def _fits(value: Any, parameter: Parameter) -> bool:
    if value is None:
        return not parameter.required and parameter.default is None
    if isinstance(value, bool):
        return parameter.type is bool
    return isinstance(value, (int, float) if parameter.type is float else parameter.type)
