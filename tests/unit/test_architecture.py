"""Rules about the source: who imports whom, that shipped experiments plan, that files stay readable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnbed.experiment.loading import load_experiment
from mnbed.experiment.sections import Experiment, parse
from mnbed.experiment.yaml_source import parse_yaml
from mnbed.plan.make import make_plan
from tests.machines import SMALL
from tests.unit.import_rules import (
    Graph,
    circles,
    homeless,
    import_graph,
    room_of,
    unused_permissions,
    wrong_imports,
)

ROOT = Path(__file__).parents[2]
PACKAGES = ("mnbed", "node_agent", "topologies")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EXPERIMENTS = sorted(
    path for path in (ROOT / "experiments").rglob("*.yaml") if not path.name.endswith("_sweep.yaml")
)

# Room -> the rooms that it may import. A room is a folder with all that is in it, or a module in a package's root.
# mnbed -> topologies, node_agent, and never back; inside mnbed the story runs
# commands -> prompt -> run -> results, network -> plan -> experiment -> units, errors.
ROOMS = {
    room: frozenset(others.split())
    for room, others in {
        "mnbed.cli": "mnbed mnbed.commands mnbed.run mnbed.errors node_agent",
        "mnbed.commands": """
            mnbed.prompt mnbed.run mnbed.results mnbed.network mnbed.topology_view mnbed.plan mnbed.experiment
            mnbed.run_directory mnbed.machine mnbed.units mnbed.console mnbed.errors topologies
            """,
        "mnbed.prompt": """
            mnbed.run mnbed.results mnbed.network mnbed.plan mnbed.experiment mnbed.records mnbed.machine mnbed.units
            mnbed.console mnbed.errors
            """,
        "mnbed.run": """
            mnbed mnbed.results mnbed.network mnbed.plan mnbed.experiment mnbed.records mnbed.run_directory
            mnbed.machine mnbed.programs mnbed.errors node_agent
            """,
        "mnbed.network": """
            mnbed.plan mnbed.records mnbed.machine mnbed.programs mnbed.errors node_agent topologies
            """,
        "mnbed.results": """
            mnbed.experiment mnbed.records mnbed.run_directory mnbed.units mnbed.programs mnbed.errors node_agent
            topologies
            """,
        "mnbed.topology_view": "mnbed.plan mnbed.experiment mnbed.errors topologies",
        "mnbed.plan": "mnbed.experiment mnbed.machine mnbed.units mnbed.errors node_agent topologies",
        "mnbed.experiment": "mnbed.units mnbed.errors node_agent topologies",
        "mnbed.records": "mnbed.errors node_agent",
        "mnbed.run_directory": "mnbed.errors",
        "mnbed.machine": "mnbed.container mnbed.errors",
        "mnbed.container": "",
        "mnbed.units": "topologies",
        "mnbed.console": "",
        "mnbed.programs": "",
        "mnbed.start": "",
        "mnbed.errors": "",
        "mnbed": "",
        "node_agent": "",
        "topologies": "",
    }.items()
}
# Module or folder -> libraries that it does without: what is pure opens no file and starts nothing, and results are
# made without a network.
WITHOUT = {
    "mnbed/experiment/sections.py": ("pathlib", "os", "subprocess", "socket"),
    "mnbed/plan": ("pathlib", "os", "subprocess", "socket", "time"),
    "mnbed/results": ("mininet", "socket"),
    "mnbed/experiment": ("mininet", "subprocess", "socket"),
    "topologies": ("mininet", "subprocess", "socket"),
}
# Only these may appear at the top of a command module and of the frame: `mnbed --help` has 0.3 s.
LIGHT = {
    "__future__",
    "typing",
    "pathlib",
    "typer",
    "collections",
    "mnbed",
    "json",
    "sys",
    "os",
    "dataclasses",
    "types",
}
LIGHT |= {"functools", "importlib", "pkgutil", "traceback", "re"}
LIGHT_OF_MNBED = {"mnbed", "mnbed.errors", "mnbed.commands"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Every module that the file imports; with top_only, those that importing it imports."""
    tree = ast.parse(path.read_text(), str(path))
    for node in _executed_on_import(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _executed_on_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        for_checkers = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not for_checkers and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from _executed_on_import(child)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(ROOT, PACKAGES)


def test_every_module_stands_in_a_room(graph: Graph) -> None:
    assert homeless(graph, ROOMS) == []
    in_root = {
        module for module in graph if module.startswith("mnbed.") and room_of(module, ROOMS) == "mnbed"
    }
    assert in_root == set(), "place them in ROOMS: the package's root is no room for modules"


def test_imports_stay_within_the_table(graph: Graph) -> None:
    assert wrong_imports(graph, ROOMS) == []


def test_the_table_allows_no_more_than_is_used(graph: Graph) -> None:
    assert unused_permissions(graph, ROOMS) == []


def test_no_modules_import_each_other_in_a_circle(graph: Graph) -> None:
    assert circles(graph) == []
    # Nor do rooms.
    assert circles(ROOMS) == []


@pytest.mark.parametrize("place", WITHOUT)
def test_what_is_pure_does_without_the_machine(place: str) -> None:
    sources = [path for path in SOURCES if name(path) == place or name(path).startswith(f"{place}/")]
    assert sources, f"{place} is gone; so should be its rule"
    wrong = [
        f"{name(path)} imports {module}"
        for path in sources
        for module in imports(path)
        if module.partition(".")[0] in WITHOUT[place]
    ]
    assert wrong == []


@pytest.mark.parametrize("room", [room for room in ROOMS if (ROOT / room.replace(".", "/")).is_dir()])
def test_what_a_folder_says_that_it_may_import_is_what_the_table_says(room: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / room.replace(".", "/") / "__init__.py").read_text())) or ""
    said = re.search(r"May import[^:]*:(.*?)(?:\.\s|\.?$)", text, re.DOTALL)
    if said is None:
        assert not {other for other in ROOMS[room] if other != "mnbed"}
        return
    words = set(re.findall(r"\w+", re.sub(r"\([^)]*\)", "", said[1])))
    others = {other.removeprefix("mnbed.") for other in ROOMS[room]}
    rooms = {other.removeprefix("mnbed.") for other in ROOMS}
    assert words & rooms == others


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in SOURCES}), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_folder_says_what_it_holds_and_what_it_may_import(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text
    assert 2 <= len(text.splitlines()) <= 20
    assert re.search(r"\bimports?\b", text), "it says what may be imported from where"


@pytest.mark.parametrize(
    "path", [ROOT / "mnbed" / "cli.py", *(ROOT / "mnbed" / "commands").glob("*.py")], ids=name
)
def test_commands_import_nothing_heavy_at_the_top(path: Path) -> None:
    tops = set(imports(path, top_only=True))
    assert {module.partition(".")[0] for module in tops} <= LIGHT
    wrong = [module for module in tops if module.startswith("mnbed.") and not module.startswith("mnbed.__")]
    assert {module for module in wrong if module.count(".") == 1} <= LIGHT_OF_MNBED


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.parent.name in ("algorithms", "tasks")], ids=name
)
def test_algorithms_and_tasks_import_torch_only_inside_functions(path: Path) -> None:
    tops = {module.partition(".")[0] for module in imports(path, top_only=True)}
    assert tops & {"torch", "torchvision", "sklearn", "pydantic"} == set()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500, "hard limit of a file"
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


