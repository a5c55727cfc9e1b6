"""Turns an experiment file and `--set` overrides into a checked Experiment, and an Experiment back into text.

All errors are reported together, each with its file and line (or `--set`), key, value and what is allowed.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mnbed.errors import InputError
from mnbed.experiment.error_text import Problem, problems_of
from mnbed.experiment.ready_made import find, similar
from mnbed.experiment.sections import Experiment, algorithm_keys, keys_of_kind, parse, resolved
from mnbed.experiment.topology_files import read_edges, with_graph
from mnbed.experiment.trace_files import with_points
from mnbed.experiment.yaml_source import KeyPath, Source, dotted, parse_value, parse_yaml
from node_agent.algorithms import canonical_name
from topologies.reading import brief, read_text

# An experiment is about a page of text; a data set given by mistake must not be read into memory.
MAX_FILE_BYTES = 1_000_000
# Limits of a message.
_MAX_PROBLEMS = 30
_MAX_SHOWN_OVERRIDE = 200


def load_experiment(
    path: Path | str, overrides: Sequence[str] = (), note: Callable[[str], None] | None = None
) -> Experiment:
    """The experiment in that file or of that name, with `overrides` ("key.path=value", value in YAML) applied.

    `note` gets a line for everything done that the user did not ask for explicitly, such as keys dropped because
    `--set` selects another task; by default these go to stderr. Raises InputError with every error, one per line.
    """
    path = find(Path(path))
    source = parse_yaml(read_experiment_text(path), str(path))
    if "base" in source.data:
        raise InputError(f"{path}: this is a sweep, not an experiment", f"`mnbed sweep {path}` runs it")
    note = note or _note_on_stderr
    changed = _apply(source, [_parse_override(text) for text in overrides], note)
    _read_topology(changed, note)
    _read_traces(changed)
    _read_overlay(changed)
    _drop_files_module(changed, note)
    _find_module(changed)
    _drop_other_algorithms_keys(changed, note)
    try:
        return parse(changed.data)
    except ValidationError as error:
        problems = sorted(problems_of(error, changed.data), key=lambda item: source.line(item.path) or 0)
        lines = list(dict.fromkeys(map(changed.describe, problems)))
        more = len(lines) - _MAX_PROBLEMS
        raise InputError("\n".join(lines[:_MAX_PROBLEMS] + [f"... and {more:,} more"] * (more > 0))) from None


def dump_experiment(experiment: Experiment) -> str:
    """The experiment as YAML, with every default and unit; `load_experiment` makes an equal Experiment of it."""
    plain = _lists(resolved(experiment))
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Prefixes the file's name to InputErrors of planning, which knows keys but not files."""
    try:
        yield
    except InputError as error:
        lines = "\n".join(f"{path}: {line}" for line in error.message.split("\n"))
        raise InputError(lines, error.remedy) from None


def _read_topology(changed: _Changed, note: Callable[[str], None]) -> None:
    """Inlines the graph of a topology file into the experiment. Raises InputError."""
    network = changed.data.get("network")
    if not isinstance(network, dict):
        return
    section = network.get("topology")
    if not isinstance(section, dict) or "file" not in section:
        return
    key = ("network", "topology", "file")
    with changed.naming_key(key):
        if "kind" in section:
            raise ValueError("give either file or kind")
        network["topology"] = with_graph(section, partial(changed.locate, key), note)


def _read_overlay(changed: _Changed) -> None:
    """Inlines a file of edges into the experiment. Raises InputError."""
    overlay = changed.data.get("overlay")
    if not isinstance(overlay, dict) or not isinstance(overlay.get("edges"), str):
        return
    key = ("overlay", "edges")
    with changed.naming_key(key):
        overlay["edges"] = read_edges(changed.locate(key, overlay["edges"]))


def _find_module(changed: _Changed) -> None:
    """Makes the path of a user's algorithm absolute, so that the experiment runs from anywhere. Raises InputError."""
    algorithm = changed.data.get("algorithm")
    if not isinstance(algorithm, dict) or not isinstance(algorithm.get("module"), str):
        return
    key = ("algorithm", "module")
    file = changed.locate(key, algorithm["module"]).resolve()
    with changed.naming_key(key):
        if file.suffix != ".py" or not file.is_file():
            raise ValueError(f"got {algorithm['module']}; no such Python file: {file}")
    algorithm["module"] = str(file)


