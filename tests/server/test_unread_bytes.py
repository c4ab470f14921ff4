"""A connection handed over in the middle of a message yields the same messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icwsgw.server.unread_bytes import unread_bytes
from tests.server.test_protocol import World, frames_of
from tests.support.ws_wire import masked

#: opcode, final, payload
FRAMES = st.lists(
    st.one_of(
        st.tuples(st.just(9), st.just(True), st.binary(max_size=125)),
        st.tuples(st.sampled_from([1, 2]), st.booleans(), st.sampled_from([0, 1, 40, 125, 126, 70_000])),
    ),
    min_size=1,
    max_size=6,
)


def stream_of(frames: list[tuple[int, bool, Any]]) -> bytes:
    """Whole messages and parts of them, in a valid order, and the end of the last one."""
    inside = False
    out = []
    for opcode, final, payload in frames:
        if opcode == 9:
            out.append(masked(9, payload))
            continue
        out.append(masked(0 if inside else opcode, b"x" * payload, fin=final))
        inside = not final
    if inside:
        out.append(masked(0, b"end"))
    return b"".join(out)


def received(protocol: Any, transport: Any, session: Any) -> tuple[list[Any], list[Any]]:
    return session.received_messages, frames_of(transport)


@settings(deadline=None, max_examples=60)
@given(FRAMES, st.data())
def test_wherever_it_is_cut(frames: list[tuple[int, bool, Any]], data: Any) -> None:
    stream = stream_of(frames)
    cut = data.draw(st.integers(0, len(stream)))
    whole = World(max_message_bytes=1 << 20).open()
    whole[0].maxMessagePayloadSize = 1 << 20
    whole[0].dataReceived(stream)
    first = World().open()
    second = World().open()
    for protocol, _, _ in (first, second):
        protocol.maxMessagePayloadSize = 1 << 20
    for at in range(0, cut, 30_011):
        first[0].dataReceived(stream[at : min(at + 30_011, cut)])
    before = received(*first)
    second[0].dataReceived(unread_bytes(first[0]))
    second[0].dataReceived(stream[cut:])
    after = received(*second)
    assert (before[0] + after[0], before[1] + after[1]) == received(*whole)


@pytest.mark.parametrize("cut", range(12))
def test_a_frame_keeps_its_mask(cut: int) -> None:
    data = b"\x82\x86\x01\x02\x03\x04" + bytes(
        byte ^ mask for byte, mask in zip(b"abcdef", b"\1\2\3\4\1\2", strict=True)
    )
    first, second = World().open(), World().open()
    first[0].dataReceived(data[:cut])
    assert len(unread_bytes(first[0])) == cut
    if cut < 12:
        second[0].dataReceived(unread_bytes(first[0]) + data[cut:])
        assert second[2].received_messages == [(b"abcdef", True)]
