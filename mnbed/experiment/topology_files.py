"""Inlines graphs from files into the experiment, so that a resolved experiment needs no other file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnbed.experiment.fields import did_you_mean
from mnbed.experiment.sections import INLINE
from topologies import files, parameters_of
from topologies.description import to_description
from topologies.reading import brief, read_text


def with_graph(
    section: Mapping[str, Any], locate: Callable[[str], Path], note: Callable[[str], None]
) -> dict[str, Any]:
    """The section with its file's graph inlined. `locate`: file name -> path. Raises ValueError.

    `note` gets a line for each choice that the file leaves open.
    """
    given = {key: value for key, value in section.items() if key != "file"}
    options = parameters_of(files.load)
    for key, value in given.items():
        if key not in options:
            raise ValueError(f"{key}: no such key beside file{did_you_mean(str(key), ['file', *options])}")
        if not isinstance(value, options[key].type) or isinstance(value, bool):
            raise ValueError(f"{key}: got {brief(value)}; it must be {options[key].type_name}")
    if not isinstance(section["file"], str) or not section["file"].strip():
        raise ValueError(f"got {brief(section['file'])}; it must be a file name ({files.endings()})")
    graph = files.load(locate(section["file"]), **given)
    for text in graph.graph.get("notes", ()):
        note(f"{section['file']}: {text}")
    return {"kind": INLINE, **to_description(graph)}


def read_edges(path: Path) -> list[list[str]]:
    """Pairs of hosts in a file, one per line: names, or numbers from 0, as decentralizepy writes them below a first
    line with the number of nodes. Raises ValueError.
    """
    try:
        lines = read_text(path, files.MAX_FILE_BYTES).splitlines()
    except FileNotFoundError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    pairs: dict[tuple[str, str], None] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words or (number == 1 and len(words) == 1 and words[0].isdecimal()):
            continue
        if len(words) != 2:
            raise ValueError(
                f"{path}: line {number}: expected a pair of hosts, got {brief(line.strip()[:60])}"
            )
        a, b = (f"h{int(word) + 1}" if word.isdecimal() else word for word in words)
        if (b, a) not in pairs:
            pairs[a, b] = None
    if not pairs:
        raise ValueError(f"{path}: it contains no edges")
    return [list(pair) for pair in pairs]
