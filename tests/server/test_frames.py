"""The fast path for reading frames agrees with RFC 6455, or leaves the frame to Autobahn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.server.frames import LONGEST, read_binary_frame
from tests.support.ws_wire import masked


@given(st.binary(max_size=70_000), st.binary(max_size=20), st.binary(max_size=20))
def test_whole_binary_frames_are_read_wherever_they_stand(payload: bytes, before: bytes, after: bytes) -> None:
    data = before + masked(2, payload) + after
    read = read_binary_frame(data, len(before))
    if len(payload) > LONGEST:
        assert read is None
    else:
        assert read == (payload, len(data) - len(after))


def test_sizes_where_the_coding_of_the_length_changes() -> None:
    for size in (0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 255, 256, LONGEST):
        payload = bytes(range(256)) * 65
        frame = masked(2, payload[:size])
        assert read_binary_frame(frame, 0) == (payload[:size], len(frame))
        for cut in range(0, len(frame), max(1, len(frame) // 50)):
            assert read_binary_frame(frame[:cut], 0) is None


def test_everything_else_is_left_to_autobahn() -> None:
    frame = masked(2, b"payload")
    others = [
        masked(1, b"text"),
        masked(0, b"continued"),
        masked(8, b""),
        masked(9, b"ping"),
        masked(2, b"fragment", fin=False),
        b"\xc2" + frame[1:],  # a reserved bit: compressed
        b"\x82\x03abcdef",  # not masked
        b"\x82\xfe\x00\x05" + frame[2:],  # a length of two bytes where one would do
        b"\x82\xff" + bytes(8) + frame[2:],
        masked(2, bytes(LONGEST + 1)),
    ]
    for data in others:
        assert read_binary_frame(data, 0) is None