def _drop_files_module(changed: _Changed, note: Callable[[str], None]) -> None:
    """With only `--set algorithm.name=...`, drops the file's own algorithm, which must not run under another name."""
    algorithm, before = changed.data.get("algorithm"), changed.source.data.get("algorithm")
    text = changed.overridden.get(("algorithm", "name"))
    if text is None or not isinstance(algorithm, dict) or not isinstance(before, dict):
        return
    module = before.get("module")
    same = canonical_name(str(algorithm.get("name"))) == canonical_name(str(before.get("name")))
    if same or not isinstance(module, str) or ("algorithm", "module") in changed.overridden:
        return
    foreign: set[str] = set()
    with suppress(ValueError):
        own = algorithm_keys({**before, "module": str(changed.beside(module).resolve())})
        foreign = set(own) - set(algorithm_keys({"name": algorithm.get("name")}))
    dropped = [key for key in algorithm if key in foreign and ("algorithm", key) not in changed.overridden]
    for key in ("module", *dropped):
        del algorithm[key]
    note(f"--set {text}: dropped {', '.join(f'algorithm.{key}' for key in ('module', *dropped))}")


def _drop_other_algorithms_keys(changed: _Changed, note: Callable[[str], None]) -> None:
    """With `--set algorithm.module=...`, drops the keys that only the file's algorithm knows, and tells the user."""
    algorithm, before = changed.data.get("algorithm"), changed.source.data.get("algorithm")
    if ("algorithm", "module") not in changed.overridden or not isinstance(algorithm, dict):
        return
    try:
        known = algorithm_keys(algorithm)
        foreign = set(algorithm_keys(before or {})) - set(known)
    except ValueError:
        return
    dropped = [key for key in algorithm if key in foreign and ("algorithm", key) not in changed.overridden]
    for key in dropped:
        del algorithm[key]
    if dropped:
        text = changed.overridden["algorithm", "module"]
        note(f"--set {text}: dropped {', '.join(f'algorithm.{key}' for key in dropped)}")


def _read_traces(changed: _Changed) -> None:
    """Inlines trace files into the experiment. Raises InputError."""
    network = changed.data.get("network")
    events = network.get("events") if isinstance(network, dict) else None
    if not isinstance(events, list):
        return
    lines = []
    for number, entry in enumerate(events):
        if isinstance(entry, dict):
            try:
                key = ("network", "events", number)
                events[number] = with_points(entry, partial(changed.locate, key))
            except ValueError as error:
                key_of_file = "trace" if "trace" in entry else "mahimahi"
                problem = Problem(path=(*key, key_of_file), text=str(error))
                lines.append(changed.describe(problem))
    if lines:
        raise InputError("\n".join(lines))


