"""The import checker itself: it sees every kind of import, and reports the wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.import_rules import circles, import_graph, unassigned, unused_permissions, wrong_imports

PARTS = {
    "house.upper": frozenset({"house.lower", "house.units"}),
    "house.lower": frozenset({"house.units"}),
    "house.units": frozenset[str](),
}


def write(root: Path, name: str, text: str = "") -> None:
    path = root / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package in order, with every permission in use."""
    write(tmp_path, "house/upper/__init__")
    write(tmp_path, "house/upper/window", "from house.lower.door import open\nimport house.units\n")
    write(tmp_path, "house/lower/__init__")
    write(tmp_path, "house/lower/door", "from house import units\nimport os\n")
    write(tmp_path, "house/lower/cellar/wine", "from house.lower import door\n")
    write(tmp_path, "house/units")
    return tmp_path


def test_a_house_in_order_has_nothing_wrong(house: Path) -> None:
    graph = import_graph(house, ("house",))
    assert graph["house.upper.window"] == {"house.lower.door", "house.units"}
    assert wrong_imports(graph, PARTS) == []
    assert unused_permissions(graph, PARTS) == []
    assert circles(graph) == []
    assert unassigned(graph, PARTS) == []


@pytest.mark.parametrize(
    "text",
    [
        "import house.upper.window",
        "from house.upper import window",
        "from house.upper.window import glass",
        "from house import upper",
        "from house.upper import *",
        "def late():\n    from house.upper.window import glass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.upper.window import glass",
        "try:\n    import os\nexcept ImportError:\n    import house.upper.window",
    ],
)
@pytest.mark.parametrize("place", ["house/lower/door", "house/lower/cellar/wine", "house/units"])
def test_an_import_against_the_table_is_reported(house: Path, place: str, text: str) -> None:
    write(house, place, text)
    (wrong,) = wrong_imports(import_graph(house, ("house",)), PARTS)
    assert wrong.startswith(f"{place.replace('/', '.')} imports house.upper")


@pytest.mark.parametrize(
    "text",
    [
        "from house.lower.cellar import wine",
        "def late():\n    import house.lower.cellar.wine",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.lower.cellar.wine import Red",
    ],
)
def test_a_circle_inside_a_part_is_reported(house: Path, text: str) -> None:
    write(house, "house/lower/door", text)
    graph = import_graph(house, ("house",))
    assert circles(graph) == [["house.lower.cellar.wine", "house.lower.door"]]
    assert wrong_imports(graph, PARTS) == []


def test_a_module_in_no_part_is_reported(house: Path) -> None:
    write(house, "house/shed")
    assert unassigned(import_graph(house, ("house",)), PARTS) == ["house.shed"]


def test_a_permission_that_nobody_uses_is_reported(house: Path) -> None:
    write(house, "house/lower/door", "import os")
    assert unused_permissions(import_graph(house, ("house",)), PARTS) == [
        "house.lower may import house.units, and does not"
    ]


def test_a_relative_import_is_refused(house: Path) -> None:
    write(house, "house/lower/door", "from . import cellar")
    with pytest.raises(ValueError, match="relative"):
        import_graph(house, ("house",))
