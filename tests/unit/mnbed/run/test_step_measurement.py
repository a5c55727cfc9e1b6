"""Measured steps: really timed in a process of their own, remembered by machine and model, never an obstacle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mnbed.errors import InputError, MachineError
from mnbed.experiment.sections import Experiment, parse
from mnbed.plan.step_cost import StepCost, StepMoment
from mnbed.run import step_measurement
from mnbed.run.step_measurement import Measured, needs_step, step_cost
from mnbed.run.user import User
from node_agent.measure import CoreTimes, moment
from node_agent.privileges import drop_for_good

GOOD = StepMoment(spread=0.03, others_busy=0.01, stolen=0.0, load_average=0.2)
ME = User(uid=os.getuid(), gid=os.getgid(), groups=[], home=Path("/nonexistent"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MNBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "steps"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """The experiments that were measured; each time the step takes a millisecond more."""
    calls: list[Experiment] = []

    def measure(experiment: Experiment, _: User) -> StepCost:
        calls.append(experiment)
        return StepCost(wall_s=1e-3 * len(calls), cpu_s=1e-3, busy_cpu_s=2e-3, num_parameters=10, moment=GOOD)

    monkeypatch.setattr(step_measurement, "_measure", measure)
    return calls


def digits(**task: Any) -> Experiment:
    return parse({"task": {"name": "digits", "model": "mlp", **task}})


def test_a_step_is_timed_and_remembered(cache: Path) -> None:
    printed: list[str] = []
    first = step_cost(digits(), ME, say=printed.append)
    assert not first.remembered
    assert "measured now" in first.text()
    # 8x8 pixels, 64 hidden units, 10 classes.
    assert first.step.num_parameters == 64 * 64 + 64 + 640 + 10
    assert 1e-6 < first.step.cpu_s <= first.step.demand_s < 1
    assert first.step.wall_s >= first.step.cpu_s * 0.9
    assert len(printed) == 1
    (path,) = cache.iterdir()
    assert path.suffix == ".json"
    moment = json.loads(path.read_text())["step"]["moment"]
    assert moment == asdict(first.step.moment)  # type: ignore[arg-type]
    assert moment["spread"] >= 0
    assert 0 <= moment["others_busy"] <= 1
    assert 0 <= moment["stolen"] <= 1
    assert moment["load_average"] >= 0


@pytest.mark.usefixtures("cache")
def test_a_cost_measured_on_a_quiet_machine_is_remembered(measured: list[Experiment]) -> None:
    printed: list[str] = []
    first = step_cost(digits(), ME, say=printed.append)
    again = step_cost(digits(), ME, say=printed.append)
    assert (again.step, again.remembered, len(measured)) == (first.step, True, 1)
    assert f"remembered from {first.at:%Y-%m-%d}" in again.text()
    assert "machine was busy" not in again.text()
    assert len(printed) == 1


BAD = {
    "other processes kept 45% of the cores busy": StepMoment(spread=0.1, others_busy=0.45, stolen=0.0),
    "the hypervisor took 7% of the cores' time": StepMoment(spread=0.1, others_busy=0.0, stolen=0.07),
    "repetitions differed by 60%": StepMoment(spread=0.6),
}


@pytest.mark.parametrize("words", BAD)
def test_a_cost_measured_on_a_busy_machine_is_marked_and_measured_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def timed(busy_ms: float, moment: StepMoment, later: timedelta = timedelta(minutes=6)) -> Measured:
        for path in cache.glob("*.json"):
            content = json.loads(path.read_text())
            for when in ("at", "tried"):
                if content[when] is not None:
                    content[when] = (datetime.fromisoformat(content[when]) - later).isoformat()
            path.write_text(json.dumps(content))
        step = StepCost(wall_s=2e-3, cpu_s=1e-3, busy_cpu_s=busy_ms / 1e3, num_parameters=10, moment=moment)
        monkeypatch.setattr(step_measurement, "_measure", lambda *_: step)
        printed.clear()
        return step_cost(digits(), ME, say=printed.append)

    printed: list[str] = []
    first = timed(5, BAD[words])
    assert f"timed while the machine was busy: {words}" in first.text()
    assert "once more" not in printed[0]
    # Not immediately: the machine is likely to stay busy for a while.
    soon = timed(3, GOOD, later=timedelta(minutes=1))
    assert (soon.remembered, soon.complaint, printed) == (True, words, [])
    # On a busy machine, a new cost replaces the known one only if it is lower.
    assert timed(6, BAD[words]).step.busy_cpu_s == 5e-3
    assert words in printed[0]
    # After a failed attempt, the next one has to wait.
    assert timed(3, GOOD, later=timedelta(minutes=1)).step.busy_cpu_s == 5e-3
    assert timed(4, BAD[words]).step.busy_cpu_s == 4e-3
    assert len(printed) == 1
    # At a good moment what comes out counts, and is remembered.
    assert timed(4.5, GOOD).text().endswith("(measured now)")
    kept = timed(1, GOOD)
    assert (kept.step.busy_cpu_s, kept.remembered, printed) == (4.5e-3, True, [])
    assert len(list(cache.iterdir())) == 1


def test_a_machine_that_others_keep_busy_is_noticed() -> None:
    """A neighbour that takes a core whole, on as many cores as this process may use."""
    cores = len(os.sched_getaffinity(0))
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        before = CoreTimes.now()
        # For as long as the kernel takes to count some of their ticks.
        while (
            (after := CoreTimes.now()) is None or before is None or after.all_s < before.all_s + 0.5 * cores
        ):
            os.sched_yield()
    finally:
        for process in others:
            process.kill()
            process.wait()
    found = moment(before, after, [1.0, 1.1])
    assert found["others_busy"] is not None
    # This process takes its share, never more than a core's; on a single core the two halve it.
    assert found["others_busy"] > 0.2
    assert found["spread"] == pytest.approx(0.1)


def test_figures_that_the_kernel_does_not_provide_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("intr 5\n")
    assert CoreTimes.now(tmp_path / "nothing") is None
    assert CoreTimes.now(tmp_path / "stat") is None
    assert moment(None, CoreTimes.now(), [1.0]) == {"spread": 0.0, "others_busy": None, "stolen": None}


def test_what_changes_the_cost_is_measured_apart(cache: Path, measured: list[Experiment]) -> None:
    for experiment in (digits(), digits(batch_size=16), digits(model="gn_lenet"), digits()):
        step_cost(experiment, ME)
    assert len(measured) == 3
    step_cost(digits(lr=0.5, local_steps=3, test_fraction=0.5), ME)
    assert len(measured) == 3
    assert len(list(cache.iterdir())) == 3


def test_another_machine_is_measured_apart(
    cache: Path, measured: list[Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    step_cost(digits(), ME)
    monkeypatch.setattr(step_measurement, "processor_name", lambda: "another")
    step_cost(digits(), ME)
    assert len(measured) == len(list(cache.iterdir())) == 2


def test_again_means_again(cache: Path, measured: list[Experiment]) -> None:
    step_cost(digits(), ME)
    assert step_cost(digits(), ME, again=True).step.wall_s == 2e-3
    assert step_cost(digits(), ME).step.wall_s == 2e-3
    assert len(measured) == 2
    assert cache.is_dir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
        lambda text: text.replace('"wall_s": 0.001', '"wall_s": -1'),
        lambda text: text.replace('"wall_s": 0.001', '"wall_s": NaN'),
        lambda text: text.replace('"wall_s": 0.001', '"wall_s": "fast"'),
        lambda text: text.replace('"spread": 0.03', '"spread": "wide"'),
        lambda text: text.replace('"moment"', '"minute"'),
        lambda text: text.replace('"model": "mlp"', '"model": "other"'),
        lambda text: text.replace('"at": "2', '"at": "x'),
    ],
)
def test_if_the_cache_is_damaged_steps_are_measured_again(
    cache: Path, measured: list[Experiment], damage: Any
) -> None:
    step_cost(digits(), ME)
    (path,) = cache.iterdir()
    path.write_text(damage(path.read_text()))
    assert not step_cost(digits(), ME).remembered
    assert len(measured) == 2
    assert json.loads(path.read_text())["step"]["wall_s"] == 2e-3


def test_a_cache_that_cannot_be_written_is_not_an_error(
    tmp_path: Path, measured: list[Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MNBED_CACHE", str(tmp_path / "file"))
    assert not step_cost(digits(), ME).remembered
    assert not step_cost(digits(), ME).remembered
    assert len(measured) == 2


def in_child_of_user(check: Callable[[], bool]) -> bool:
    """Whether the condition holds in a process that has dropped root, as the planning process has."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            drop_for_good(65534, 65534, [])
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.root
@pytest.mark.usefixtures("measured")
def test_under_sudo_the_memory_belongs_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("/tmp") / f"mnbed-home-{os.getpid()}"
    home.mkdir()
    try:
        os.chown(home, 65534, 65534)
        monkeypatch.delenv("MNBED_CACHE")
        user = User(uid=65534, gid=65534, groups=[], home=home)
        assert in_child_of_user(lambda: not step_cost(digits(), user).remembered)
        assert in_child_of_user(lambda: step_cost(digits(), user).remembered)
        made = list(home.rglob("*"))
        assert len(made) == 4
        assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(65534, 65534)}
    finally:
        import shutil

        shutil.rmtree(home)


