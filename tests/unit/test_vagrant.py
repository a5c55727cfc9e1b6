"""What Vagrant makes of the Vagrantfile, and the boxes that build-box.sh writes around a tiny disk."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.scripts import run_script, run_where

_CHECKOUT = Path(__file__).parents[2]
_VAGRANT = _CHECKOUT / "vagrant"
_BUILD, _PROVE = _VAGRANT / "build-box.sh", _VAGRANT / "prove.sh"
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
_MIB = 1 << 20


# --- the Vagrantfile ---


def _need_vagrant() -> None:
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed (apt-get install vagrant vagrant-libvirt)")


def _folder(parent: Path, *boxes: str) -> Path:
    """A copy of the Vagrantfile, beside which there are these boxes and no others."""
    folder = parent / "vagrant"
    (folder / "boxes").mkdir(parents=True)
    shutil.copy(_VAGRANT / "Vagrantfile", folder)
    for box in boxes:
        (folder / "boxes" / box).touch()
    return folder


def _vagrant_environment(folder: Path) -> dict[str, str]:
    return {
        "VAGRANT_CWD": str(folder),
        "VAGRANT_HOME": str(folder.parent / "home"),
        "VAGRANT_DOTFILE_PATH": str(folder.parent / "machine"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


_SETTINGS = {"MNBED_CPUS": "4", "MNBED_MEMORY": "3000", "MNBED_DATA": "/tmp", "MNBED_DEV": "1"}
_WRONG = {
    "MNBED_CPUS=0: at least 1": {"MNBED_CPUS": "0"},
    "MNBED_CPUS=two is not a whole number": {"MNBED_CPUS": "two"},
    "MNBED_CPUS= is not a whole number": {"MNBED_CPUS": ""},
    "MNBED_MEMORY=512: at least 2048": {"MNBED_MEMORY": "512"},
    "MNBED_DATA=/nowhere is not a folder": {"MNBED_DATA": "/nowhere"},
    "MNBED_PIP_CONF=/no.conf is not a file": {"MNBED_PIP_CONF": "/no.conf"},
    "MNBED_CA_FILE=/no.crt is not a file": {"MNBED_CA_FILE": "/no.crt"},
    "MNBED_VM_DRIVER=xen: kvm or qemu": {"MNBED_VM_DRIVER": "xen"},
    "MNBED_BOX_URL=/no.box: there is no file /no.box": {"MNBED_BOX_URL": "/no.box"},
    "MNBED_BOX_URL=file:///no.box: there is no file /no.box": {"MNBED_BOX_URL": "file:///no.box"},
}
# What Vagrant is asked: a name, the settings, and the provider.
_CASES: dict[str, tuple[dict[str, str], str]] = {
    "plain": ({}, "virtualbox"),
    "virtualbox": (_SETTINGS, "virtualbox"),
    "libvirt": (_SETTINGS, "libvirt"),
    "qemu": (_SETTINGS, "qemu"),
    "vmware": (_SETTINGS, "vmware_desktop"),
    "one processor": ({"MNBED_CPUS": "1"}, "libvirt"),
    "emulated": ({"MNBED_VM_DRIVER": "qemu"}, "libvirt"),
    "named": ({"MNBED_BOX": "bento/debian-12"}, "virtualbox"),
    "a file": ({"MNBED_BOX_URL": "own.box"}, "libvirt"),
    "a named file": ({"MNBED_BOX_URL": "own.box", "MNBED_BOX": "mine"}, "libvirt"),
    # A port at which nobody answers.
    "no registry": ({"VAGRANT_SERVER_URL": "http://127.0.0.1:9", "FETCH": "1"}, "libvirt"),
    "no box": ({"MNBED_BOX_URL": "http://127.0.0.1:9/far.box", "FETCH": "1"}, "libvirt"),
    "the web": ({"MNBED_BOX_URL": "https://example.org/boxes/far.box"}, "libvirt"),
    **{message: (settings, "virtualbox") for message, settings in _WRONG.items()},
}
_OURS = f"mnbed-bookworm-{_ARCHITECTURE}-virtualbox.box"
_FOR_ANOTHER = f"mnbed-bookworm-{'arm64' if _ARCHITECTURE == 'amd64' else 'amd64'}-libvirt.box"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Vagrantfile without boxes, in a folder with a file own.box; beside that folder one with boxes."""
    parent = tmp_path_factory.mktemp("vagrant")
    (parent / "own.box").touch()
    _folder(parent / "with", _OURS, _FOR_ANOTHER)
    return _folder(parent)


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, dict[str, Any]]:
    """By the names of `_CASES`, and of two more in which there are boxes. Loading Vagrant takes a second: once."""
    _need_vagrant()
    with_boxes = {"VAGRANT_CWD": str(folder.parent / "with" / "vagrant")}
    cases = _CASES | {"ours": (with_boxes, "virtualbox"), "not ours": (with_boxes, "libvirt")}
    asked = subprocess.run(
        ["ruby", _CHECKOUT / "tests" / "unit" / "vagrantfile.rb"],
        input=json.dumps(list(cases.values())),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder.parent,
        env=os.environ | _vagrant_environment(folder),
    )
    assert asked.returncode == 0, asked.stderr
    return dict(zip(cases, json.loads(asked.stdout.splitlines()[-1]), strict=True))


