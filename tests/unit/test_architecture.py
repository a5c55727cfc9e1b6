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
from mnbed.machine import MachineFacts
from mnbed.plan.make import make_plan

ROOT = Path(__file__).parents[2]
PACKAGES = ("mnbed", "node_agent", "topologies")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EXPERIMENTS = sorted(
    path for path in (ROOT / "experiments").rglob("*.yaml") if not path.name.endswith("_sweep.yaml")
)

# Module or folder -> what it must not import. DESIGN: mnbed -> topologies, node_agent, and never back; inside mnbed
# commands -> run -> results, network -> plan -> experiment -> links -> units.
FORBIDDEN = {
    "topologies": ("mnbed", "node_agent"),
    "node_agent": ("mnbed", "topologies"),
    "mnbed/errors.py": ("mnbed", "node_agent", "topologies"),
    "mnbed/units.py": ("mnbed", "node_agent"),
    "topologies/units.py": ("topologies",),
    "mnbed/plan/link_property.py": ("mnbed", "node_agent"),
    "mnbed/plan/properties.py": (
        "mnbed.experiment.sections",
        "mnbed.plan.make",
        "mnbed.network",
        "mnbed.run",
        "node_agent",
    ),
    "mnbed/machine.py": (
        "mnbed.plan.make",
        "mnbed.experiment.sections",
        "mnbed.network",
        "mnbed.run",
        "mnbed.results",
    ),
    "mnbed/experiment/sections.py": (
        "mnbed.machine",
        "mnbed.plan.make",
        "mnbed.network",
        "mnbed.run",
        "mnbed.results",
        "pathlib",
        "os",
    ),
    "mnbed/experiment/loading.py": (
        "mnbed.machine",
        "mnbed.plan.make",
        "mnbed.network",
        "mnbed.run",
        "mnbed.results",
    ),
    "mnbed/plan/make.py": (
        "mnbed.network",
        "mnbed.run",
        "mnbed.results",
        "mnbed.commands",
        "pathlib",
        "os",
        "subprocess",
    ),
    "mnbed/plan/routes.py": ("mnbed",),
    "mnbed/network": ("mnbed.run", "mnbed.results", "mnbed.commands"),
    "mnbed/results": ("mnbed.run", "mnbed.network", "mnbed.commands", "mininet"),
    "mnbed/run": ("mnbed.commands",),
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


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_point_one_way(place: str) -> None:
    sources = [path for path in SOURCES if name(path) == place or name(path).startswith(f"{place}/")]
    assert sources, f"{place} is gone; so should be its rule"
    wrong = [
        f"{name(path)} imports {module}"
        for path in sources
        for module in imports(path)
        for forbidden in FORBIDDEN[place]
        if module == forbidden or module.startswith(f"{forbidden}.")
    ]
    assert wrong == []


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

FACTS = MachineFacts(
    cores=2, memory_bytes=4 * 10**9, open_files=4096, netem=True, congestion_controls=("reno", "cubic")
)


def test_there_are_experiments() -> None:
    assert {"cifar_stragglers.yaml", "quickstart.yaml"} <= {path.name for path in EXPERIMENTS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_plans_on_a_small_machine(path: Path) -> None:
    plan = make_plan(load_experiment(path), FACTS)
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
