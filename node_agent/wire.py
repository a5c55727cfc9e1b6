"""The wire format: bytes in, events out; events in, bytes out. No sockets, no clock, no logging in here.

Everything that decides whether a frame is good lives in this file: a frame that passes is whole, from this
run and fits this model; anything else is a RemoteProtocolError, after which the connection is in error for
good. docs/wire.md describes the layout for readers in other languages.

    ProtocolError
      LocalProtocolError     we misused this module: a bug of ours
      RemoteProtocolError    their bytes are foreign, torn, oversized or corrupt: close that connection
"""

from __future__ import annotations

import hmac
import math
import struct
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"MNBD"
VERSION: Final = 1
DTYPE_NONE: Final = 0
DTYPE_FLOAT32: Final = 1
FLAG_REPLY_WANTED: Final = 0x01
TOKEN_BYTES: Final = 16
VALUE_BYTES: Final = 4

# If the model's size is unknown, this bounds what one header can make us allocate: a model of 16 million parameters.
DEFAULT_MAX_PAYLOAD_BYTES: Final = 64 * 1024 * 1024

# magic, version, kind, dtype, flags, sender, round, index, count, permutation seed, send time, payload size; checksum.
_BODY: Final = struct.Struct("<4sBBBBIIIIQdI")
_CHECKSUM: Final = struct.Struct("<I")
_HEADER: Final = struct.Struct("<4sBBBBIIIIQdII")
HEADER_BYTES: Final = _HEADER.size

_VALUES: Final = np.dtype("<f4")


class ProtocolError(Exception):
    """The base class of both; never raised itself."""


class LocalProtocolError(ProtocolError):
    """This module was misused: a value that fits no field, a buffer reported fuller than it is."""


class RemoteProtocolError(ProtocolError):
    """The other side's bytes are invalid; `reason` is short enough for a journal."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotFinite(RemoteProtocolError):
    """A frame that is what it should be, but for values that are infinite or NaN: its sender's training diverged."""


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    FRAGMENT = 2
    BYE = 3


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a connection; the token has been checked."""

    sender: int
    token: bytes
    life: int = 0
    """How often the sender's agent has been restarted."""


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """Part of a model, as its sender had it when `round` ended."""

    sender: int
    round: int
    index: int
    """0..count-1: which fragment of the cut."""
    count: int
    permutation_seed: int
    sent_s: float
    """Emulated time at which the sender handed the frame's first byte to the kernel."""
    values: NDArray[np.float32]
    """Read-only, in the order of the permutation; owned by this event."""
    reply_wanted: bool = False
    """The sender's algorithm asks for a fragment in return."""


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender's part of the experiment is over; nothing comes after it, and that is not a failure."""

    sender: int


Event = Hello | Fragment | Bye


class NeedData(Enum):
    """The type of NEED_DATA: a value, not an exception, says that more bytes are needed."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA


class _Header(NamedTuple):
    """The header's fields in their order on the wire."""

    magic: bytes
    version: int
    kind: int
    dtype: int
    flags: int
    sender: int
    round: int
    fragment: int
    num_fragments: int
    permutation_seed: int
    sent_s: float
    payload_bytes: int
    checksum: int


def fragment_size(num_parameters: int, num_fragments: int, index: int) -> int:
    """Number of values in a fragment: near-equal, the first `num_parameters % num_fragments` one larger.

    Part of the format: a receiver that knows the model's size knows every payload's length.
    """
    return num_parameters // num_fragments + (index < num_parameters % num_fragments)


def frame_bytes(payload_bytes: int) -> int:
    """Bytes on the wire, header included, of a frame with that payload."""
    return HEADER_BYTES + payload_bytes


# Sending


def encode_hello(sender: int, token: bytes, life: int = 0) -> bytes:
    """The first frame of a connection; `life` counts restarts of the sender's agent, in the round's place.

    Raises LocalProtocolError if the token is not 16 bytes.
    """
    _check_token(token)
    return _header(crc32(token), Kind.HELLO, DTYPE_NONE, 0, sender, life, 0, 0, 0, 0.0, TOKEN_BYTES) + token


def encode_bye(sender: int) -> bytes:
    """The last frame of a connection whose sender has come to an orderly end."""
    return _header(crc32(b""), Kind.BYE, DTYPE_NONE, 0, sender, 0, 0, 0, 0, 0.0, 0)


