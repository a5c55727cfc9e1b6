"""Hostile files and values: refused with one short message and exit status 2, quickly and in little memory.

Every way in is tried: experiments, sweeps, topologies of every format, edges, traces, --set, and the names of runs.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnbed.errors import InputError, MachineError
from mnbed.experiment.loading import load_experiment
from mnbed.experiment.sweep import load_sweep
from mnbed.experiment.topology_files import read_edges
from mnbed.experiment.trace_files import TraceError, read_csv, read_mahimahi
from mnbed.machine import MachineFacts
from mnbed.plan.make import make_plan
from tests.machines import ROOMY
from topologies import files

# Refusing takes half a second, most of it for imports.
_LIMIT_S = 10
_MEMORY_BYTES = 1 << 30
_MAX_MESSAGE = 4000

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS: dict[str, str | bytes] = {
    "aliases": BOMB,
    "aliases as a value": f"{BOMB}time: {{duration: *i}}\n",
    "aliases as a name": f"{BOMB}name: *i\n",
    "merged aliases": MERGES,
    "an alias in itself": "time: &t [*t]\n",
    "deep lists": "a: " + "[" * 20_000,
    "deep closed lists": "a: " + "[" * 200 + "]" * 200,
    "deep mappings": "".join(f"{' ' * depth}a:\n" for depth in range(400)),
    "a large hexadecimal number": "seed: 0x" + "f" * 200_000,
    "a large number": "seed: " + "9" * 200_000,
    "a sexagesimal number": "seed: 1" + ":59" * 200_000,
    "an infinite number": "compute: {slow_nodes: {count: 1, factor: .inf}}",
    "not a number": "algorithm: {fragment_fraction: .nan}",
    "not a number of seconds": "time: {duration: nans}",
    "too many seconds": "time: {duration: 1e308h}",
    "a number too large for a float": "compute: {slow_nodes: {count: 1, factor: 1" + "0" * 90 + "e999}}",
    "a long burst": f"network: {{link: {{burst_loss: {'0.1/' * 50_000}1}}}}",
    "a long key of a burst": f"network: {{link: {{burst_loss: {{{'k' * 50_000}: 1}}}}}}",
    "a probability that is none": "network: {link: {burst_loss: {p: " + "9" * 90 + ", r: 1}}}",
    "a loss that is no share": "network: {events: [{link: [h1, s1], points: [[0s, 1mbit, null, 9e90]]}]}",
    "a key twice": "seed: 1\nseed: 2\n",
    "a date": "name: 2026-01-01\n",
    "a set": "network: !!set {a, b}\n",
    "binary": "name: !!binary aGVsbG8=\n",
    "a python object": "name: !!python/object/apply:os.system [true]\n",
    "latin-1": "name: caf\xe9\n".encode("latin-1"),
    "utf-16": "name: x\n".encode("utf-16"),
    "NUL": "name: a\0b\n",
    "an escaped NUL": 'name: "a\\0b"\n',
    "an escaped newline": 'name: "a\\nb"\n',
    "half of a pair": 'name: "\\ud800"\n',
    "a path": "name: ../../etc\n",
    "a parent": "name: ..\n",
    "a long name": f"name: {'n' * 1000}\n",
    "a long key": f"{'k' * 100_000}: 1\n",
    "a long list": f"evaluate: {{targets: [{'x, ' * 20_000}]}}\n",
    "a document of nothing": "",
    "only a byte order mark": b"\xef\xbb\xbf",
    "a list": "[1, 2]",
    "gigabytes of nodes": "network: {topology: {kind: star, nodes: 99999999999}}",
    "a negative number of nodes": "network: {topology: {kind: star, nodes: -1}}",
    "a true number of nodes": "network: {topology: {kind: star, nodes: true}}",
}


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`mnbed` as a user runs it, in little memory; asserts one short message, exit status 2, and little time."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mnbed.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limited,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    took = time.monotonic() - began
    assert done.returncode == 2, (arguments, done.stdout[-500:], done.stderr[-2000:])
    assert "mnbed: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert len(done.stderr) < _MAX_MESSAGE, done.stderr[:_MAX_MESSAGE]
    assert took < _LIMIT_S, f"{took:.1f} s"
    return done


def refused(load: Callable[[], object]) -> None:
    """The same of a loader in this process."""
    began = time.monotonic()
    with pytest.raises((InputError, ValueError)) as error:
        load()
    assert len(str(error.value)) < _MAX_MESSAGE
    assert time.monotonic() - began < _LIMIT_S


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    return path


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_experiment(text: str | bytes, tmp_path: Path) -> None:
    path = written(tmp_path, "x.yaml", text)
    refused(lambda: make_plan(load_experiment(path), MachineFacts()))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_sweep_and_no_topology(text: str | bytes, tmp_path: Path) -> None:
    path = written(tmp_path, "x.yaml", text)
    refused(lambda: load_sweep(path))
    refused(lambda: files.load(path))


@pytest.mark.parametrize("verb", [["plan"], ["sweep"], ["topo", "show"], ["run"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["aliases as a value", "merged aliases"])
def test_a_small_bomb_of_yaml_costs_nothing(verb: list[str], kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, "x.yaml", TEXTS[kind])
    cli(*verb, str(path))


def test_a_long_document_may_have_aliases() -> None:
    from topologies import plain_yaml

    text = "common: &c {a: 1, b: [2, 3]}\nlong: [" + "1, " * 120_000 + "*c, *c]\n"
    assert plain_yaml.load(text)["long"][-1] == {"a": 1, "b": [2, 3]}


@pytest.mark.parametrize(
    "value", ["[" * 3000, "0x" + "f" * 5000, "2026-01-01", "!!set {a}", "&a [*a]", "\0x"]
)
def test_no_value_of_set(value: str, tmp_path: Path) -> None:
    path = written(tmp_path, "x.yaml", "name: x\n")
    for key in (
        "seed",
        "name",
        "network.topology.nodes",
        "evaluate.targets",
        "network.link.bandwidth",
        "task",
    ):
        refused(lambda key=key: load_experiment(path, [f"{key}={value}"]))  # type: ignore[misc]


_JSON = '{"nodes": [{"id": "h1"}, {"id": "s1"}], "links": [{"source": "h1", "target": "s1", "bandwidth_bps": %s}]}'
_XML = '<experiment><services><service name="a" replicas="%s"/></services></experiment>'
GRAPHS = {
    "NaN.json": _JSON % "NaN",
    "too large for a float.json": _JSON % ("9" * 400),
    "too large for text.json": _JSON % ("9" * 5000),
    "deep.json": '{"nodes":' + "[" * 100_000,
    "deep.gml": "graph [ " + "a [ " * 50_000,
    "deep.graphml": '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">' + "<graph>" * 100_000,
    "deep.xml": "<experiment>" + "<a>" * 100_000 + "</a>" * 100_000 + "</experiment>",
    "entities.xml": f'<!DOCTYPE l [<!ENTITY a "{"a" * 99}"><!ENTITY b "{"&a;" * 99}">]><experiment>&b;</experiment>',
    "no digit.xml": _XML % "\u00b2",
    "many.xml": _XML % ("9" * 5000),
    "one line.edges": "h1 " * 200_000,
    "long name.yaml": f"hosts: [{'h' * 100_000}]\nswitches: [s1]\nlinks: [[{'h' * 100_000}, s1]]\n",
    "wrong in 60,000 ways.graphml": '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    '<graph edgedefault="undirected">'
    + "".join(f'<node id="h{number}"/>' for number in range(60_000))
    + "</graph></graphml>",
}


@pytest.mark.parametrize("name", GRAPHS)
def test_no_topology(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, GRAPHS[name])
    refused(lambda: files.load(path))


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_no_run_directory(verb: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "nodes").mkdir(parents=True)
        written(tmp_path / name, "experiment.yaml", TEXTS["aliases as a value"])
    cli(verb, *(str(tmp_path / name) for name in ("one", "two")[: 2 if verb == "compare" else 1]))


# --- things that are no files ---


def readers(path: Path) -> dict[str, Callable[[], object]]:
    return {
        "experiment": lambda: load_experiment(path),
        "sweep": lambda: load_sweep(path),
        "topology": lambda: files.load(path),
        "edges": lambda: read_edges(path),
        "trace": lambda: list(read_csv(path, links_given=True)),
        "mahimahi": lambda: read_mahimahi(path, 0.5),
    }


@pytest.mark.parametrize("reader", readers(Path()))
@pytest.mark.parametrize(
    "kind", ["directory", "pipe", "zeros", "device", "socket", "dangling", "loop", "huge"]
)
def test_nothing_waits_for_special_files_or_reads_them_forever(
    kind: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.yaml"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "device":
        path.symlink_to("/dev/tty")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(tmp_path)  # a socket's path must be short
            listener.bind("x.yaml")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to("x.yaml")
    else:
        with path.open("wb") as file:
            file.truncate(8 << 30)  # a hole: it takes no room
    refused(readers(path)[reader])


@pytest.mark.parametrize(
    "verb", [["plan"], ["sweep"], ["topo", "show"], ["export", "--to", "kollaps"]], ids=" ".join
)
def test_no_command_waits_for_a_pipe(verb: list[str], tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    os.mkfifo(path)
    cli(*verb, str(path))
    cli(*verb, "/dev/zero")


# --- names, which become directories ---

_NAMES = [
    "..",
    ".",
    " ",
    "...",
    ". .",
    "a/b",
    "../a",
    "/etc",
    "a\\b",
    "a\nb",
    "\x1b[2J",
    "",
    "n" * 200,
    "ä" * 60,
]


@pytest.mark.parametrize("name", _NAMES)
def test_names_of_runs_and_sweeps_are_names(name: str, tmp_path: Path) -> None:
    written(tmp_path, "base.yaml", "name: x\n")
    sweep = yaml.safe_dump({"name": name, "base": "base.yaml"}, allow_unicode=False)
    refused(lambda: load_sweep(written(tmp_path, "sweep.yaml", sweep)))
    refused(lambda: load_experiment(written(tmp_path, "x.yaml", yaml.safe_dump({"name": name}))))


def test_a_sweep_called_parent_changes_nothing_above_its_directory(tmp_path: Path) -> None:
    written(tmp_path, "base.yaml", "name: x\n")
    sweep = written(tmp_path, "sweep.yaml", "name: ..\nbase: base.yaml\n")
    out = tmp_path / "above" / "runs"
    out.mkdir(parents=True)
    before = out.parent.stat()
    done = cli("sweep", str(sweep), "--out", str(out))
    assert "name: got '..'; it must contain a letter or a digit" in done.stderr
    after = out.parent.stat()
    assert (after.st_uid, after.st_mtime_ns) == (before.st_uid, before.st_mtime_ns)
    assert list(out.iterdir()) == []


def test_ordinary_names_stay(tmp_path: Path) -> None:
    for name in ("cifar-stragglers", "my run 2", "v1.2", "größe", ".hidden", "a..b"):
        path = written(tmp_path, "x.yaml", yaml.safe_dump({"name": name}))
        assert load_experiment(path).name == name


# --- made up by the thousand ---

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**60, max_value=10**90),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["auto", "1s", "-1s", "1e999s", "nan", "inf", "60mbit", "h1", "s1", "..", "0x1", "1:30", "2bdp"]
    ),
)
_values = st.recursive(
    _scalars,
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(st.text(max_size=8) | st.sampled_from(["kind"]), below, max_size=4),
    ),
    max_leaves=10,
)
_quiet = settings(
    max_examples=100,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _keys() -> list[str]:
    """Every key of the default experiment, dotted."""
    from mnbed.experiment.sections import Experiment, resolved

    found: list[str] = []

    def walk(value: object, path: tuple[str, ...]) -> None:
        if path:
            found.append(".".join(path))
        if isinstance(value, dict):
            for key, below in value.items():
                walk(below, (*path, key))

    walk(resolved(Experiment()), ())
    return found


def loads_or_says_why(load: Callable[[], object]) -> None:
    """Nothing but an answer for the user comes out, and it has words, not too many."""
    answer: Exception | None = None
    try:
        load()
    except (InputError, MachineError, ValueError) as error:
        answer = error
    assert type(answer) in (type(None), InputError, MachineError, ValueError, TraceError), repr(answer)
    assert 0 < len(str(answer)) < 4 * _MAX_MESSAGE


@given(data=st.dictionaries(st.sampled_from(_keys()), _values, min_size=1, max_size=4))
@_quiet
def test_any_values_of_any_keys(data: dict[str, Any], tmp_path: Path) -> None:
    path = written(
        tmp_path, "x.yaml", "network: {topology: {kind: star, nodes: 4}}\nalgorithm: {name: local}\n"
    )
    overrides = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6)}" for key, value in data.items()
    ]
    overrides = [text.removesuffix("\n").removesuffix("\n...") for text in overrides]
    loads_or_says_why(lambda: make_plan(load_experiment(path, overrides, note=lambda _: None), ROOMY))


@given(
    data=st.dictionaries(
        st.sampled_from(["name", "network", "time", "task", "x", "algorithm"]), _values, max_size=4
    )
)
@_quiet
def test_any_mapping_as_an_experiment(data: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, "x.yaml", yaml.safe_dump(data))
    loads_or_says_why(lambda: make_plan(load_experiment(path, note=lambda _: None), ROOMY))


@given(
    data=st.dictionaries(
        st.sampled_from(["name", "base", "set", "grid", "seeds", "baseline"]), _values, max_size=6
    )
)
@_quiet
def test_any_mapping_as_a_sweep(data: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path, "base.yaml", "name: x\n")
    path = written(tmp_path, "sweep.yaml", yaml.safe_dump({"base": "base.yaml", **data}))
    loads_or_says_why(lambda: load_sweep(path))


_yaml_bits = st.lists(
    st.sampled_from(
        [*"[]{}:,-?|>&*!%@#'\"\n\t ", "&a ", "*a", "<<: ", "a: ", "- ", "---\n", "!!set ", "name: x\n", "1:2"]
    )
    | st.text(max_size=5),
    max_size=40,
).map("".join)


@given(text=_yaml_bits)
@_quiet
def test_any_text_as_yaml(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, "x.yaml", text)
    loads_or_says_why(lambda: load_experiment(path))
    loads_or_says_why(lambda: load_sweep(path))
    loads_or_says_why(lambda: load_experiment(path, [f"seed={text}"]))


_SEEDS = {
    ".graphml": '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="k" for="edge" attr.name="bandwidth"'
    ' attr.type="string"/><graph edgedefault="undirected"><node id="h1"/><node id="s1"/><edge source="h1" target="s1">'
    '<data key="k">1mbit</data></edge></graph></graphml>',
    ".gml": 'graph [ node [ id 0 label "h1" ] node [ id 1 label "s1" ] edge [ source 0 target 1 bandwidth "1mbit" ] ]',
    ".edges": "h1 s1 bandwidth=1mbit\ns1 h2 delay=2ms\n",
    ".json": '{"nodes": [{"id": "h1"}, {"id": "s1"}], "links": [{"source": "h1", "target": "s1", "delay": "1ms"}]}',
    ".yaml": "hosts: [h1, h2]\nswitches: [s1]\nlinks: [{link: [h1, s1], bandwidth: 1mbit}, [h2, s1]]\n",
    ".xml": '<experiment><services><service name="a" replicas="2"/></services><bridges><bridge name="s"/></bridges>'
    '<links><link origin="a" dest="s" latency="1" upload="1Mbps" download="1Mbps"/></links></experiment>',
}
_edits = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=400),
        st.integers(min_value=0, max_value=12),
        st.text(max_size=4)
        | st.sampled_from(
            ["nan", "-1", "1e999", "999999999", "[", "{", '"', "<", ">", "&", "h1", "\n", "0x", "null", "[]"]
        ),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("ending", _SEEDS)
@given(edits=_edits)
@_quiet
def test_any_change_of_a_topology(ending: str, edits: list[tuple[int, int, str]], tmp_path: Path) -> None:
    text = _SEEDS[ending]
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    path = written(tmp_path, f"x{ending}", text)
    loads_or_says_why(lambda: files.load(path))


@given(edits=_edits)
@_quiet
def test_any_change_of_a_trace(edits: list[tuple[int, int, str]], tmp_path: Path) -> None:
    for text, read in (
        (
            "time,bandwidth,delay\n0,1mbit,2ms\n1.5,,3ms\n",
            lambda path: list(read_csv(path, links_given=True)),
        ),
        ("1\n5\n9\n500\n", lambda path: read_mahimahi(path, 0.5)),
        ("h1 h2\nh2 h3\n", read_edges),
    ):
        for at, length, new in edits:
            text = text[: at % 60] + new + text[at % 60 + length :]
        path = written(tmp_path, "trace.csv", text)
        loads_or_says_why(lambda path=path, read=read: read(path))  # type: ignore[misc]
