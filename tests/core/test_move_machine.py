"""Clients that move: the table, tried whole, and the messages."""

from __future__ import annotations

import itertools

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core import move_machine
from icwsgw.core.messages import parse_client_frame
from icwsgw.core.move_machine import (
    CALLS_RELAYED,
    CLIENT_LEAVING,
    TABLE,
    GatewayMessage,
    MoveEvent,
    MoveState,
    can_move,
    is_leaving,
    move_request,
    read_gateway_message,
    understands_moving,
)
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal
from tests.support.sdk_client import SdkClient

CANISTER = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
NOW_NS = 1_800_000_000 * 10**9


def opening() -> bytes:
    sdk = SdkClient(CANISTER)
    sdk.gateway = Principal(b"\x01" * 29)
    return sdk.open_payload(NOW_NS)


def test_the_module_shows_the_table() -> None:
    assert move_machine.__doc__ is not None
    rows = [line.split() for line in move_machine.__doc__.splitlines() if line.startswith("    ")][2:5]
    shown = {(state, event): (after, effect) for state, event, after, effect in rows}
    assert shown == {(s.name, e.name): (after.name, effect.name) for (s, e), (after, (effect,)) in TABLE.items()}


def test_a_client_only_goes_on_and_never_from_what_it_does_not_understand() -> None:
    for state, event in itertools.product(MoveState, MoveEvent):
        if (state, event) in TABLE:
            assert TABLE[state, event][0] == state + 1
            assert state is not MoveState.ABSENT


def test_the_messages_are_cbor_that_another_library_reads() -> None:
    assert cbor2.loads(move_request(8.9)) == {"move": {"seconds": 8}}
    assert cbor2.loads(CALLS_RELAYED) == {"relayed": True}
    assert cbor2.loads(CLIENT_LEAVING) == {"leaving": True}
    assert all(message.startswith(b"\xd9\xd9\xf7") for message in (move_request(1), CALLS_RELAYED, CLIENT_LEAVING))


def with_entry(payload: bytes, name: str, value: object, first: bool = False) -> bytes:
    """The message with one entry more."""
    body = payload.removeprefix(b"\xd9\xd9\xf7")
    assert body[0] == 0xA1
    entry = cbor2.dumps(name) + cbor2.dumps(value)
    return b"\xd9\xd9\xf7\xa2" + (entry + body[1:] if first else body[1:] + entry)


@pytest.mark.parametrize("first", [False, True])
def test_a_client_says_that_it_can_move_beside_its_envelope(first: bool) -> None:
    payload = with_entry(opening(), "moves", True, first)
    assert understands_moving(payload)
    assert parse_client_frame(payload).method_name == "ws_open"


def test_its_envelope_is_relayed_without_it() -> None:
    payload = opening()
    assert parse_client_frame(with_entry(payload, "moves", True)).body == parse_client_frame(payload).body


def test_others_do_not_say_so() -> None:
    assert not understands_moving(opening())
    assert not understands_moving(with_entry(opening(), "moves", False))
    assert not understands_moving(with_entry(opening(), "moved", True))
    inside = with_entry(opening(), "other", {"moves": True})
    assert not understands_moving(inside), "where it stands counts"
    assert not understands_moving(b"\xff" + with_entry(opening(), "moves", True))


def test_the_last_message_is_known_and_no_envelope_is_one() -> None:
    assert is_leaving(CLIENT_LEAVING)
    assert is_leaving(cbor2.dumps({"leaving": True, "because": "asked"}))
    assert not is_leaving(opening())
    assert not is_leaving(cbor2.dumps({"leaving": False}))
    assert not is_leaving(cbor2.dumps({"leaving": True, "much": b"x" * 300}))
    with pytest.raises(FormatError):
        parse_client_frame(CLIENT_LEAVING)


def tagged(message: object) -> bytes:
    return b"\xd9\xd9\xf7" + cbor2.dumps(message)


def padded(message: dict[str, object], size: int) -> bytes:
    """The message with one entry more, of just this size."""
    payload = tagged({**message, "pad": b"x" * 128})
    return tagged({**message, "pad": b"x" * (128 + size - len(payload))})


def test_a_message_of_256_bytes_is_read_and_a_longer_one_is_not() -> None:
    for size, read in ((256, True), (257, False)):
        assert is_leaving(padded({"leaving": True}, size)) is read
        assert read_gateway_message(padded({"relayed": True}, size)) is (GatewayMessage.RELAYED if read else None)


def test_the_first_message_of_a_client_that_can_move() -> None:
    message = opening()
    assert can_move(message) == with_entry(message, "moves", True)


@pytest.mark.parametrize("message", [b"", tagged({}), tagged([1]), tagged({"envelope": 1, "more": 2}), cbor2.dumps({})])
def test_another_message_cannot_become_one(message: bytes) -> None:
    with pytest.raises(ValueError, match="not the first message"):
        can_move(message)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (move_request(9), GatewayMessage.MOVE),
        (tagged({"soon": True, "move": {"seconds": 1, "why": "x"}}), GatewayMessage.MOVE),
        (CALLS_RELAYED, GatewayMessage.RELAYED),
        (tagged({"move": 5}), GatewayMessage.UNKNOWN),
        (tagged({"relayed": False}), GatewayMessage.UNKNOWN),
        (tagged({"relayed": 1}), GatewayMessage.UNKNOWN),
        (tagged({}), GatewayMessage.UNKNOWN),
        (tagged({"key": "a", "relayed": True}), None),
        (tagged(["relayed"]), None),
        (cbor2.dumps({"relayed": True}), None),
        (CALLS_RELAYED[:-1], None),
        (CALLS_RELAYED + b"\x00", None),
        (b"", None),
    ],
)
def test_what_the_gateway_itself_says(message: bytes, word: GatewayMessage | None) -> None:
    assert read_gateway_message(message) is word


@given(st.binary(max_size=64))
def test_nothing_that_comes_breaks_it(payload: bytes) -> None:
    assert not is_leaving(payload) or cbor2.loads(payload)["leaving"] is True
    assert not understands_moving(payload) or cbor2.loads(payload)["moves"] is True
    assert read_gateway_message(payload) in {None, *GatewayMessage}
