"""Frames that are whole, in pieces, torn, foreign, oversized or corrupt; the round trip of all that can be sent."""

from __future__ import annotations

import dataclasses
import math
import struct
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent import wire

TOKEN = bytes(range(16))
SENDER = 3
NUM_PARAMETERS = 10
# Ten parameters in four fragments: sizes 3, 3, 2, 2.
VALUES = np.array([1.5, -2.0, 3.25], np.float32)

HELLO = wire.encode_hello(SENDER, TOKEN)
BYE = wire.encode_bye(SENDER)


def frame(values: np.ndarray = VALUES, **changes: object) -> bytes:
    """A good frame of fragment 0, with some of fragment_header's arguments changed."""
    payload = memoryview(values.astype("<f4").tobytes())
    arguments: dict[str, object] = {
        "sender": SENDER,
        "round": 7,
        "index": 0,
        "count": 4,
        "permutation_seed": 99,
        "sent_s": 1.25,
        "payload": payload,
    }
    return wire.fragment_header(**{**arguments, **changes}) + payload.tobytes()  # type: ignore[arg-type]


def forged(data: bytes, offset: int, field: bytes) -> bytes:
    """The frame with that header field overwritten and a matching checksum."""
    header = bytearray(data[: wire.HEADER_BYTES])
    header[offset : offset + len(field)] = field
    payload = data[wire.HEADER_BYTES :]
    header[44:48] = struct.pack("<I", crc32(header[:44], crc32(payload)))
    return bytes(header) + payload


def receiver(**changes: object) -> wire.Receiver:
    arguments: dict[str, object] = {
        "token": TOKEN,
        "num_nodes": 5,
        "num_parameters": NUM_PARAMETERS,
        "num_fragments": 4,
        "permutation_seed": 99,
        "neighbours": {1, SENDER},
        "max_round": 8,
    }
    return wire.Receiver(**{**arguments, **changes})  # type: ignore[arg-type]


def events(connection: wire.Receiver) -> list[wire.Event]:
    received: list[wire.Event] = []
    while not isinstance(event := connection.next_event(), wire.NeedData):
        received.append(event)
    return received


def describe(event: wire.Event) -> tuple[object, ...]:
    """Something comparable, since a fragment's values are an array."""
    if not isinstance(event, wire.Fragment):
        return (event,)
    fields = [getattr(event, field.name) for field in dataclasses.fields(event) if field.name != "values"]
    return (*fields, event.values.tobytes())


def end_of(connection: wire.Receiver) -> None:
    """Read what is there, then end the connection; no fragment may come out."""
    assert connection.next_event() is wire.NEED_DATA
    connection.receive_eof()


def rejection(connection: wire.Receiver, data: bytes) -> str:
    """The reason why the connection refuses what comes after the valid events."""
    connection.receive_data(data)
    with pytest.raises(wire.RemoteProtocolError) as caught:
        events(connection)
    return caught.value.reason


def test_the_layout_on_the_wire_is_as_documented() -> None:
    data = frame(reply_wanted=True)
    assert len(data) == wire.frame_bytes(12) == 48 + 12
    assert data[:8] == b"MNBD" + bytes([1, 2, 1, 1])
    assert struct.unpack_from("<IIIIQdI", data, 8) == (SENDER, 7, 0, 4, 99, 1.25, 12)
    assert struct.unpack_from("<I", data, 44) == (crc32(data[48:] + data[:44]),)
    assert data[48:] == struct.pack("<3f", 1.5, -2.0, 3.25)
    assert HELLO[:8] == b"MNBD" + bytes([1, 1, 0, 0])
    assert HELLO[48:] == TOKEN
    assert len(BYE) == 48


def test_a_whole_conversation() -> None:
    connection = receiver()
    assert connection.next_event() is wire.NEED_DATA
    assert connection.sender is None
    connection.receive_data(HELLO + frame() + frame(VALUES[:2], index=3, round=8) + BYE)
    hello, first, second, bye = events(connection)
    assert hello == wire.Hello(SENDER, TOKEN)
    assert connection.sender == SENDER
    assert isinstance(first, wire.Fragment)
    assert (first.sender, first.round, first.index, first.count) == (SENDER, 7, 0, 4)
    assert (first.permutation_seed, first.sent_s, first.reply_wanted) == (99, 1.25, False)
    assert first.values.dtype == np.float32
    assert first.values.tolist() == [1.5, -2.0, 3.25]
    assert isinstance(second, wire.Fragment)
    assert second.values.tolist() == [1.5, -2.0]
    assert bye == wire.Bye(SENDER)
    connection.receive_eof()