Answers = Mapping[str, dict[str, Any]]


def test_settings_reach_every_provider(answers: Answers) -> None:
    assert ["--cpus", 4] in answers["virtualbox"]["options"]
    assert ["--memory", "3000"] in answers["virtualbox"]["options"]
    assert [name for name in ("qemu", "vmware") if "refused" in answers[name]] == []
    libvirt = answers["libvirt"]
    if libvirt["cpus"] is not None:  # vagrant-libvirt is installed
        assert (libvirt["cpus"], libvirt["memory"], libvirt["driver"]) == (4, 3000, "kvm")


def test_virtualbox_gets_one_processor_unless_told_otherwise(answers: Answers) -> None:
    assert ["--cpus", 1] in answers["plain"]["options"]
    assert "refused" not in answers["one processor"]


def test_software_emulation_needs_a_processor_of_its_own(answers: Answers) -> None:
    emulated = answers["emulated"]
    if emulated["driver"] is None:
        pytest.skip("vagrant-libvirt is not installed")
    assert (emulated["driver"], emulated["cpu_mode"]) == ("qemu", "maximum")


@pytest.mark.parametrize("message", _WRONG)
def test_a_wrong_setting_is_refused_by_name(message: str, answers: Answers) -> None:
    assert answers[message]["refused"] == message


def test_the_box_is_ours_if_there_is_one_for_the_provider(answers: Answers, folder: Path) -> None:
    ours, registry = answers["ours"], ("debian/bookworm64", None)
    assert ours["box"] == f"mnbed-bookworm-{_ARCHITECTURE}"
    assert ours["url"] == [f"file://{folder.parent}/with/vagrant/boxes/{_OURS}"]
    assert (answers["not ours"]["box"], answers["not ours"]["url"]) == registry
    assert (answers["plain"]["box"], answers["plain"]["url"]) == registry


def test_a_box_may_be_named_or_come_from_a_file_or_from_the_web(answers: Answers, folder: Path) -> None:
    file = [f"file://{folder.parent}/own.box"]
    found = {
        name: (answers[name]["box"], answers[name]["url"])
        for name in ("named", "a file", "a named file", "the web")
    }
    assert found == {
        "named": ("bento/debian-12", None),
        "a file": ("own", file),
        "a named file": ("mine", file),
        "the web": ("far", ["https://example.org/boxes/far.box"]),
    }


@pytest.mark.parametrize("case", ["no registry", "no box"])
def test_where_no_box_can_be_had_the_error_names_the_command_that_makes_one(
    case: str, answers: Answers
) -> None:
    message = answers[case]["fetched"]
    assert "127.0.0.1" in message
    assert "sudo vagrant/build-box.sh" in message


