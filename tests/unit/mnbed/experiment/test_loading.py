"""Files and `--set` as users write them: what they mean, and the messages for wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnbed.errors import InputError
from mnbed.experiment.loading import load_experiment, naming
from mnbed.experiment.sections import Experiment

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text(text)
        return path

    return to_file


def complaint(path: Path, *overrides: str) -> list[str]:
    """The lines of the error, with the file called x.yaml."""
    with pytest.raises(InputError) as error:
        load_experiment(path, overrides)
    assert error.value.exit_status == 2
    return error.value.message.replace(str(path), "x.yaml").splitlines()


def test_a_small_file(write: Write) -> None:
    experiment = load_experiment(write("name: x\ntime: {duration: 30s}\n"))
    assert (experiment.name, experiment.time.duration, experiment.seed) == ("x", 30, 1)


def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nseed: 3\r\n")
    assert load_experiment(path).seed == 3


def test_all_errors_are_reported_together_in_the_files_order(write: Write) -> None:
    path = write(
        "seed: true\n"
        "network:\n"
        "  link: {bandwith: 1mbit, delay: 3}\n"
        "  topology: {kind: star, node: 3}\n"
        "algorithm: {name: divshare, degre: 3}\n"
        "task:\n"
        "  name: digits\n"
        "  lr: fast\n"
        "overlay: {kind: rng}\n"
        "evaluate: {targets: [0.5, 80]}\n"
        "compute: 3\n"
        "agent: {}\n"
    )
    lines = complaint(path)
    expected = [
        ("x.yaml:1: seed: got true", "whole number"),
        ("x.yaml:3: network.link.delay: got 3", "'20ms'"),
        ("x.yaml:3: network.link.bandwith: no such key", "did you mean bandwidth?"),
        ("x.yaml:4: network.topology.node:", "did you mean nodes?"),
        ("x.yaml:5: algorithm.degre: no such key", "did you mean degree?"),
        ("x.yaml:8: task.lr: got fast", "number"),
        ("x.yaml:9: overlay.kind: got rng", "complete, ring, random_regular, small_world"),
        ("x.yaml:10: evaluate.targets[1]: got 80", "at most 5"),
        ("x.yaml:11: compute: got 3", "section"),
        ("x.yaml:12: agent: no such key", "did you mean agents?"),
    ]
    assert len(lines) == len(expected), lines
    for line, (start, words) in zip(lines, expected, strict=True):
        assert line.startswith(start)
        assert words in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: {name: digit}", "x.yaml:1: task.name: unknown task 'digit'; did you mean digits?"),
        ("algorithm: {name: divshar}", "unknown algorithm 'divshar'; did you mean divshare?"),
        ("network: {topology: {kind: strar}}", "unknown generator 'strar'; did you mean star?"),
        (
            "network: {topology: {file: x.graphml}}",
            "x.graphml: cannot be read: No such file",
        ),
        ("network: {topology: [star]}", "{kind: star, nodes: 8}"),
        ("network: {switch: hub}", "network.switch: got hub; allowed: bridge or ovs"),
        ("network: {events: down}", "x.yaml:1: network.events: got down; it must be a list"),
        ("time: {dilation: fast}", "it must be 'auto' or a number such as 4"),
        ("time: {duration: 60}", "time needs a unit"),
        ("network: {link: {loss: 2%}}", "0.01 for 1 %"),
        ("network: {link: {bandwidth: 60 parsecs}}", "unknown unit 'parsecs'"),
        ("overlay: {kind: ring, degree: 3}", "kind ring takes no degree"),
        ("overlay: {kind: random_regular}", "needs a degree"),
        ("algorithm: {fragment_fraction: 4}", "fragment_fraction must be above 0 and at most 1"),
        ("name: 2026-01-01", "x.yaml:1: name: got '2026-01-01', a date; put it in quotes to make it text"),
        ("task: {partition: {kind: kshrad}}", "task.partition.kind: got kshrad; did you mean kshard?"),
        (
            "task: {partition: {kind: kshard, shard: 3}}",
            "task.partition.shard: no such key; did you mean shards?",
        ),
        ("task: {partition: {kind: iid, shards: 3}}", "task.partition.shards: no such key (allowed: kind)"),
        ("task: {partition: {shard: 3}}", "task.partition.kind: missing (allowed: iid, kshard, dirichlet)"),
        ("task: {partition: iid}", "task.partition: got iid; it must be a section such as {kind: iid}"),
        ("network:", "network: got null; it must be a section"),
    ],
)
def test_the_message_for_a_wrong_value(write: Write, text: str, words: str) -> None:
    lines = complaint(write(text))
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "x.yaml: the file is empty"),
        ("# nothing but a comment\n", "x.yaml: the file is empty"),
        ("- a\n- b\n", "x.yaml: an experiment is a mapping (key: value), not a list"),
        ("just words\n", "not a single value ('just words')"),
        ("name: x\nseed: 1\nname: y\n", "x.yaml:3: name is given twice (first on line 1)"),
        (
            "time:\n  duration: 1s\n  duration: 2s\n",
            "x.yaml:3: time.duration is given twice (first on line 2)",
        ),
        ("name: x\n\tseed: 1\n", "x.yaml:2: not valid YAML: a tab is used for indentation"),
        ("name: [x\nseed: 1\n", "not valid YAML"),
        ("name: 'x\n", "not valid YAML"),
        ("1: x\n", "x.yaml:1: key '1' is not text"),
        ("on: x\n", "x.yaml:1: key 'on' is not text; put it in quotes"),
        ("? [a, b]\n: x\n", "key (a list or mapping) is not text"),
        ("name: x\n---\nname: y\n", "a second document begins here"),
        ("name: !!python/object:os.system x\n", "x.yaml:1: name: got 'x', with the tag"),
        ("name: 2026-13-45\n", "x.yaml:1: name: got '2026-13-45', a date"),
        (
            "time: &t {duration: *t}\n",
            "x.yaml:1: duration: an alias (*) inside the section that it refers to",
        ),
    ],
)
def test_files_that_are_not_experiments(write: Write, text: str, words: str) -> None:
    assert words in "\n".join(complaint(write(text)))


def test_anchors_and_merge_keys_work(write: Write) -> None:
    text = "network:\n  link: &l {delay: 2ms}\n  stragglers: {count: 1}\ncompute: {step_time: 5ms}\n"
    assert load_experiment(write(text)).network.link.delay == 0.002
    merged = "time: &t {duration: 8s}\nevaluate: {every: 1s}\nagents: {}\n"
    assert load_experiment(write(merged)).time.duration == 8
    override = "network:\n  link:\n    <<: {delay: 2ms, loss: 0.5}\n    delay: 3ms\n"
    link = load_experiment(write(override)).network.link
    assert (link.delay, link.loss) == (0.003, 0.5)


def test_paths_that_are_not_experiments(tmp_path: Path) -> None:
    (tmp_path / "near.yaml").write_text("name: x\n")
    (tmp_path / "binary").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (tmp_path / "zeros").write_bytes(b"\0" * 10)
    (tmp_path / "big").write_bytes(b"# x\n" * 300_000)
    assert "a directory, not a file" in complaint(tmp_path)[0]
    missing = complaint(tmp_path / "nera.yaml")[0]
    assert "no such file; there are: " in missing
    assert "near.yaml" in missing
    assert "not a text file" in complaint(tmp_path / "binary")[0]
    assert "binary file" in complaint(tmp_path / "zeros")[0]
    assert "this is not an experiment file" in complaint(tmp_path / "big")[0]
    assert "cannot be read" in complaint(tmp_path / "near.yaml" / "below")[0]


# --- --set ---


def test_set_changes_adds_and_parses_yaml(write: Write) -> None:
    experiment = load_experiment(
        write("time: {duration: 30s}\n"),
        [
            "time.duration=5s",
            "evaluate.targets=[0.5, 0.6]",
            "network.link.queue=40",
            "name='7'",
            "data_root=",
        ],
    )
    assert experiment.time.duration == 5
    assert experiment.evaluate.targets == (0.5, 0.6)
    assert experiment.network.link.queue == 40
    assert experiment.name == "7"
    assert experiment.data_root is None


def test_the_last_set_wins(write: Write) -> None:
    assert load_experiment(write("seed: 1\n"), ["seed=2", "seed=3"]).seed == 3


def test_setting_a_generators_parameter_needs_no_kind(write: Write) -> None:
    assert load_experiment(write("name: x\n"), ["network.topology.nodes=5"]).network.topology["nodes"] == 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("time.duration", "--set time.duration: write key.path=value"),
        ("=5", "--set =5: write key.path=value"),
        ("time..duration=5s", "write key.path=value"),
        ("seed=[", "--set seed=[: not a YAML value"),
        ("seed=x", "--set seed=x: seed: got x; it must be a whole number"),
        ("tim.duration=5s", "--set tim.duration=5s: tim: no such key; did you mean time?"),
        ("name.first=x", "--set name.first=x: name is not a section"),
        ("time.duration=5", "--set time.duration=5: time.duration: got 5; time needs a unit"),
        ("task.name=nothing", "--set task.name=nothing: task.name: unknown task"),
        ("overlay.degree=3", "with --set overlay.degree=3: overlay: kind complete takes no degree"),
    ],
)
def test_a_wrong_set_is_named_instead_of_the_file(write: Write, override: str, words: str) -> None:
    lines = complaint(write("name: x\n"), override)
    assert len(lines) == 1
    assert words in lines[0]


CIFAR = "task: {name: cifar10, on_missing: synthetic, batch_size: 4}\n"


@pytest.mark.parametrize("order", [1, -1])
def test_choosing_another_task_drops_the_old_ones_keys_and_says_so(write: Write, order: int) -> None:
    notes: list[str] = []
    overrides = ["task.name=image-folder", "task.path=/images"][::order]
    task = load_experiment(write(CIFAR), overrides, notes.append).task
    assert (task.name, task.path, task.batch_size) == ("image_folder", "/images", 4)  # type: ignore[attr-defined]
    assert notes == ["--set task.name=image-folder: dropped task.on_missing"]


def test_without_a_taker_the_note_goes_to_stderr(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    load_experiment(write(CIFAR), ["task.name=digits"])
    assert capsys.readouterr().err == "note: --set task.name=digits: dropped task.on_missing\n"


def test_keys_that_no_kind_knows_are_still_errors(write: Write) -> None:
    path = write("task: {name: cifar10, bathc_size: 4}\n")
    assert "task.bathc_size: no such key; did you mean batch_size?" in complaint(path, "task.name=digits")[0]


def test_a_foreign_key_given_by_set_itself_is_an_error(write: Write) -> None:
    lines = complaint(write(CIFAR), "task.name=digits", "task.on_missing=synthetic")
    assert lines[0].startswith("--set task.on_missing=synthetic: task.on_missing: no such key")


def test_other_kinds_drop_their_keys_too(write: Write) -> None:
    notes: list[str] = []
    path = write(
        "network: {topology: {kind: tree, depth: 2, fanout: 3}}\n"
        "overlay: {kind: random_regular, degree: 3}\n"
        "algorithm: {name: divshare, degree: 3}\n"
        "task: {partition: {kind: kshard, shards: 3}}\n"
    )
    overrides = [
        "task.partition.kind=iid",
        "network.topology.kind=star",
        "network.topology.nodes=4",
        "overlay.kind=ring",
        "algorithm.name=local",
    ]
    experiment = load_experiment(path, overrides, notes.append)
    assert experiment.network.topology == {"kind": "star", "nodes": 4}
    assert experiment.overlay.degree is None
    assert experiment.algorithm.name == "local"
    assert sorted(notes) == [
        "--set algorithm.name=local: dropped algorithm.degree",
        "--set network.topology.kind=star: dropped network.topology.depth, network.topology.fanout",
        "--set overlay.kind=ring: dropped overlay.degree",
        "--set task.partition.kind=iid: dropped task.partition.shards",
    ]


def test_naming_puts_the_file_before_each_line() -> None:
    with pytest.raises(InputError) as error, naming("x.yaml"):
        raise InputError("a: wrong\nb: wrong", "fix it")
    assert error.value.message == "x.yaml: a: wrong\nx.yaml: b: wrong"
    assert error.value.remedy == "fix it"


def test_an_unchanged_file_gives_the_defaults(write: Write) -> None:
    assert load_experiment(write("name: experiment\n")) == Experiment()


# --- no input brings anything but an experiment or an InputError ---

LEAVES = st.sampled_from(
    [None, True, -1, 0, 3, 1.5, "x", "5ms", "60mbit", "star", "ring", "divshare", "digits", "kshard"]
)
KEYS = st.sampled_from(
    [
        "name",
        "seed",
        "network",
        "topology",
        "kind",
        "nodes",
        "link",
        "delay",
        "stragglers",
        "hosts",
        "overlay",
        "degree",
        "algorithm",
        "task",
        "partition",
        "shards",
        "compute",
        "time",
        "dilation",
        "evaluate",
        "targets",
        "agents",
        "port",
        "x",
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=2) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(KEYS, TREES, max_size=4), key=st.lists(KEYS, min_size=1, max_size=3), value=LEAVES
)
def test_anything_else_is_an_input_error(
    tmp_path: Path, tree: dict[str, Any], key: list[str], value: object
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(tree))
    for overrides in ([], [f"{'.'.join(key)}={'' if value is None else value}"]):
        try:
            load_experiment(path, overrides, note=lambda _: None)
        except InputError as error:
            for line in error.message.splitlines():
                assert line.startswith((f"{path}", "--set "))
                assert len(line) < 500


# --- Files that an experiment names ---

ALGORITHM = """from node_agent.algorithms import Algorithm, AlgorithmSettings