def test_values_are_read_only_and_survive_the_next_frame() -> None:
    connection = receiver()
    connection.receive_data(HELLO + frame() + frame(VALUES + 1))
    first = events(connection)[1]
    assert isinstance(first, wire.Fragment)
    with pytest.raises(ValueError, match="read-only"):
        first.values[0] = 0
    assert first.values.tolist() == VALUES.tolist()


def test_the_direct_path_fills_the_payload_in_place() -> None:
    connection = receiver()
    data = HELLO + frame()
    sizes = []
    while data:
        buffer = connection.get_buffer()
        sizes.append(len(buffer))
        buffer[:] = data[: len(buffer)]
        data = data[len(buffer) :]
        connection.buffer_updated(len(buffer))
    assert sizes == [48, 16, 48, 12]
    assert len(events(connection)) == 2


@given(st.lists(st.integers(1, 60), max_size=60), st.booleans())
def test_any_cut_of_the_stream_gives_the_same_events(lengths: list[int], eager: bool) -> None:
    data = HELLO + frame() + frame(VALUES[:2], index=2) + BYE
    whole = receiver()
    whole.receive_data(data)
    expected = [describe(event) for event in events(whole)]
    pieces = receiver()
    received: list[wire.Event] = []
    for length in [*lengths, len(data)]:
        pieces.receive_data(data[:length])
        data = data[length:]
        if eager:
            received += events(pieces)
    received += events(pieces)
    assert [describe(event) for event in received] == expected


@given(
    sender=st.integers(0, 2**32 - 2),
    round=st.integers(0, 2**32 - 1),
    count=st.integers(1, 2**32 - 1),
    seed=st.integers(0, 2**64 - 1),
    sent_s=st.floats(allow_nan=False, allow_infinity=False),
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40),
    reply_wanted=st.booleans(),
)
def test_round_trip(
    sender: int, round: int, count: int, seed: int, sent_s: float, values: list[float], reply_wanted: bool
) -> None:
    array = np.array(values, np.float32)
    data = frame(
        array,
        sender=sender,
        round=round,
        index=count - 1,
        count=count,
        permutation_seed=seed,
        sent_s=sent_s,
        reply_wanted=reply_wanted,
    )
    connection = wire.Receiver(token=TOKEN, num_nodes=sender + 1)
    connection.receive_data(wire.encode_hello(sender, TOKEN) + data)
    _, event = events(connection)
    assert describe(event) == (sender, round, count - 1, count, seed, sent_s, reply_wanted, array.tobytes())


def test_round_frames_are_the_same_bytes_without_copying_the_payload() -> None:
    payloads = [memoryview(VALUES.tobytes()), memoryview(VALUES[:2].tobytes())]
    frames = wire.RoundFrames(sender=SENDER, round=7, permutation_seed=99, payloads=payloads)
    for sent_s in (1.25, 2.5):
        header, payload = frames.frame(1, sent_s)
        assert payload is payloads[1]
        assert header + payload == frame(VALUES[:2], index=1, count=2, sent_s=sent_s)
    assert frames.frame_bytes(0) == 60