@pytest.mark.slow
def test_vagrant_accepts_the_file(tmp_path: Path) -> None:
    """Without a provider: none need be installed to check the file."""
    _need_vagrant()
    settings = {"VAGRANT_NO_PLUGINS": "1", "MNBED_CPUS": "4", "MNBED_DATA": "/tmp", "MNBED_DEV": "1"}
    environment = _vagrant_environment(_folder(tmp_path)) | settings
    checked = run_script("vagrant", "validate", "--ignore-provider", **environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_checkout_is_copied_without_what_was_made_there() -> None:
    ignored = {line.rstrip("/") for line in (_CHECKOUT / ".gitignore").read_text().splitlines()}
    text = (_VAGRANT / "Vagrantfile").read_text()
    assert [
        name for name in ("vagrant/boxes", "vagrant/.vagrant", "runs", ".venv") if name not in ignored
    ] == []
    assert [name for name in ignored if name.startswith("vagrant/") and f'"{name}/"' not in text] == []


# --- build-box.sh ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--relase", "trixie"], "unknown option --relase"),
        (["--release"], "--release needs a value"),
        (["--release", "sid"], "--release sid: one of bookworm trixie"),
        (["--arch", "riscv64"], "--arch riscv64: one of amd64 arm64"),
        (["--for", "libvirt,hyperv"], "--for hyperv: one of libvirt virtualbox qemu vmware"),
        (["--arch", "arm64", "--for", "virtualbox"], "--for virtualbox: only with --arch amd64"),
        (["--size", "3"], "--size 3: a whole number of GB, at least 4"),
        (["--size", "20G"], "--size 20G: a whole number"),
        (["--mirror", "deb.debian.org"], "--mirror deb.debian.org: a URL"),
        (["--disk", "/nowhere/disk"], "--disk /nowhere/disk: there is no such file"),
    ],
)
def test_builder_refuses_wrong_options(options: Sequence[str], message: str) -> None:
    refused = run_script(_BUILD, *options)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "usage:" in refused.stderr


@pytest.mark.parametrize("script", [_BUILD, _PROVE], ids=lambda path: path.name)
def test_help_names_every_option(script: Path) -> None:
    shown = run_script(script, "--help")
    assert shown.returncode == 0
    taken = {word for line in script.read_text().splitlines() for word in _options_in(line)}
    assert taken
    assert [option for option in taken if f"  {option} " not in shown.stdout] == []


def _options_in(line: str) -> list[str]:
    """The options of a branch in `case`, which ends with a single parenthesis."""
    pattern, parenthesis, _ = line.strip().partition(")")
    words = pattern.split(" | ") if parenthesis else []
    return [word for word in words if word.startswith("--") and " " not in word and word not in _INTERNAL]


# With these, prove.sh starts itself in its namespaces.
_INTERNAL = {"--wait-for-network", "--inside"}


def test_an_existing_box_is_left_alone(tmp_path: Path) -> None:
    box = tmp_path / "mnbed-trixie-amd64-libvirt.box"
    box.write_text("somebody's own\n")
    options = ("--release", "trixie", "--arch", "amd64", "--for", "qemu,libvirt", "--output", tmp_path)
    refused = run_script(_BUILD, *options)
    assert refused.returncode == 3
    assert f"{box} exists" in refused.stderr
    assert "--replace" in refused.stderr
    assert box.read_text() == "somebody's own\n"