def fragment_header(
    *,
    sender: int,
    round: int,
    index: int,
    count: int,
    permutation_seed: int,
    sent_s: float,
    payload: memoryview,
    payload_checksum: int | None = None,
    reply_wanted: bool = False,
) -> bytes:
    """The header that goes in front of `payload` (raw little-endian float32).

    `payload_checksum` is crc32(payload), given if the payload goes to several peers: the frame's checksum
    continues the payload's over the header, so the payload is read once and 44 bytes are left for each peer.
    Raises LocalProtocolError if a value does not fit.
    """
    num_bytes = payload.nbytes
    if num_bytes % VALUE_BYTES or not 0 <= index < count or not math.isfinite(sent_s):
        problem = f"fragment {index} of {count} with {num_bytes} bytes, sent at {sent_s}"
        raise LocalProtocolError(f"cannot be sent: {problem}")
    checksum = crc32(payload) if payload_checksum is None else payload_checksum
    flags = FLAG_REPLY_WANTED if reply_wanted else 0
    fields = (flags, sender, round, index, count, permutation_seed, sent_s, num_bytes)
    return _header(checksum, Kind.FRAGMENT, DTYPE_FLOAT32, *fields)


def _header(payload_checksum: int, *fields: int | float) -> bytes:
    """`fields` are those from kind to payload length, in their order on the wire."""
    try:
        body = _BODY.pack(MAGIC, VERSION, *fields)
    except struct.error as error:
        raise LocalProtocolError(f"a header field is out of range: {error}") from None
    return body + _CHECKSUM.pack(crc32(body, payload_checksum))


def _check_token(token: bytes) -> None:
    if len(token) != TOKEN_BYTES:
        raise LocalProtocolError(f"a token has {TOKEN_BYTES} bytes, not {len(token)}")


class RoundFrames:
    """The frames of one cut: every payload's checksum is computed once, however many peers it goes to."""

    def __init__(
        self,
        *,
        sender: int,
        round: int,
        permutation_seed: int,
        payloads: Sequence[memoryview],
        reply_wanted: bool = False,
    ) -> None:
        """`payloads[i]` is fragment i: not copied, so it must not change until its last frame is sent."""
        self._sender = sender
        self._round = round
        self._permutation_seed = permutation_seed
        self._payloads = payloads
        self._reply_wanted = reply_wanted
        self._checksums: list[int | None] = [None] * len(payloads)

    def frame_bytes(self, index: int) -> int:
        """Bytes on the wire of that fragment's frame."""
        return frame_bytes(self._payloads[index].nbytes)

    def frame(self, index: int, sent_s: float) -> tuple[bytes, memoryview]:
        """(header, payload) for `sendmsg`; `sent_s` is the emulated time at which sending begins."""
        payload = self._payloads[index]
        checksum = self._checksums[index]
        if checksum is None:
            checksum = self._checksums[index] = crc32(payload)
        header = fragment_header(
            sender=self._sender,
            round=self._round,
            index=index,
            count=len(self._payloads),
            permutation_seed=self._permutation_seed,
            sent_s=sent_s,
            payload=payload,
            payload_checksum=checksum,
            reply_wanted=self._reply_wanted,
        )
        return header, payload


# Receiving