GOOD = frame()
REJECTED = {
    "foreign magic": (HELLO + forged(GOOD, 0, b"HTTP"), "foreign magic"),
    "version": (HELLO + forged(GOOD, 4, b"\2"), "version 2, not 1"),
    "kind": (HELLO + forged(GOOD, 5, b"\11"), "unknown kind 9"),
    "dtype": (HELLO + forged(GOOD, 6, b"\2"), "unknown dtype 2"),
    "flags": (HELLO + forged(GOOD, 7, b"\2"), "unknown flags 0x2"),
    "sender": (HELLO + frame(sender=2), "sender 2 on the connection of 3"),
    "index": (HELLO + forged(GOOD, 16, struct.pack("<I", 4)), "fragment 4 of 4"),
    "no fragments": (HELLO + forged(GOOD, 20, struct.pack("<I", 0)), "fragment 0 of 0"),
    "count": (HELLO + frame(count=5), "5 fragments, expected 4"),
    "permutation": (HELLO + frame(permutation_seed=98), "another permutation"),
    "send time": (HELLO + forged(GOOD, 32, struct.pack("<d", math.nan)), "send time nan"),
    "infinite": (HELLO + forged(GOOD, 32, struct.pack("<d", math.inf)), "send time inf"),
    "oversized": (
        HELLO + forged(GOOD, 40, struct.pack("<I", 2**32 - 4)),
        "oversized payload of 4294967292 bytes",
    ),
    "odd length": (
        HELLO + forged(GOOD, 40, struct.pack("<I", 11)),
        "payload of 11 bytes is not a float32 array",
    ),
    "short": (HELLO + frame(VALUES[:2]), "payload of 8 bytes, expected 12"),
    "empty": (HELLO + frame(VALUES[:0]), "payload of 0 bytes, expected 12"),
    "checksum": (HELLO + GOOD[:-1] + b"\0", "bad checksum"),
    "header bit": (HELLO + GOOD[:32] + b"\xff" + GOOD[33:], "bad checksum"),
    "no hello": (GOOD, "no HELLO"),
    "bye first": (BYE, "no HELLO"),
    "second hello": (HELLO + HELLO, "second HELLO"),
    "token": (wire.encode_hello(SENDER, b"x" * 16), "another run's token"),
    "unknown node": (wire.encode_hello(5, TOKEN), "sender 5 of 5 nodes"),
    "hello without token": (forged(HELLO[:48], 40, struct.pack("<I", 0)), "HELLO with 0 bytes of payload"),
    "huge hello": (forged(HELLO, 40, struct.pack("<I", 2**31)), "HELLO with 2147483648 bytes of payload"),
    "no neighbour": (wire.encode_hello(2, TOKEN), "sender 2 is not a neighbour"),
    "hello with an index": (forged(HELLO, 16, struct.pack("<I", 1)), "HELLO with fields of a fragment"),
    "bye with a round": (HELLO + forged(BYE, 12, struct.pack("<I", 1)), "BYE with fields of a fragment"),
    "absurd round": (
        HELLO + frame(round=2**32 - 1),
        "round 4294967295, beyond the last possible round 8",
    ),
    "a round too far": (HELLO + frame(round=9), "round 9, beyond the last possible round 8"),
    "nan": (HELLO + frame(np.array([1, math.nan, 2], np.float32)), "values that are not finite"),
    "infinity": (HELLO + frame(np.array([1, 2, -math.inf], np.float32)), "values that are not finite"),
    "bye with payload": (HELLO + forged(BYE, 40, struct.pack("<I", 4)), "BYE with 4 bytes of payload"),
    "after bye": (HELLO + BYE + GOOD, "frame after BYE"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(name: str) -> None:
    data, reason = REJECTED[name]
    assert rejection(receiver(), data) == reason
    byte_by_byte = receiver()
    for position in range(len(data)):
        byte_by_byte.receive_data(data[position : position + 1])
    assert rejection(byte_by_byte, b"") == reason


def test_a_hello_says_how_often_its_sender_was_restarted() -> None:
    connection = receiver()
    connection.receive_data(wire.encode_hello(SENDER, TOKEN, 2**32 - 1))
    assert events(connection) == [wire.Hello(SENDER, TOKEN, 2**32 - 1)]


def test_the_last_round_and_the_largest_values_pass() -> None:
    connection = receiver()
    largest = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min, 1e-45], np.float32)
    connection.receive_data(HELLO + frame(largest, round=8))
    assert describe(events(connection)[1])[1] == 8


def test_the_other_end_of_our_own_connection_is_known() -> None:
    assert rejection(receiver(expected_sender=4), HELLO) == "sender 3, expected 4"
    connection = receiver(expected_sender=3)
    connection.receive_data(HELLO)
    assert events(connection) == [wire.Hello(SENDER, TOKEN)]


def test_without_the_models_size_the_payload_is_bounded() -> None:
    connection = receiver(num_parameters=None, max_payload_bytes=8)
    assert rejection(connection, HELLO + GOOD) == "oversized payload of 12 bytes"


def test_good_frames_before_a_bad_one_are_delivered() -> None:
    connection = receiver()
    connection.receive_data(HELLO + GOOD + b"garbage")
    assert isinstance(connection.next_event(), wire.Hello)
    assert isinstance(connection.next_event(), wire.Fragment)
    with pytest.raises(wire.RemoteProtocolError, match="foreign magic"):
        connection.next_event()


