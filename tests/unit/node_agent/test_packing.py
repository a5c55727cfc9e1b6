"""A task reaches agents through an anonymous file: unchanged, shared, and never unpacked on the way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node_agent.packing import pack, unpack

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    yield descriptor
    os.close(descriptor)


def through(value: Any, file: int) -> Any:
    pack(value, file)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
    return unpack(file)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10_000.0).reshape(100, 100),
        np.arange(10_000).reshape(100, 100)[:, ::3],
        np.zeros((0, 3), np.uint8),
        np.array(["a", "bc"]),
        np.array([None, "x"], dtype=object),
    ],
    ids=["plain", "strided", "empty", "text", "objects"],
)
def test_arrays_come_out_as_they_went_in(array: np.ndarray, file: int) -> None:
    unpacked, name = through((array, "name"), file)
    assert unpacked.dtype == array.dtype
    assert unpacked.shape == array.shape
    assert (unpacked == array).all()
    assert name == "name"


def test_tensors_do_too(file: int) -> None:
    import torch

    weights = torch.arange(12.0).reshape(3, 4).t().requires_grad_()
    unpacked = through({"w": weights}, file)["w"]
    assert torch.equal(unpacked, weights)
    assert unpacked.requires_grad


def test_big_arrays_are_mapped_not_copied(file: int) -> None:
    through(np.ones(1 << 20), file)
    before = private_bytes()
    arrays = [unpack(file) for _ in range(5)]
    assert sum(float(array[::512].sum()) for array in arrays) > 0
    # Five copies would be 40 MB.
    assert private_bytes() - before < 4 << 20


def private_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty"))


def test_changes_are_private_to_a_process(file: int) -> None:
    first = through(np.zeros(1000), file)
    first += 1
    assert (unpack(file) == 0).all()


def test_a_part_of_a_mapped_file_is_mapped_from_there(tmp_path: Path, file: int) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.arange(100_000).reshape(1000, 100))
    mapped = np.load(path, mmap_mode="r")
    whole, part, empty, scattered = through((mapped, mapped[700:900], mapped[5:5], mapped[:, ::7]), file)
    assert os.fstat(file).st_size < 200_000  # only what is scattered is in there
    assert isinstance(whole, np.memmap)
    assert isinstance(part, np.memmap)
    for unpacked, wanted in ((whole, mapped), (part, mapped[700:900]), (scattered, mapped[:, ::7])):
        assert (unpacked == wanted).all()
    assert empty.shape == (0, 100)


def test_a_sealed_file_cannot_be_changed(file: int) -> None:
    through(1, file)
    with pytest.raises(PermissionError):
        os.pwrite(file, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(file, 0)
