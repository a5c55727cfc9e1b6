"""tests/beside.py, on a small project of its own: two sessions, one result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

_CHECKOUT = Path(__file__).resolve().parents[2]
_CONFTEST = """
import pytest
from tests import beside

beside._MIN_TESTS = 1


def pytest_configure(config):
    config.addinivalue_line("markers", "root: builds networks")
    config.addinivalue_line("markers", "quiet: needs idle cores")
    config.addinivalue_line("markers", "beside: is at ease")
    config.addinivalue_line("markers", "last: after all others")
    if beside.is_second_session():
        config.pluginmanager.register(beside.SecondSession(config))


def pytest_collection_modifyitems(config, items):
    if not beside.is_second_session() and beside.is_wanted(config, items):
        config.pluginmanager.register(beside.FirstSession(config, items, lambda: None))
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
"""
_UNIT = """
import os, socket, subprocess, sys, pytest
from pathlib import Path
from tests import beside


CONFTEST = (Path(__file__).parents[2] / "conftest.py").read_text()


def test_that_passes():
    assert beside.is_second_session() is SECOND
    assert [name for _, name in socket.if_nameindex()] == ["lo"] or not SECOND


def test_that_starts_a_session(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_one.py").write_text("def test_one(): pass")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    assert subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0


def test_that_fails():
    assert 1 == 2


@pytest.mark.parametrize("number", range(20))
def test_that_says_much(number):
    print("x" * 10_000)


def test_that_is_skipped():
    pytest.skip("no reason")


@pytest.fixture
def broken():
    yield
    raise ValueError("cannot be torn down")


def test_whose_fixture_fails(broken):
    pass
"""
_SYSTEM = """
import os, pytest
from tests import beside


def second_session(request):
    (first,) = (p for p in request.config.pluginmanager.get_plugins() if isinstance(p, beside.FirstSession))
    return first._process


@pytest.mark.root
def test_that_builds_networks(request):
    assert not beside.is_second_session()
    assert second_session(request).poll() is None


@pytest.mark.root
@pytest.mark.last
def test_at_the_end(request):
    assert second_session(request).wait(20) is not None


@pytest.mark.root
@pytest.mark.beside
def test_that_is_at_ease():
    assert beside.is_second_session()


@pytest.mark.root
@pytest.mark.quiet
def test_that_needs_idle_cores(request):
    assert second_session(request) is None
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "conftest.py": "import sys\nsys.path.insert(0, " + repr(str(_CHECKOUT)) + ")\n" + _CONFTEST,
        "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider --import-mode=importlib\n",
        "tests/system/test_b.py": _SYSTEM,
        "tests/unit/test_a.py": _UNIT.replace("SECOND", "True"),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[dict[str, int], str]:
    """(How many passed, failed, ..., what was printed)"""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
    )
    last = done.stdout.strip().splitlines()[-1]
    return {
        word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last.split(" in ")[0])
    }, done.stdout


needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core runs one session")


@needs_two_cores
def test_what_the_second_session_found_is_told_by_the_first(project: Path) -> None:
    counts, output = run(project, "-rs")
    assert counts == {"failed": 1, "passed": 27, "skipped": 1, "error": 1}
    assert "assert 1 == 2" in output
    assert "no reason" in output
    assert "cannot be torn down" in output


@needs_two_cores
def test_what_a_second_session_that_died_has_not_reported_runs_in_the_first(project: Path) -> None:
    file = project / "tests" / "unit" / "test_a.py"
    file.write_text(
        _UNIT.replace("SECOND", "True")
        + "\n\ndef test_that_ends_the_session():\n    if beside.is_second_session(): os._exit(7)\n"
        + "\n\ndef test_after_it():\n    assert not beside.is_second_session()\n"
    )
    counts, output = run(project)
    assert counts == {"failed": 1, "passed": 29, "skipped": 1, "error": 1}
    assert "the session beside ended with 7" in output


@pytest.mark.parametrize("option", ["-x", "-s"])
def test_one_session_is_enough_for_who_looks_at_single_tests(project: Path, option: str) -> None:
    file = project / "tests" / "unit" / "test_a.py"
    file.write_text(
        _UNIT.replace("SECOND", "False").replace("assert 1 == 2", "pass").split("@pytest.fixture")[0]
    )
    system = project / "tests" / "system" / "test_b.py"
    system.write_text("import pytest\n\n\n@pytest.mark.root\ndef test_that_builds_networks(): pass\n")
    counts, _ = run(project, option)
    assert counts == {"passed": 24, "skipped": 1}
