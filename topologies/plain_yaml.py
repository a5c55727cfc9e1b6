"""YAML that holds plain values only, whoever wrote it: its size with aliases (*name) expanded, the depth of its
sections and the length of its numbers are bounded before anything is built from them.

PyYAML's safe loader executes nothing, but with it 466 bytes of nested aliases make gigabytes of a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from topologies.reading import brief

MAX_ALIASED_VALUES = 100_000
"""How many values aliases, when expanded, may add to those of a document."""
MAX_DEPTH = 50
_MAX_NUMBER_LENGTH = 100
_TAG = "tag:yaml.org,2002:"
_TEXT = f"{_TAG}str"
_PLAIN = {_TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value")}
_WORDS = {
    f"{_TAG}timestamp": "a date; put it in quotes to make it text",
    f"{_TAG}binary": "binary data; no key takes that",
}


class YamlProblem(ValueError):
    """A document that is YAML, but that we do not accept; `line` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line
        self.text = text


# PyYAML would take a second to notice this.
_MANY_BRACKETS = re.compile(rf"(?:[\[{{]\s*){{{2 * MAX_DEPTH}}}")


def check_text(text: str) -> None:
    """Raises YamlProblem if sections are nested so deeply that it shows before anything is parsed."""
    if match := _MANY_BRACKETS.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise YamlProblem(line, f"sections nested more than {MAX_DEPTH} deep")


def load(text: str) -> Any:
    """The values of a document. Raises ValueError, on one line."""
    check_text(text)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        check(node)
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f"line {line + 1}: "
        raise ValueError(f"not valid YAML: {where}{' '.join(problem.split())}") from None
    except RecursionError:
        raise ValueError(f"sections nested more than {MAX_DEPTH} deep") from None


def check(root: yaml.Node | None) -> None:
    """Raises YamlProblem if the document is larger, deeper or stranger than any well-meant one."""
    if root is not None:
        _Measure().of(root)


class _Measure:
    """Size and height of every node with aliases expanded; each node is visited once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int] | None] = {}
        """None while a node's content is being measured."""

    def of(self, node: yaml.Node, key: str = "") -> tuple[int, int]:
        """(values, levels). `key`: the beginning of messages about it."""
        line = node.start_mark.line + 1
        if id(node) in self._known:
            known = self._known[id(node)]
            if known is None:
                raise YamlProblem(line, f"{key}an alias (*) inside the section that it refers to")
            return known
        _check_kind(node, line, key)
        self._known[id(node)] = None
        size, height = 1, 0
        for below_key, below in _below(node):
            below_size, below_height = self.of(below, below_key or key)
            size, height = size + below_size, max(height, below_height)
        if size - len(self._known) > MAX_ALIASED_VALUES:
            text = f"with its aliases (*) expanded this holds more than {MAX_ALIASED_VALUES:,} extra values"
            raise YamlProblem(line, key + text)
        if height >= MAX_DEPTH:
            raise YamlProblem(line, f"{key}sections nested more than {MAX_DEPTH} deep")
        self._known[id(node)] = (size, height + 1)
        return size, height + 1


def _below(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    """(beginning of a message about it, node)"""
    if isinstance(node, yaml.SequenceNode):
        yield from (("", item) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield "", key
            yield (f"{key.value[:40]}: " if isinstance(key, yaml.ScalarNode) else ""), value


def _check_kind(node: yaml.Node, line: int, key: str) -> None:
    if node.tag not in _PLAIN:
        given = brief(node.value) if isinstance(node, yaml.ScalarNode) else "a section"
        wrong = _WORDS.get(node.tag, f"with the tag {brief(node.tag)}; no key takes that")
        raise YamlProblem(line, f"{key}got {given}, {wrong}")
    if isinstance(node, yaml.ScalarNode) and node.tag != _TEXT and len(node.value) > _MAX_NUMBER_LENGTH:
        raise YamlProblem(line, f"{key}a number of {len(node.value):,} characters")