class Receiver:
    """Reads one connection's incoming bytes.

    Feed it with `receive_data`, or without a copy through `get_buffer` and `buffer_updated` (as in
    asyncio.BufferedProtocol: `buffer_updated(sock.recv_into(receiver.get_buffer()))`), then call `next_event`
    until it returns NEED_DATA. A header is checked before its payload gets memory, so an unknown peer can
    occupy 64 bytes at most.
    """

    def __init__(
        self,
        *,
        token: bytes,
        num_nodes: int,
        num_parameters: int | None = None,
        num_fragments: int | None = None,
        permutation_seed: int | None = None,
        expected_sender: int | None = None,
        neighbours: Collection[int] | None = None,
        max_round: int | None = None,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    ) -> None:
        """Whatever is not None is demanded of every frame.

        `num_parameters` fixes each fragment's exact length; `num_fragments` and `permutation_seed` are the
        run's shared cut; `expected_sender` is for a connection that we opened, `neighbours` are those who may open
        one; `max_round` is the last round that any node can reach. Without `num_parameters` a payload may have
        up to `max_payload_bytes`.
        """
        _check_token(token)
        self._token = token
        self._num_nodes = num_nodes
        self._num_parameters = num_parameters
        self._num_fragments = num_fragments
        self._permutation_seed = permutation_seed
        self._expected_sender = expected_sender
        self._neighbours = neighbours
        self._max_round = max_round
        self._max_payload_bytes = (
            max_payload_bytes if num_parameters is None else num_parameters * VALUE_BYTES
        )
        self._sender: int | None = None
        self._closed = False
        self._error: RemoteProtocolError | None = None
        self._events: deque[Event] = deque()
        self._header_buffer = memoryview(bytearray(HEADER_BYTES))
        self._header: _Header | None = None
        self._payload: NDArray[np.uint8] | None = None
        # The part being read, header or payload, and how much of it has arrived.
        self._piece = self._header_buffer
        self._filled = 0

    @property
    def sender(self) -> int | None:
        """Who is at the other end, once their HELLO has been accepted."""
        return self._sender

    def get_buffer(self) -> memoryview:
        """Where the next bytes go: never empty, and never beyond the frame's end.

        Raises LocalProtocolError after a protocol error: that connection is to be closed, not read.
        """
        if self._error is not None:
            raise LocalProtocolError(f"the connection is in error ({self._error}) and must not be read")
        return self._piece[self._filled :]

    def buffer_updated(self, num_bytes: int) -> None:
        """`num_bytes` were written to what `get_buffer` gave. Errors come out of `next_event`."""
        if self._error is not None or not 0 < num_bytes <= len(self._piece) - self._filled:
            raise LocalProtocolError(f"{num_bytes} bytes do not fit what get_buffer() gave")
        self._filled += num_bytes
        try:
            self._advance()
        except RemoteProtocolError as error:
            self._fail(error)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take any number of bytes; what follows a protocol error is ignored."""
        view = memoryview(data).cast("B")
        while len(view) and self._error is None:
            buffer = self.get_buffer()
            num_bytes = min(len(buffer), len(view))
            buffer[:num_bytes] = view[:num_bytes]
            self.buffer_updated(num_bytes)
            view = view[num_bytes:]

    def receive_eof(self) -> None:
        """The other side sends no more. Raises RemoteProtocolError if that leaves a frame unfinished."""
        if self._error is None and (self._filled or self._header is not None):
            self._fail(RemoteProtocolError("torn frame"))
        self._raise_error()

    def next_event(self) -> Event | NeedData:
        """The next whole frame, or NEED_DATA. Raises RemoteProtocolError, again at every later call."""
        if self._events:
            return self._events.popleft()
        self._raise_error()
        return NEED_DATA

    def _raise_error(self) -> None:
        if self._error is not None:
            raise type(self._error)(self._error.reason)

    def _fail(self, error: RemoteProtocolError) -> None:
        # Its traceback would hold this object.
        self._error = error.with_traceback(None)
        self._header = self._payload = None
        self._piece, self._filled = self._header_buffer, 0

    def _advance(self) -> None:
        """Act on the bytes that are there: nothing, a header, or a whole frame."""
        if self._filled < len(self._piece):
            # A foreign protocol shows in its first bytes, and may wait for an answer before it sends a header's worth.
            prefix = min(self._filled, len(MAGIC))
            if self._header is None and self._header_buffer[:prefix] != MAGIC[:prefix]:
                raise RemoteProtocolError("foreign magic")
            return
        if self._header is None:
            self._header = header = _Header._make(_HEADER.unpack(self._header_buffer))
            self._check_header(header)
            if header.payload_bytes:
                self._payload = np.empty(header.payload_bytes, np.uint8)
                self._piece, self._filled = self._payload.data, 0
                return
        self._finish_frame(self._header)

    def _check_header(self, header: _Header) -> None:
        if header.magic != MAGIC:
            raise RemoteProtocolError("foreign magic")
        if header.version != VERSION:
            raise RemoteProtocolError(f"version {header.version}, not {VERSION}")
        if self._closed:
            raise RemoteProtocolError("frame after BYE")
        if header.kind == Kind.FRAGMENT:
            self._check_sender(header)
            self._check_fragment(header)
        elif header.kind == Kind.HELLO:
            self._check_hello(header)
        elif header.kind == Kind.BYE:
            self._check_sender(header)
            _check_unused(header, payload_bytes=0)
        else:
            raise RemoteProtocolError(f"unknown kind {header.kind}")

    def _check_hello(self, header: _Header) -> None:
        if self._sender is not None:
            raise RemoteProtocolError("second HELLO")
        _check_unused(header, payload_bytes=TOKEN_BYTES)
        if header.sender >= self._num_nodes:
            raise RemoteProtocolError(f"sender {header.sender} of {self._num_nodes} nodes")
        if self._expected_sender is not None and header.sender != self._expected_sender:
            raise RemoteProtocolError(f"sender {header.sender}, expected {self._expected_sender}")
        if self._neighbours is not None and header.sender not in self._neighbours:
            raise RemoteProtocolError(f"sender {header.sender} is not a neighbour")

    def _check_sender(self, header: _Header) -> None:
        if self._sender is None:
            raise RemoteProtocolError("no HELLO")
        if header.sender != self._sender:
            raise RemoteProtocolError(f"sender {header.sender} on the connection of {self._sender}")

    def _check_fragment(self, header: _Header) -> None:
        if header.dtype != DTYPE_FLOAT32:
            raise RemoteProtocolError(f"unknown dtype {header.dtype}")
        if header.flags & ~FLAG_REPLY_WANTED:
            raise RemoteProtocolError(f"unknown flags {header.flags:#x}")
        if header.fragment >= header.num_fragments:
            raise RemoteProtocolError(f"fragment {header.fragment} of {header.num_fragments}")
        if self._num_fragments is not None and header.num_fragments != self._num_fragments:
            raise RemoteProtocolError(f"{header.num_fragments} fragments, expected {self._num_fragments}")
        if self._permutation_seed is not None and header.permutation_seed != self._permutation_seed:
            raise RemoteProtocolError("another permutation")
        if self._max_round is not None and header.round > self._max_round:
            raise RemoteProtocolError(
                f"round {header.round}, beyond the last possible round {self._max_round}"
            )
        if not math.isfinite(header.sent_s):
            raise RemoteProtocolError(f"send time {header.sent_s}")
        if header.payload_bytes > self._max_payload_bytes:
            raise RemoteProtocolError(f"oversized payload of {header.payload_bytes} bytes")
        if header.payload_bytes % VALUE_BYTES:
            raise RemoteProtocolError(f"payload of {header.payload_bytes} bytes is not a float32 array")
        if self._num_parameters is not None:
            expected = VALUE_BYTES * fragment_size(
                self._num_parameters, header.num_fragments, header.fragment
            )
            if header.payload_bytes != expected:
                raise RemoteProtocolError(f"payload of {header.payload_bytes} bytes, expected {expected}")

    def _finish_frame(self, header: _Header) -> None:
        payload = self._payload
        checksum = crc32(b"" if payload is None else payload.data)
        if crc32(self._header_buffer[: _BODY.size], checksum) != header.checksum:
            raise RemoteProtocolError("bad checksum")
        self._events.append(self._make_event(header, payload))
        self._header = self._payload = None
        self._piece, self._filled = self._header_buffer, 0

    def _make_event(self, header: _Header, payload: NDArray[np.uint8] | None) -> Event:
        if header.kind == Kind.FRAGMENT:
            values = np.empty(0, _VALUES) if payload is None else payload.view(_VALUES)
            # A single NaN that is averaged in would spread for good, to every node.
            if not np.isfinite(values).all():
                raise NotFinite("values that are not finite")
            values.flags.writeable = False
            return Fragment(
                sender=header.sender,
                round=header.round,
                index=header.fragment,
                count=header.num_fragments,
                permutation_seed=header.permutation_seed,
                sent_s=header.sent_s,
                values=values,
                reply_wanted=bool(header.flags & FLAG_REPLY_WANTED),
            )
        if header.kind == Kind.HELLO:
            token = b"" if payload is None else payload.tobytes()
            if not hmac.compare_digest(token, self._token):
                raise RemoteProtocolError("another run's token")
            self._sender = header.sender
            return Hello(header.sender, token, header.round)
        self._closed = True
        return Bye(header.sender)


def _check_unused(header: _Header, *, payload_bytes: int) -> None:
    """HELLO and BYE leave the fragment's fields at zero, so that a later version can give them a meaning.

    The exception is HELLO's life, which takes the round's place.
    """
    if header.payload_bytes != payload_bytes:
        raise RemoteProtocolError(f"{Kind(header.kind).name} with {header.payload_bytes} bytes of payload")
    if any(header[3:5]) or any(header[7:11]) or (header.kind == Kind.BYE and header.round):
        raise RemoteProtocolError(f"{Kind(header.kind).name} with fields of a fragment")
