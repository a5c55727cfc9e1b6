"""YAML text -> plain data and the line of every key; stricter than PyYAML: no duplicate keys, only text as keys.

Every problem is an InputError that names file and line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from mnbed.errors import InputError
from topologies import plain_yaml
from topologies.reading import brief

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed file."""

    file: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]
    """Path of a key or list item -> its line, counted from 1."""

    def line(self, path: KeyPath) -> int | None:
        """The line of that key, or of the nearest section around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def parse_yaml(text: str, file: str) -> Source:
    """Raises InputError on syntax errors, duplicate keys, keys that are not text, and anything but a mapping."""
    try:
        plain_yaml.check_text(text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        plain_yaml.check(node)
        lines, problems = _lines(node)
        if problems:
            raise InputError("\n".join(f"{file}:{problem}" for problem in problems))
        data = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise InputError(_syntax_message(error, file)) from None
    except plain_yaml.YamlProblem as problem:
        raise InputError(f"{file}:{problem.line}: {problem.text}") from None
    except RecursionError:
        raise InputError(f"{file}: sections are nested more than {plain_yaml.MAX_DEPTH} deep") from None
    except ValueError as error:
        raise InputError(f"{file}: cannot read a value: {error}") from None
    if data is None:
        raise InputError(f"{file}: the file is empty; docs/experiment-file.md describes what belongs in it")
    if not isinstance(data, dict):
        raise InputError(f"{file}: an experiment is a mapping (key: value), not a {_kind(data)}")
    return Source(file=file, data=data, lines=lines)


def parse_value(text: str) -> Any:
    """One YAML value, as in `--set key=VALUE`. Raises ValueError."""
    try:
        return plain_yaml.load(text)
    except plain_yaml.YamlProblem as problem:
        raise ValueError(problem.text) from None
    except ValueError as error:
        raise ValueError(f"not a YAML value: {str(error).removeprefix('not valid YAML: ')}") from None


def _lines(root: yaml.Node | None) -> tuple[dict[KeyPath, int], list[str]]:
    """Lines of all keys, and "line: message" for keys given twice or not text."""
    lines: dict[KeyPath, int] = {}
    problems: list[str] = []
    # An alias refers to its node again, perhaps from inside it, so each node is visited once.
    walked: set[int] = set()

    def walk(node: yaml.Node, path: KeyPath) -> None:
        if id(node) in walked:
            return
        walked.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                below: KeyPath = (*path, index)
                lines[below] = item.start_mark.line + 1
                walk(item, below)
        elif isinstance(node, yaml.MappingNode):
            own: set[str] = set()
            for key_node, value_node in node.value:
                walk_key(key_node, value_node, path, own)

    def walk_key(key_node: yaml.Node, value_node: yaml.Node, path: KeyPath, own: set[str]) -> None:
        """`own`: keys seen so far in this mapping; keys merged into it (<<) may be given again."""
        line = key_node.start_mark.line + 1
        if key_node.tag == "tag:yaml.org,2002:merge":
            walk(value_node, path)
        elif key_node.tag != "tag:yaml.org,2002:str":
            problems.append(f"{line}: key {_shown(key_node)} is not text; put it in quotes")
        elif key_node.value in own:
            below = (*path, key_node.value)
            problems.append(f"{line}: {dotted(below)} is given twice (first on line {lines[below]})")
        else:
            own.add(key_node.value)
            below = (*path, key_node.value)
            lines[below] = line
            walk(value_node, below)

    if root is not None:
        walk(root, ())
    return lines, problems


def dotted(path: KeyPath) -> str:
    """("evaluate", "targets", 1) -> "evaluate.targets[1]"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(node: yaml.Node) -> str:
    return brief(node.value) if isinstance(node, yaml.ScalarNode) else "(a list or mapping)"


def _kind(data: Any) -> str:
    return "list" if isinstance(data, list) else f"single value ({brief(data)})"


def _syntax_message(error: yaml.YAMLError, file: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if "'\\t'" in problem:
        problem = "a tab is used for indentation; YAML wants spaces"
    if "more documents" in str(getattr(error, "context", "")) or "single document" in str(error):
        problem = "a second document begins here (---), but the file must contain only one"
    where = f"{file}:{mark.line + 1}" if mark is not None else file
    return f"{where}: not valid YAML: {problem}"
