"""Passes a loaded task, in one anonymous file, from the process that loaded it to the agents, which share its memory.

The file is handed on by a process that never looks into it: what was made from a user's data is unpacked only without
root. Arrays are stored outside the pickle, each on its own pages, and are mapped, not copied; arrays that are already
mapped from a file are mapped from that file again.

    8 bytes     length of the index
    index       JSON: [[offset, size], ...]; first the pickle, then its buffers in order
    contents
"""

from __future__ import annotations

import io
import json
import mmap
import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<Q")


class _Pickler(pickle.Pickler):
    """Keeps the memory of tensors and of mapped files out of the pickle, which would copy it."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.memmap) and value.flags.c_contiguous and value.filename is not None:
            return _mapped_again, (str(value.filename), value.dtype.str, _place(value), value.shape)
        if isinstance(value, np.memmap):
            return np.asarray(value).copy().__reduce_ex__(5)
        torch = sys.modules.get("torch")
        if torch is not None and type(value) is torch.Tensor:
            return _tensor, (value.detach().contiguous().numpy(), value.requires_grad)
        return NotImplemented


def pack(value: Any, descriptor: int) -> None:
    """Write `value` to that empty file. Raises OSError, and what pickle raises."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = io.BytesIO()
    _Pickler(pickled, protocol=5, buffer_callback=buffers.append).dump(value)
    pieces = [pickled.getbuffer(), *(buffer.raw() for buffer in buffers)]
    # Offsets count from the first page after the index, whose own length depends on them.
    places, offset = [], 0
    for piece in pieces:
        places.append((offset, piece.nbytes))
        offset += _pages(piece.nbytes)
    index = json.dumps(places).encode()
    base = _pages(_LENGTH.size + len(index))
    os.ftruncate(descriptor, base + offset)
    _write(descriptor, memoryview(_LENGTH.pack(len(index)) + index), 0)
    for piece, (place, _) in zip(pieces, places, strict=True):
        _write(descriptor, piece, base + place)


def unpack(descriptor: int) -> Any:
    """What was packed. Changes to its arrays are visible to this process alone."""
    mapping = mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    view = memoryview(mapping)
    (length,) = _LENGTH.unpack_from(view)
    places = json.loads(bytes(view[_LENGTH.size : _LENGTH.size + length]))
    base = _pages(_LENGTH.size + length)
    pieces = [view[base + offset : base + offset + size] for offset, size in places]
    return pickle.loads(pieces[0], buffers=pieces[1:])


def _pages(num_bytes: int) -> int:
    return -(-num_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _place(array: np.memmap[Any, Any]) -> int:
    """Where in its file a slice of a mapped array begins; NumPy's `offset` is that of the whole array."""
    whole = array._mmap  # type: ignore[attr-defined]
    begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    return int(begin + array.ctypes.data - np.frombuffer(whole, np.uint8).ctypes.data)


def _mapped_again(file: str, dtype: str, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, mode="r", offset=offset, shape=shape)


def _tensor(values: np.ndarray, requires_grad: bool) -> Any:
    import torch

    make: Callable[[np.ndarray], Any] = torch.from_numpy
    return make(values).requires_grad_(requires_grad)