@pytest.mark.root
def test_without_root_the_builder_says_sudo(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for folder in list(tmp_path.parents)[:2]:
        folder.chmod(folder.stat().st_mode | 0o055)
    with _BUILD.open() as script:
        refused = subprocess.run(
            [
                *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s", "--"),
                *("--output", tmp_path / "boxes"),
            ],
            stdin=script,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert refused.returncode == 3
    assert "sudo" in refused.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Three MiB with something in the middle."""
    _need_qemu_img()
    path = tmp_path / "disk"
    path.write_bytes(bytes(_MIB) + b"mnbed" * 1000 + bytes(2 * _MIB - 5000))
    return path


def _need_qemu_img() -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed (apt-get install qemu-utils)")


def _box(disk: Path, provider: str, architecture: str = "amd64") -> Path:
    """The contents of the box that the builder makes of `disk`."""
    options = ("--disk", disk, "--for", provider, "--arch", architecture, "--output", disk.parent)
    built = run_script(_BUILD, *options)
    assert built.returncode == 0, built.stderr
    folder = disk.parent / provider
    folder.mkdir()
    file = disk.parent / f"mnbed-bookworm-{architecture}-{provider}.box"
    assert run_script("tar", "-C", folder, "-xzf", file).returncode == 0
    return folder


def _metadata(folder: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return metadata


def _holds(image: Path, form: str, disk: Path) -> bool:
    """Whether an image is of this format and has the disk's content."""
    described = json.loads(run_script("qemu-img", "info", "--output=json", image).stdout)
    return (
        bool(described["format"] == form) and run_script("qemu-img", "compare", disk, image).returncode == 0
    )


@pytest.mark.parametrize("provider", ["libvirt", "qemu"])
def test_the_box_for_libvirt_and_qemu(provider: str, disk: Path) -> None:
    folder = _box(disk, provider, "arm64")
    assert _metadata(folder) == {
        "provider": provider,
        "architecture": "arm64",
        "format": "qcow2",
        "virtual_size": 1,
    }
    assert _holds(folder / "box.img", "qcow2", disk)


def test_the_box_for_virtualbox(disk: Path) -> None:
    folder = _box(disk, "virtualbox")
    assert _metadata(folder) == {"provider": "virtualbox", "architecture": "amd64"}
    assert _holds(folder / "box-disk001.vmdk", "vmdk", disk)
    assert b'createType="streamOptimized"' in (folder / "box-disk001.vmdk").read_bytes()
    ovf = "{http://schemas.dmtf.org/ovf/envelope/1}"
    envelope = ElementTree.parse(folder / "box.ovf").getroot()
    (file,) = envelope.iter(f"{ovf}File")
    (described,) = envelope.iter(f"{ovf}Disk")
    assert file.get(f"{ovf}href") == "box-disk001.vmdk"
    assert described.get(f"{ovf}fileRef") == file.get(f"{ovf}id")
    assert described.get(f"{ovf}capacity") == str(3 * _MIB)
    rasd = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
    types = [item.findtext(f"{rasd}ResourceType") for item in envelope.iter(f"{ovf}Item")]
    assert sorted(types, key=str) == ["10", "17", "20", "3", "4"]
    (host,) = (item.text for item in envelope.iter(f"{rasd}HostResource"))
    assert host == f"/disk/{described.get(f'{ovf}diskId')}"


@pytest.mark.parametrize(("architecture", "guest"), [("amd64", "debian12-64"), ("arm64", "arm-debian12-64")])
def test_the_box_for_vmware(architecture: str, guest: str, disk: Path) -> None:
    folder = _box(disk, "vmware", architecture)
    assert _metadata(folder) == {"provider": "vmware_desktop", "architecture": architecture}
    assert _holds(folder / "disk.vmdk", "vmdk", disk)
    lines = (folder / "mnbed.vmx").read_text().splitlines()
    settings = dict(line.split(" = ", 1) for line in lines)
    assert settings["guestOS"] == f'"{guest}"'
    assert settings["sata0:0.fileName"] == '"disk.vmdk"'


def test_a_box_is_replaced_if_asked_for_and_nothing_else_remains(disk: Path) -> None:
    box = disk.parent / f"mnbed-bookworm-{_ARCHITECTURE}-libvirt.box"
    box.write_text("an earlier one\n")
    options = ("--disk", disk, "--for", "libvirt", "--output", disk.parent, "--replace")
    work = disk.parent / "work"
    work.mkdir()
    assert run_script(_BUILD, *options, TMPDIR=str(work)).returncode == 0
    assert tarfile.is_tarfile(box)
    assert sorted(path.name for path in disk.parent.iterdir()) == ["disk", box.name, "work"]
    assert list(work.iterdir()) == []


@pytest.mark.root
def test_too_little_space_is_noticed_before_the_work(disk: Path) -> None:
    work = disk.parent / "work"
    work.mkdir()
    options = ("--disk", disk, "--for", "libvirt", "--output", disk.parent)
    refused = run_where(f'mount -t tmpfs -o size=1m tmpfs "{work}"', _BUILD, *options, TMPDIR=str(work))
    assert refused.returncode == 3
    assert f"{work} has 1 MB of free space" in refused.stderr
    assert list(disk.parent.glob("*.box*")) == []


# --- prove.sh, Lima ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick"], "unknown option --quick"),
        (["--release", "sid"], "--release sid: one of bookworm trixie"),
        (["--driver", "xen"], "--driver xen: one of kvm qemu"),
        (["--results"], "--results needs a value"),
    ],
)
def test_proof_refuses_wrong_options(options: Sequence[str], message: str) -> None:
    refused = run_script(_PROVE, *options)
    assert refused.returncode == 2
    assert message in refused.stderr


def test_lima_has_an_image_for_either_processor() -> None:
    machine = yaml.safe_load((_VAGRANT / "lima.yaml").read_text())
    assert {image["arch"] for image in machine["images"]} == {"aarch64", "x86_64"}
    assert machine["mounts"] == []
