"""`network.topology: {file: x.graphml}` -> the graph written out, so that a resolved experiment needs no other file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnbed.experiment import INLINE
from mnbed.fields import did_you_mean
from topologies import files, parameters_of
from topologies.description import to_description


def with_graph(section: Mapping[str, Any], folder: Path, note: Callable[[str], None]) -> dict[str, Any]:
    """The section with the graph of its file. `folder`: where relative paths begin. Raises ValueError.

    `note` gets what was made of things that the file leaves open.
    """
    given = {key: value for key, value in section.items() if key != "file"}
    options = parameters_of(files.load)
    for key, value in given.items():
        if key not in options:
            raise ValueError(f"{key}: no such key beside file{did_you_mean(str(key), ['file', *options])}")
        if not isinstance(value, options[key].type) or isinstance(value, bool):
            raise ValueError(f"{key}: got {value!r}; it must be {options[key].type_name}")
    if not isinstance(section["file"], str) or not section["file"].strip():
        raise ValueError(f"got {section['file']!r}; it must be the name of a file ({files.endings()})")
    graph = files.load(folder / Path(section["file"]).expanduser(), **given)
    for text in graph.graph.get("notes", ()):
        note(f"{section['file']}: {text}")
    return {"kind": INLINE, **to_description(graph)}
