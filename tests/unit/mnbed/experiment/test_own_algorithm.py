"""Algorithms from a user's own file: found relative to the experiment, checked like any other, with clear messages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from mnbed.errors import InputError
from mnbed.experiment.foreign import plain, planned_sends
from mnbed.experiment.loading import dump_experiment, load_experiment
from mnbed.experiment.sections import Experiment, parse, resolved
from mnbed.plan.budget import budget
from mnbed.plan.make import make_plan
from mnbed.plan.step_cost import StepCost
from node_agent.algorithms import _import_file
from tests.machines import SMALL

DOCS = Path(__file__).parents[4] / "docs" / "adding-an-algorithm.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[0]
STEP = StepCost(wall_s=5e-3, cpu_s=5e-3)


def experiment(folder: Path, source: str, settings: str = "name: push-one, every: 2") -> Path:
    (folder / "mine.py").write_text(source)
    (folder / "x.yaml").write_text(f"algorithm: {{{settings}, module: mine.py}}\n")
    return folder / "x.yaml"


def test_the_documented_example_runs_from_a_file(tmp_path: Path) -> None:
    found = load_experiment(experiment(tmp_path, EXAMPLE))
    assert found.algorithm.module == str(tmp_path / "mine.py")
    assert found.algorithm.every == 2  # type: ignore[attr-defined]
    assert len(make_plan(found, SMALL).hosts) == 8
    (tmp_path / "again.yaml").write_text(dump_experiment(found))
    assert load_experiment(tmp_path / "again.yaml").algorithm == found.algorithm


@pytest.mark.parametrize(
    ("source", "settings", "words"),
    [
        (EXAMPLE, "name: push-one, evry: 2", "evry: no such key; did you mean every?"),
        (EXAMPLE, "name: push-one, every: 0", "every must be at least 1"),
        (
            "import nonsense_of_mine\n",
            "name: a",
            "mine.py:1: ModuleNotFoundError: No module named 'nonsense_of_mine'",
        ),
        ("x = 1\ny = x / 0\n", "name: a", "mine.py:2: ZeroDivisionError"),
        ("def f(:\n", "name: a", "SyntaxError"),
        ("x = 1\n", "name: a", "must hold exactly one Algorithm subclass, not 0"),
        (EXAMPLE, "every: 1", "an algorithm of your own needs a name"),
    ],
)
def test_problems_name_their_key(tmp_path: Path, source: str, settings: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(experiment(tmp_path, source, settings))
    assert words in str(error.value)


def test_a_missing_file_of_an_algorithm_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("algorithm: {name: a, module: none.py}\n")
    with pytest.raises(InputError, match=r"algorithm\.module: got none\.py; no such Python file"):
        load_experiment(tmp_path / "x.yaml")


def test_chosen_by_set_it_drops_the_keys_of_the_files_algorithm(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE)
    (tmp_path / "x.yaml").write_text("algorithm: {name: divshare, degree: 3, stale: keep}\n")
    notes: list[str] = []
    overrides = ["algorithm.name=push-one", f"algorithm.module={tmp_path / 'mine.py'}", "algorithm.every=3"]
    found = load_experiment(tmp_path / "x.yaml", overrides, notes.append)
    assert (found.algorithm.name, found.algorithm.stale) == ("push-one", "keep")
    assert found.algorithm.every == 3  # type: ignore[attr-defined]
    assert "dropped algorithm.degree" in notes[0]


def test_root_plans_without_importing_it(tmp_path: Path) -> None:
    """From what who may import it has found out: the plan is the same, and no code of the user's has run."""
    found = load_experiment(experiment(tmp_path, EXAMPLE))
    plan = make_plan(found, SMALL, STEP)
    sends = {count: planned_sends(found.algorithm, count) for count in {len(one.peers) for one in plan.hosts}}
    expected = budget(plan, 2, STEP)
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')\n")
    _import_file.cache_clear()
    plain_data = json.loads(json.dumps(resolved(found)))
    unseen = parse(plain_data, sends)
    assert plain(unseen.algorithm) == plain(found.algorithm)
    assert (unseen.algorithm.name, unseen.algorithm.stale) == ("push-one", "drop")
    blind = make_plan(unseen, SMALL, STEP)
    assert replace(blind, experiment=found) == plan
    assert budget(blind, 2, STEP) == expected
    assert dump_experiment(unseen) == dump_experiment(found)
    # The same if it is stated that nobody can be asked.
    parse(plain_data, {})


@pytest.mark.parametrize("sends", [(float("nan"), 1), (-1.0, 1), (1.0, 0), (1e9, 1)])
def test_its_declared_number_of_messages_must_be_possible(tmp_path: Path, sends: tuple[float, int]) -> None:
    found = resolved(load_experiment(experiment(tmp_path, EXAMPLE)))
    with pytest.raises(ValidationError):
        parse(found, {7: sends})


@pytest.mark.parametrize("name", ["divshare", "AD_PSGD"])
def test_another_name_by_set_never_runs_the_files_own_algorithm_under_it(tmp_path: Path, name: str) -> None:
    notes: list[str] = []
    path = experiment(tmp_path, EXAMPLE)
    found = load_experiment(path, [f"algorithm.name={name}"], notes.append)
    assert found.algorithm.module is None
    assert found.algorithm == load_experiment_of(tmp_path, f"algorithm: {{name: {name}}}\n").algorithm
    assert notes == [f"--set algorithm.name={name}: dropped algorithm.module, algorithm.every"]


def load_experiment_of(folder: Path, text: str) -> Experiment:
    (folder / "plain.yaml").write_text(text)
    return load_experiment(folder / "plain.yaml")


def test_a_misspelt_name_by_set_does_not_rename_the_files_own_algorithm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown algorithm 'divshre'; did you mean divshare\?"):
        load_experiment(experiment(tmp_path, EXAMPLE), ["algorithm.name=divshre"], lambda _: None)


def test_its_own_name_by_set_keeps_the_files_own(tmp_path: Path) -> None:
    found = load_experiment(experiment(tmp_path, EXAMPLE), ["algorithm.name=Push_One"], pytest.fail)
    assert found.algorithm.module is not None


def test_an_own_algorithm_cannot_have_the_name_of_another(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="got DivShare, which comes with mnbed; choose another name for yours"
    ):
        load_experiment(experiment(tmp_path, EXAMPLE, "name: DivShare, every: 2"))