def test_a_task_that_cannot_be_trained_is_reported(cache: Path, tmp_path: Path) -> None:
    missing = parse({"task": {"name": "image_folder", "path": str(tmp_path / "nothing")}})
    with pytest.raises(MachineError, match=r"timing a local step failed: task\.path: .*does not exist"):
        step_cost(missing, ME)
    assert not cache.exists()


def test_without_torch_the_remedy_is_given(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    # agent_environment puts PYTHONPATH behind the source's own folder, and before what is installed.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MachineError, match="no torch here") as error:
        step_cost(digits(), ME)
    assert "install.sh" in str(error.value)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("sections", "needed"),
    [
        ({"time": {"dilation": "auto"}}, True),
        ({"time": {"dilation": 2}}, False),
        ({"time": {"dilation": 2}, "compute": {"step_time": "measured"}}, True),
        ({"time": {"dilation": 2}, "compute": {"step_time": ["1ms", "2ms"]}}, False),
    ],
)
def test_only_plans_that_depend_on_a_step_need_it(sections: dict[str, Any], needed: bool) -> None:
    assert needs_step(parse(sections)) is needed


def test_a_model_that_does_not_fit_its_images_is_the_users_mistake(cache: Path, tmp_path: Path) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "images" / label / f"{number}.png")
    experiment = parse(
        {
            "data_root": str(tmp_path / "data"),
            "task": {"name": "image_folder", "path": str(tmp_path / "images"), "model": "gn_lenet"},
        }
    )
    with pytest.raises(InputError, match="4x4 pixels are too few: use mlp"):
        step_cost(experiment, ME)
    assert not cache.exists()
