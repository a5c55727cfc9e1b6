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
    import_graph,
    part_of,
    unassigned,
    unused_permissions,
    wrong_imports,
)

ROOT = Path(__file__).parents[2]
PACKAGES = ("mnbed", "node_agent", "topologies")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EXPERIMENTS = sorted(
    path for path in (ROOT / "experiments").rglob("*.yaml") if not path.name.endswith("_sweep.yaml")
)

# Part -> the parts that it may import. A part is a folder with all that is in it, or a module in a package's root.
# mnbed imports topologies and node_agent, never the reverse; inside mnbed the order is
# commands -> prompt -> run -> results, network -> plan -> experiment -> units, errors.
PARTS = {
    part: frozenset(others.split())
    for part, others in {
        "mnbed.cli": "mnbed mnbed.commands mnbed.run mnbed.errors node_agent",
        "mnbed.commands": """
            mnbed.prompt mnbed.run mnbed.results mnbed.network mnbed.topology_view mnbed.plan mnbed.experiment
            mnbed.records mnbed.run_directory mnbed.machine mnbed.units mnbed.console mnbed.errors topologies
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
# Module or folder -> libraries that it must not import: pure code opens no file and starts nothing, and results are
# made without a network.
WITHOUT = {
    "mnbed/experiment/sections.py": ("pathlib", "os", "subprocess", "socket"),
    "mnbed/plan": ("pathlib", "os", "subprocess", "socket", "time"),
    "mnbed/results": ("mininet", "socket"),
    "mnbed/experiment": ("mininet", "subprocess", "socket"),
    "topologies": ("mininet", "subprocess", "socket"),
}
# Only these may be imported at the top of a command module and of cli.py: `mnbed --help` must not take over 0.3 s.
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
    """Every module that the file imports; with `top_only`, only those imported when the file itself is."""
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


def test_every_module_belongs_to_a_part(graph: Graph) -> None:
    assert unassigned(graph, PARTS) == []
    in_root = {
        module for module in graph if module.startswith("mnbed.") and part_of(module, PARTS) == "mnbed"
    }
    assert in_root == set(), "add them to PARTS: a module in the package's root is a part of its own"


def test_imports_stay_within_the_table(graph: Graph) -> None:
    assert wrong_imports(graph, PARTS) == []


def test_the_table_allows_no_more_than_is_used(graph: Graph) -> None:
    assert unused_permissions(graph, PARTS) == []


def test_no_modules_import_each_other_in_a_circle(graph: Graph) -> None:
    assert circles(graph) == []
    assert circles(PARTS) == [], "nor may parts"


@pytest.mark.parametrize("place", WITHOUT)
def test_pure_code_does_not_touch_the_machine(place: str) -> None:
    sources = [path for path in SOURCES if name(path) == place or name(path).startswith(f"{place}/")]
    assert sources, f"{place} is gone; so should be its rule"
    wrong = [
        f"{name(path)} imports {module}"
        for path in sources
        for module in imports(path)
        if module.partition(".")[0] in WITHOUT[place]
    ]
    assert wrong == []


@pytest.mark.parametrize("part", [part for part in PARTS if (ROOT / part.replace(".", "/")).is_dir()])
def test_each_folder_states_the_imports_of_the_table(part: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / part.replace(".", "/") / "__init__.py").read_text())) or ""
    stated = re.search(r"May import[^:]*:(.*?)(?:\.\s|\.?$)", text, re.DOTALL)
    if stated is None:
        assert not {other for other in PARTS[part] if other != "mnbed"}
        return
    words = set(re.findall(r"\w+", re.sub(r"\([^)]*\)", "", stated[1])))
    others = {other.removeprefix("mnbed.") for other in PARTS[part]}
    parts = {other.removeprefix("mnbed.") for other in PARTS}
    assert words & parts == others


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in SOURCES}), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_folder_says_what_it_holds_and_what_it_may_import(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text
    assert 2 <= len(text.splitlines()) <= 20
    assert re.search(r"\bimports?\b", text), "it does not say what may be imported from where"


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


def test_nothing_waits_with_select_which_rejects_descriptors_from_1024_on() -> None:
    using = [name(path) for path in SOURCES if re.search(r"\bselect\.select\(", path.read_text())]
    assert using == []


def test_yaml_of_users_is_read_only_where_its_size_is_bounded() -> None:
    using = {
        name(path)
        for path in SOURCES
        if re.search(r"\byaml\.(safe_load|load|SafeLoader)\(", path.read_text())
    }
    # The matrices are our own files.
    assert using == {"mnbed/experiment/yaml_source.py", "topologies/plain_yaml.py", "topologies/matrices.py"}
