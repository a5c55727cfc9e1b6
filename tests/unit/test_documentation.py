"""The documentation against the tree: links, paths, messages, lengths, and the table of who may import whom."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mnbed import __version__
from mnbed.experiment.sections import parse
from mnbed.experiment.yaml_source import parse_yaml
from tests.unit.shown_commands import PAGES, ROOT

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "architecture.svg"
MAIN_COMMAND = "sudo ./install.sh && sudo mnbed run experiments/cifar_stragglers.yaml"
TEST_COMMAND = "sudo ./install.sh --dev && sudo .venv/bin/pytest"
LONGEST_LINE = 140
# A row cannot be broken in Markdown; a table of figures may be wide, one of sentences should be a list.
LONGEST_ROW = 180
LONGEST_CELL_OF_A_WIDE_ROW = 60

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


# --- README ---


def test_readme_is_read_in_minutes() -> None:
    assert len(README.read_text().split()) <= 750


@pytest.mark.parametrize("command", [MAIN_COMMAND, TEST_COMMAND])
def test_readme_gives_the_two_commands_on_lines_of_their_own(command: str) -> None:
    assert f"    {command}" in README.read_text().splitlines()


# --- lines, links, paths ---


@each_page
def test_lines_are_wrapped(page: Path) -> None:
    assert [f"{page.name}:{number}" for number, line in numbered(page) if too_long(line)] == []


def too_long(line: str) -> bool:
    if not line.startswith("|"):
        return len(line) > LONGEST_LINE
    longest_cell = max(len(cell.strip()) for cell in line.split("|"))
    return len(line) > LONGEST_ROW and longest_cell > LONGEST_CELL_OF_A_WIDE_ROW


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def leads_somewhere(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (page.parent / file).resolve() if file else page
    if not target.is_relative_to(ROOT.resolve()) or not target.exists():
        return False
    return not anchor or anchor in anchors(target)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, without punctuation, spaces as hyphens."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("link", ["nowhere.md", "README.md#no-such-heading", "../outside.md"])
def test_a_wrong_link_would_be_found(link: str) -> None:
    assert not leads_somewhere(README, link)


@each_page
def test_paths_that_are_named_exist(page: Path) -> None:
    """`mnbed/plan/links.py` and the like; moving a file must not leave its name behind."""
    wrong = [path for path in named_paths(page.read_text()) if not (ROOT / path).exists()]
    assert wrong == []


def named_paths(text: str) -> Iterator[str]:
    folders = "mnbed|node_agent|topologies|tests|bench|docs|experiments|vagrant|\\.ci|\\.github"
    for path in re.findall(rf"`((?:{folders})/[^`\s]*)`", text):
        if not set("<>*{}") & set(path) and page_may_name(path):
            yield path


def page_may_name(path: str) -> bool:
    # The worked example of an algorithm is a file that the reader writes.
    return path != "node_agent/algorithms/push_one.py"


def test_every_page_can_be_reached_from_readme() -> None:
    seen, waiting = {README}, [README]
    while waiting:
        page = waiting.pop()
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        new = {target for target in targets if target.suffix == ".md"} - seen
        seen |= new
        waiting += new
    assert {page.name for page in PAGES} - {page.name for page in seen} == {"CHANGELOG.md"}


@pytest.mark.parametrize("named", sorted(set(re.findall(r'class="m"[^>]*>([^<]*)<', PICTURE.read_text()))))
def test_what_the_picture_names_exists(named: str) -> None:
    for part in named.split(", "):
        if not set("*&") & set(part):
            assert any((ROOT / folder / part).exists() for folder in ("", "mnbed", "node_agent")), part


def test_the_picture_is_text_for_light_and_dark_pages() -> None:
    picture = PICTURE.read_text()
    assert "<text" in picture
    assert "prefers-color-scheme: dark" in picture


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md"])
def test_the_experiment_that_a_page_shows_is_valid(page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        parse(parse_yaml(block, page).data)


# --- messages ---


def test_messages_that_troubleshooting_quotes_are_printed() -> None:
    sources = [*(ROOT / "mnbed").rglob("*.py"), *(ROOT / "node_agent").rglob("*.py")]
    # A long message is written as several strings, one below the other.
    texts = re.sub(r'"\n +f?"', "", "\n".join(path.read_text() for path in sources))
    table = (ROOT / "docs" / "usage.md").read_text().partition("## Troubleshooting")[2]
    first_cells = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    quoted = {text for cell in first_cells for text in re.findall(r"`([^`]+)`", cell)}
    of_the_system = {os.strerror(number) for number in (errno.EACCES, errno.ENOSPC)}
    others = {
        "ping",
        "auto",
        "degraded",
        "Mininet is missing",
    }  # words; and the name of a check with "is missing"
    assert len(quoted) > 8
    assert {text for text in quoted - of_the_system - others if text not in texts} == set()


# --- who may import whom ---

PART_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", re.MULTILINE)
# What every part may import, as the page says in a sentence.
FOR_ALL = {"errors", "node_agent", "topologies"}


def documented_parts() -> dict[str, set[str]]:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("| part of `mnbed` |")[2].partition("\n\n")[0]
    parts = {name: set(re.findall(r"`(\w+)`", allowed)) for name, allowed in PART_ROW.findall(table)}
    parts["commands"] = set(parts) - {"commands"}
    return parts


def actual_parts() -> dict[str, set[str]]:
    imports: dict[str, set[str]] = {}
    for path in (ROOT / "mnbed").rglob("*.py"):
        part = path.relative_to(ROOT / "mnbed").with_suffix("").parts[0]
        if part not in ("cli", "__init__"):
            imports.setdefault(part, set()).update(imported_parts(path) - {part, "__version__"})
    return imports


def imported_parts(path: Path) -> set[str]:
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"mnbed.{name.name}" for name in node.names] if node.module == "mnbed" else [node.module]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        for package, *rest in (name.split(".") for name in names):
            if package == "mnbed":
                parts.update(rest[:1])
            elif package in FOR_ALL:
                parts.add(package)
    return parts


def test_the_table_of_parts_is_what_the_source_does() -> None:
    documented, actual = documented_parts(), actual_parts()
    assert set(documented) == set(actual)
    beyond = {part: actual[part] - documented[part] - FOR_ALL for part in actual}
    assert {part: parts for part, parts in beyond.items() if parts} == {}


def test_the_table_of_parts_points_one_way() -> None:
    order = list(documented_parts())
    for part, allowed in documented_parts().items():
        assert all(order.index(other) > order.index(part) for other in allowed), part


# --- other files of documentation ---


def test_hosted_ci_runs_our_own_checks() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert "sudo .ci/run" in [step.get("run") for step in steps]


def test_the_hooks_before_a_commit_are_those_of_ci() -> None:
    checks = (ROOT / ".ci" / "run").read_text()
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"].partition(" --")[0] for repo in config["repos"] for hook in repo["hooks"]]
    assert entries
    assert [entry for entry in entries if entry not in checks] == []


def test_contributing_gives_the_checks_of_ci() -> None:
    checks = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if ".venv/bin/" in line]
    given = [line.strip() for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines()]
    assert checks
    assert [check for check in checks if check not in given] == []


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2410.12918"


def numbered(page: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(page.read_text().splitlines(), start=1)
