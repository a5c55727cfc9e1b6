"""Reads who imports whom from the source, and says which imports lead out of a room where they may not.

Every import counts: at the top of a module, inside a function, and for type checkers alone. An import that is put off
still ties two modules together; it only hides that from whoever reads the top of the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx

Graph = Mapping[str, frozenset[str]]
"""Module -> the modules of the project that it imports."""


def import_graph(root: Path, packages: tuple[str, ...]) -> Graph:
    """Of every module of those packages. Raises ValueError at a relative import."""
    paths = {
        module_name(path.relative_to(root)): path for name in packages for path in (root / name).rglob("*.py")
    }
    return {
        module: frozenset(_resolved(imported_names(ast.parse(path.read_text(), str(path))), paths) - {module})
        for module, path in paths.items()
    }


def module_name(path: Path) -> str:
    """a/b.py -> a.b, and a/__init__.py -> a"""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST) -> Iterator[str]:
    """`import a.b` -> a.b; `from a import b` -> a.b, which may be a module or a name in module a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _resolved(names: Iterator[str], modules: Mapping[str, Path]) -> set[str]:
    """Those that are modules of the project; a name inside a module stands for it."""
    return {
        found for name in names if (found := name if name in modules else name.rpartition(".")[0]) in modules
    }


def room_of(module: str, rooms: Mapping[str, frozenset[str]]) -> str | None:
    """The innermost room that holds the module; None: no room does."""
    while module and module not in rooms:
        module = module.rpartition(".")[0]
    return module or None


def homeless(graph: Graph, rooms: Mapping[str, frozenset[str]]) -> list[str]:
    """Modules that stand in no room."""
    return sorted(module for module in graph if room_of(module, rooms) is None)


def wrong_imports(graph: Graph, rooms: Mapping[str, frozenset[str]]) -> list[str]:
    """ "a.b imports c.d", for every import from a room into one that it may not import."""
    return [
        f"{module} imports {other}"
        for module, others in sorted(graph.items())
        for other in sorted(others)
        if (room := room_of(module, rooms)) is not None
        and (into := room_of(other, rooms)) is not None
        and into != room
        and into not in rooms[room]
    ]


def unused_permissions(graph: Graph, rooms: Mapping[str, frozenset[str]]) -> list[str]:
    """ "a may import b, and does not": such a line of the table would let an import in unnoticed."""
    used = {(room_of(module, rooms), room_of(other, rooms)) for module in graph for other in graph[module]}
    return [
        f"{room} may import {other}, and does not"
        for room in rooms
        for other in sorted(rooms[room])
        if (room, other) not in used
    ]


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, straight or through others."""
    drawn = nx.DiGraph([(module, other) for module in graph for other in graph[module]])
    return sorted(sorted(group) for group in nx.strongly_connected_components(drawn) if len(group) > 1)
