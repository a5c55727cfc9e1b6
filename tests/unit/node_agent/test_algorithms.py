"""Finding algorithms by name, and what importing them must not import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import node_agent.algorithms as algorithms
from node_agent.algorithms import Algorithm, algorithm_class, algorithm_names, create_algorithm
from tests.fakes import FakeNetwork, make_algorithms, make_context


def test_public_files_are_the_algorithms() -> None:
    names = algorithm_names()
    assert names == sorted(names)
    assert {"divshare", "local"} <= set(names)
    assert not any(name.startswith("_") for name in names)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(KeyError, match=r"unknown algorithm 'divshar'; known: .*divshare.*local"):
        algorithm_class("divshar")


@pytest.mark.parametrize("name", ["_interface", "__init__", "divshare.py", "", "../local"])
def test_only_public_files_are_names(name: str) -> None:
    with pytest.raises(KeyError):
        algorithm_class(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as part of the algorithms package for one test."""
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


SOURCE = """
from node_agent.algorithms.local import Local


class {name}(Local):
    '''A variant.'''
"""


def test_a_new_file_is_found_under_either_spelling(folder: Path) -> None:
    (folder / "tried_out.py").write_text(SOURCE.format(name="TriedOut"))
    assert "tried-out" in algorithm_names()
    assert "tried_out" not in algorithm_names()
    assert algorithm_class("tried-out") is algorithm_class("tried_out") is algorithm_class("Tried-Out")
    # The imported Local does not count as the file's own.
    assert algorithm_class("tried-out").__name__ == "TriedOut"
    assert isinstance(create_algorithm({"name": "tried-out"}, make_context(0, 2, 3)), Algorithm)


def test_the_worked_example_of_the_documentation_works(folder: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "adding-an-algorithm.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 1
    (folder / "push_one.py").write_text(blocks[0])
    network = FakeNetwork(make_algorithms({"name": "push-one"}, 4, 10), num_parameters=10)
    for node in range(4):
        network.start(node, np.full(10, node, np.float32), 1 + 0.1 * node)
    network.run_until(40)
    models = np.array([node.values for node in network.nodes.values()])
    # Gossip without training ends in agreement, somewhere within the range of the first models.
    assert np.ptp(models) < 0.01
    assert 0 < models.mean() < 3


@pytest.mark.parametrize("source", ["", SOURCE.format(name="One") + SOURCE.format(name="Two")])
def test_a_file_holds_exactly_one_algorithm(folder: Path, source: str) -> None:
    (folder / f"tried_{len(source)}.py").write_text(source)
    with pytest.raises(TypeError, match=r"tried_\d+.py must hold exactly one Algorithm subclass, not [02]"):
        algorithm_class(f"tried_{len(source)}")


def test_create_algorithm_refuses_unknown_settings() -> None:
    with pytest.raises(TypeError, match="degre"):
        create_algorithm({"name": "divshare", "degre": 7}, make_context(0, 9, 100))


def test_listing_and_settings_need_neither_torch_nor_pydantic() -> None:
    program = (
        "import sys, node_agent.algorithms as a\n"
        "[a.algorithm_class(name).Settings for name in a.algorithm_names()]\n"
        "print([m for m in ('torch', 'pydantic', 'mnbed', 'topologies') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