def test_an_error_is_permanent() -> None:
    connection = receiver()
    assert rejection(connection, HELLO + BYE + BYE) == "frame after BYE"
    assert rejection(connection, HELLO + GOOD) == "frame after BYE"
    with pytest.raises(wire.RemoteProtocolError, match="frame after BYE"):
        connection.receive_eof()
    with pytest.raises(wire.LocalProtocolError, match="must not be read"):
        connection.get_buffer()
    with pytest.raises(wire.LocalProtocolError):
        connection.buffer_updated(1)


def test_a_foreign_protocol_is_noticed_before_a_header_is_full() -> None:
    assert rejection(receiver(), b"GET") == "foreign magic"
    assert rejection(receiver(), b"MNBx") == "foreign magic"
    connection = receiver()
    connection.receive_data(b"MN")
    assert connection.next_event() is wire.NEED_DATA


@pytest.mark.parametrize("position", range(1, len(GOOD)))
def test_eof_inside_a_frame_is_a_torn_frame(position: int) -> None:
    connection = receiver()
    connection.receive_data(HELLO + GOOD[:position])
    with pytest.raises(wire.RemoteProtocolError, match="torn frame"):
        connection.receive_eof()
    assert isinstance(connection.next_event(), wire.Hello)
    with pytest.raises(wire.RemoteProtocolError, match="torn frame"):
        connection.next_event()


@pytest.mark.parametrize("data", [b"", HELLO, HELLO + GOOD])
def test_eof_between_frames_is_fine(data: bytes) -> None:
    connection = receiver()
    connection.receive_data(data)
    connection.receive_eof()
    events(connection)


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=200)
def test_random_bytes_never_get_through(data: bytes, after_hello: bool) -> None:
    connection = receiver()
    connection.receive_data(HELLO if after_hello else b"")
    events(connection)
    connection.receive_data(data)
    if data and not wire.MAGIC.startswith(data[:4]):
        with pytest.raises(wire.RemoteProtocolError, match="foreign magic"):
            connection.next_event()
    else:
        assert connection.next_event() is wire.NEED_DATA


@given(st.data())
@settings(max_examples=200)
def test_no_changed_byte_gets_through(data: st.DataObject) -> None:
    """Up to four neighbouring bytes change: the frame is refused, or torn when the connection ends."""
    changed = bytearray(GOOD)
    position = data.draw(st.integers(0, len(changed) - 1))
    burst = data.draw(st.binary(min_size=1, max_size=4).filter(any))
    for offset, bits in enumerate(burst[: len(changed) - position]):
        changed[position + offset] ^= bits
    if bytes(changed) == GOOD:
        return
    connection = receiver(num_fragments=None, permutation_seed=None)
    connection.receive_data(HELLO + bytes(changed))
    assert isinstance(connection.next_event(), wire.Hello)
    with pytest.raises(wire.RemoteProtocolError):
        end_of(connection)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": 2**32},
        {"round": -1},
        {"round": 2**32},
        {"index": 4},
        {"index": -1},
        {"permutation_seed": 2**64},
        {"sent_s": math.nan},
        {"payload": memoryview(b"123")},
    ],
)
def test_a_value_that_fits_no_field_is_our_own_error(changes: dict[str, object]) -> None:
    with pytest.raises(wire.LocalProtocolError):
        frame(VALUES, **changes)


def test_a_token_has_sixteen_bytes() -> None:
    with pytest.raises(wire.LocalProtocolError, match="16 bytes, not 3"):
        wire.encode_hello(1, b"abc")
    with pytest.raises(wire.LocalProtocolError, match="16 bytes, not 3"):
        receiver(token=b"abc")


@pytest.mark.parametrize("num_bytes", [0, -1, 49])
def test_a_buffer_cannot_be_fuller_than_it_is(num_bytes: int) -> None:
    with pytest.raises(wire.LocalProtocolError):
        receiver().buffer_updated(num_bytes)


def test_fragment_sizes_add_up_and_are_near_equal() -> None:
    for num_parameters, num_fragments in ((89_834, 10), (10, 4), (7, 7), (5, 1)):
        sizes = [wire.fragment_size(num_parameters, num_fragments, index) for index in range(num_fragments)]
        assert sum(sizes) == num_parameters
        assert max(sizes) - min(sizes) <= 1
