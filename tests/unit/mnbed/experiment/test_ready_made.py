"""Experiments that are called by name: from any folder, and never in place of a file that the user may mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnbed.errors import InputError
from mnbed.experiment.loading import load_experiment
from mnbed.experiment.ready_made import find, ready_made
from mnbed.experiment.sweep import load_sweep
from mnbed.topology_view import view_of

EXPERIMENTS = Path(__file__).parents[4] / "experiments"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_experiment_has_its_path_as_name() -> None:
    files = {path.relative_to(EXPERIMENTS).as_posix() for path in EXPERIMENTS.rglob("*.yaml")}
    assert {f"{name}.yaml" for name in ready_made()} == files
    assert "quickstart" in ready_made()


def test_an_experiment_is_found_from_anywhere() -> None:
    assert load_experiment("quickstart").name == "quickstart"
    assert load_experiment("cifar-stragglers").name == load_experiment("cifar_stragglers").name
    assert load_experiment("reproduction/cifar-small", ["seed=7"]).seed == 7


def test_a_sweep_is_found_with_its_base() -> None:
    sweep = load_sweep(Path("reproduction/cifar_small_sweep"))
    assert sweep.base.is_file()


def test_a_network_is_shown_by_the_experiments_name() -> None:
    assert view_of("quickstart", ["network.topology.nodes=3"]).graph.number_of_nodes() == 4


def test_a_file_comes_before_the_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart").write_text("name: my-own\n")
    assert load_experiment("quickstart").name == "my-own"


def test_a_folder_does_not_hide_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    assert load_experiment("quickstart").name == "quickstart"


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "quickstart").symlink_to("gone")
    with pytest.raises(InputError, match="no such file"):
        load_experiment("quickstart")


@pytest.mark.parametrize(
    "path", ["quickstart.yaml", "./none", "../quickstart", "/quickstart", "x" * 5000, "", "\0"]
)
def test_what_is_no_name_stays_a_path(path: str) -> None:
    assert find(Path(path)) == Path(path)


@pytest.mark.parametrize("name", ["quickstat", "quickstart.yml", "reproduction/cifar-smal"])
def test_a_misspelt_name_has_a_remedy(name: str) -> None:
    with pytest.raises(InputError, match="no such file") as error:
        load_experiment(name)
    assert "come with mnbed: " in str(error.value.remedy)
    assert name.partition(".")[0].replace("-", "_")[:8] in str(error.value.remedy)