# --- shipped experiments ---


def test_there_are_experiments() -> None:
    assert {"cifar_stragglers.yaml", "quickstart.yaml"} <= {path.name for path in EXPERIMENTS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_plans_on_a_small_machine(path: Path) -> None:
    plan = make_plan(load_experiment(path), SMALL)
    assert len(plan.hosts) >= 2


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_says_what_it_shows_and_how_long_it_takes(path: Path) -> None:
    head = [line for line in path.read_text().splitlines()[:4] if line.startswith("# ")]
    assert len(head) >= 2
    text = " ".join(head)
    assert "Shows" in text
    assert "Takes" in text


def yaml_blocks(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


DOCUMENTED = yaml_blocks("experiment-file.md")


@pytest.mark.parametrize(
    "block", DOCUMENTED + yaml_blocks("topologies.md"), ids=lambda block: block.split(":")[0]
)
def test_every_example_of_the_documentation_is_valid(block: str) -> None:
    parse(parse_yaml(block, "experiment-file.md").data)


def test_every_section_is_documented_with_an_example() -> None:
    shown = {key for block in DOCUMENTED for key in parse_yaml(block, "experiment-file.md").data}
    assert shown == set(Experiment.__dataclass_fields__)


def test_nothing_waits_with_select_which_takes_no_descriptor_from_1024_on() -> None:
    using = [name(path) for path in SOURCES if re.search(r"\bselect\.select\(", path.read_text())]
    assert using == []


def test_yaml_of_users_is_read_where_its_size_is_bounded() -> None:
    using = {
        name(path)
        for path in SOURCES
        if re.search(r"\byaml\.(safe_load|load|SafeLoader)\(", path.read_text())
    }
    # The matrices are files of our own.
    assert using == {"mnbed/experiment/yaml_source.py", "topologies/plain_yaml.py", "topologies/matrices.py"}
