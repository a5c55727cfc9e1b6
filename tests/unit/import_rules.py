"""Reads from the source which module imports which, and finds the imports that the table of parts does not allow.

Every import counts: at the top of a module, inside a function, and for type checkers alone. An import inside a function
couples two modules all the same; it only hides that from readers of the top of the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx

Graph = Mapping[str, frozenset[str]]
"""Module -> the modules of the project that it imports."""
Parts = Mapping[str, frozenset[str]]
"""Part (a folder with all that is in it, or a module) -> the parts that it may import."""


def import_graph(root: Path, packages: tuple[str, ...]) -> Graph:
    """The imports of every module in those packages. Raises ValueError at a relative import."""
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
    """The modules of the project among those names; a name inside a module counts as that module."""
    candidates = (name if name in modules else name.rpartition(".")[0] for name in names)
    return {module for module in candidates if module in modules}


def part_of(module: str, parts: Parts) -> str | None:
    """The innermost part that holds the module; None: no part does."""
    while module and module not in parts:
        module = module.rpartition(".")[0]
    return module or None


def unassigned(graph: Graph, parts: Parts) -> list[str]:
    """Modules that belong to no part."""
    return sorted(module for module in graph if part_of(module, parts) is None)


def wrong_imports(graph: Graph, parts: Parts) -> list[str]:
    """ "a.b imports c.d", for every import from a part into one that it may not import."""
    return [
        f"{module} imports {other}"
        for module, others in sorted(graph.items())
        for other in sorted(others)
        if (part := part_of(module, parts)) is not None
        and (into := part_of(other, parts)) is not None
        and into != part
        and into not in parts[part]
    ]


def unused_permissions(graph: Graph, parts: Parts) -> list[str]:
    """ "a may import b, and does not": such a permission would let an import in unnoticed."""
    used = {(part_of(module, parts), part_of(other, parts)) for module in graph for other in graph[module]}
    return [
        f"{part} may import {other}, and does not"
        for part in parts
        for other in sorted(parts[part])
        if (part, other) not in used
    ]


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    imports = nx.DiGraph([(module, other) for module in graph for other in graph[module]])
    return sorted(sorted(group) for group in nx.strongly_connected_components(imports) if len(group) > 1)