class Mine(Algorithm):
    Settings = AlgorithmSettings
"""
# Key -> (the file, its text, the key's value).
NAMED_FILES = {
    "network.topology": (
        "net.yaml",
        "hosts: [h1, h2]\nswitches: [s1]\nlinks: [{link: [h1, s1]}, {link: [h2, s1]}]\n",
        "{file: %s}",
    ),
    "overlay": ("pairs.txt", "h1 h2\n", "{kind: edges, edges: %s}"),
    "algorithm": ("mine.py", ALGORITHM, "{name: mine, module: %s}"),
    "network.events": ("link.csv", "time,bandwidth\n1,5mbit\n", "[{link: [h1, s1], trace: %s}]"),
}


@pytest.mark.parametrize("place", ["beside the experiment", "home", "working directory"])
@pytest.mark.parametrize("key", NAMED_FILES)
def test_a_named_file_is_found(key: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the experiment; to the user's home after ~; and, if `--set` gives it, to the working directory."""
    name, text, value = NAMED_FILES[key]
    for folder in ("beside the experiment", "home", "working directory"):
        (tmp_path / folder).mkdir()
    (tmp_path / place / name).write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "working directory")
    written = value % (f"~/{name}" if place == "home" else name)
    outer, _, inner = key.partition(".")
    path = tmp_path / "beside the experiment" / "x.yaml"
    if place == "working directory":
        path.write_text("name: x\n")
        load_experiment(path, [f"{key}={written}"])
    else:
        path.write_text(f"{outer}: {{{inner}: {written}}}\n" if inner else f"{outer}: {written}\n")
        load_experiment(path)