def _note_on_stderr(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def read_experiment_text(path: Path) -> str:
    """The text of an experiment, or of a similarly short file. Raises InputError."""
    try:
        return read_text(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_yaml_files_near(path)}", _ready_made_like(path)) from None
    except ValueError as error:
        raise InputError(f"{error}; this is not an experiment file, which is about a page of YAML") from None


def _yaml_files_near(path: Path) -> str:
    folder = path.parent
    names = sorted(str(file) for file in folder.glob("*.yaml")) if folder.is_dir() else []
    return f"; there are: {', '.join(names[:8])}" if names else ""


def _ready_made_like(path: Path) -> str | None:
    """The remedy for a misspelt name of an experiment that comes with mnbed."""
    names = similar(path)
    return f"of the experiments that come with mnbed: {', '.join(names)}" if names else None


@dataclass(frozen=True, kw_only=True)
class _Override:
    """A `--set` argument."""

    text: str
    """As shown in messages."""
    path: tuple[str, ...]
    value: Any


@dataclass(kw_only=True)
class _Changed:
    """A file's data with the overrides applied."""

    source: Source
    data: dict[str, Any]
    overridden: dict[KeyPath, str] = field(default_factory=dict)
    """Path -> text of the `--set` that set it."""

    def locate(self, key: KeyPath, name: str) -> Path:
        """The file that key names: relative to the experiment or, when `--set` gave it, to the working directory."""
        by_set = any(key[:end] in self.overridden for end in range(1, len(key) + 1))
        return Path(name).expanduser() if by_set else self.beside(name)

    def beside(self, name: str) -> Path:
        """The file of that name, relative to the experiment's own."""
        return Path(self.source.file).parent / Path(name).expanduser()

    @contextmanager
    def naming_key(self, key: KeyPath) -> Iterator[None]:
        """Turns a ValueError into an InputError that names the key and where it was given."""
        try:
            yield
        except ValueError as error:
            raise InputError(self.describe(Problem(path=key, text=str(error)))) from None

    def describe(self, problem: Problem) -> str:
        """The line of the message for that problem."""
        for end in range(len(problem.path), 0, -1):
            if problem.path[:end] in self.overridden:
                return f"--set {self.overridden[problem.path[:end]]}: {dotted(problem.path)}: {problem.text}"
        line = self.source.line(problem.path)
        where = self.source.file if line is None else f"{self.source.file}:{line}"
        # The problem may be with a section as a whole, to which overrides contributed.
        inside = [text for path, text in self.overridden.items() if path[: len(problem.path)] == problem.path]
        where += "".join(f" with --set {text}" for text in inside)
        return (
            f"{where}: {dotted(problem.path)}: {problem.text}" if problem.path else f"{where}: {problem.text}"
        )


def _parse_override(text: str) -> _Override:
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    shown = text if len(text) <= _MAX_SHOWN_OVERRIDE else text[: _MAX_SHOWN_OVERRIDE - 3] + "..."
    if not equals or not all(path):
        raise InputError(f"--set {shown}: write key.path=value, for example --set time.duration=30s")
    try:
        return _Override(text=shown, path=path, value=parse_value(value))
    except ValueError as error:
        raise InputError(f"--set {shown}: {error}") from None


def _apply(source: Source, overrides: Sequence[_Override], note: Callable[[str], None]) -> _Changed:
    """Applies overrides that select a kind first: these drop keys of the file, but never those of another `--set`."""
    changed = _Changed(source=source, data=copy.deepcopy(source.data))
    # task.name before task.partition.kind, and both before the keys that depend on them.
    for override in sorted(
        overrides, key=lambda item: (item.path[-1] not in ("name", "kind"), len(item.path))
    ):
        section = _section(changed.data, override)
        _drop_foreign_keys(section, override, changed.data, note)
        section[override.path[-1]] = override.value
        changed.overridden = {
            path: text
            for path, text in changed.overridden.items()
            if path[: len(override.path)] != override.path
        }
        changed.overridden[override.path] = override.text
    return changed


def _section(data: dict[str, Any], override: _Override) -> dict[str, Any]:
    """The mapping that holds the key; created if the file has none."""
    for depth, part in enumerate(override.path[:-1], start=1):
        below = data.get(part)
        if below is None:
            below = data[part] = {}
        if not isinstance(below, dict):
            raise InputError(
                f"--set {override.text}: {dotted(override.path[:depth])} is not a section, its value is {brief(below)}"
            )
        data = below
    return data


def _drop_foreign_keys(
    section: dict[str, Any], override: _Override, data: dict[str, Any], note: Callable[[str], None]
) -> None:
    """With `--set task.name=digits`, drops the keys that only the file's task knows, and tells the user."""
    last = override.path[-1]
    if last not in section:
        return
    try:
        before = keys_of_kind(override.path, section[last], data)
        known = keys_of_kind(override.path, override.value, data)
    except ValueError:
        return
    if before is None or known is None:
        return
    # Keys that neither knows are misspelt: they stay and are reported.
    dropped = [key for key in section if key in before and key not in known]
    for key in dropped:
        del section[key]
    if dropped:
        note(
            f"--set {override.text}: dropped {', '.join(dotted((*override.path[:-1], key)) for key in dropped)}"
        )


def _lists(value: Any) -> Any:
    """Converts tuples to lists, for YAML."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
