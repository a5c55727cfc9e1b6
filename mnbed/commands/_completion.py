"""What the shell offers after `mnbed run <TAB>`: ready-made experiments, YAML files, run directories.

Called on every press of the key, so it imports nothing heavy and looks into one folder only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Where runs are if nobody says otherwise.
_RUNS = "runs"
_EXPERIMENT_ENDINGS = (".yaml", ".yml")


def experiments(incomplete: str) -> list[str]:
    """Experiments that come with mnbed, and YAML files."""
    return [*_names(incomplete, sweeps=False), *_paths(incomplete, _is_yaml)]


def sweeps(incomplete: str) -> list[str]:
    """Sweeps that come with mnbed, and YAML files."""
    return [*_names(incomplete, sweeps=True), *_paths(incomplete, _is_yaml)]


def networks(incomplete: str) -> list[str]:
    """What `mnbed topo` shows: generators, experiments that come with mnbed, and files."""
    import topologies

    generators = [kind for kind in topologies.names() if kind.startswith(incomplete)]
    return [*generators, *_names(incomplete, sweeps=False), *_paths(incomplete, os.path.isfile)]


def run_directories(incomplete: str) -> list[str]:
    """Run directories; where nothing has been typed, those in ./runs."""
    return (_paths(f"{_RUNS}/", _is_run) if not incomplete else []) or _paths(incomplete, _is_run)


def _names(incomplete: str, *, sweeps: bool) -> list[str]:
    from mnbed.experiment.ready_made import ready_made

    wanted = [name for name in ready_made() if name.endswith("_sweep") == sweeps]
    return [name for name in wanted if name.startswith(incomplete)]


def _paths(incomplete: str, wanted: Callable[[str], bool]) -> list[str]:
    """Wanted entries whose path begins like that, and folders; a folder that is the only one is opened."""
    home = os.path.expanduser("~")
    typed_home = incomplete.startswith("~/")
    start = home + incomplete[1:] if typed_home else incomplete
    found = []
    for path in _entries(os.path.dirname(start)):
        if path.startswith(start) and (wanted(path) or os.path.isdir(path)):
            found.append(path if wanted(path) else f"{path}/")
    # Otherwise the shell adds a blank after the folder's name, as if that were all.
    if len(found) == 1 and found[0].endswith("/") and found[0] != start:
        found = _paths(found[0], wanted) or found
    # The shell compares with what was typed.
    return ["~" + path.removeprefix(home) if typed_home else path for path in found]


def _entries(folder: str) -> list[str]:
    """Paths of what is in a folder and not hidden, sorted; empty if it cannot be read."""
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if not name.startswith(".")]


def _is_yaml(path: str) -> bool:
    return path.endswith(_EXPERIMENT_ENDINGS) and os.path.isfile(path)


def _is_run(path: str) -> bool:
    from mnbed.run_directory import RunDirectory

    return RunDirectory(Path(path)).experiment.is_file()
