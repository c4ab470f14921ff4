from __future__ import annotations

import time

import pytest

from bench.client import cbor_blob, cbor_number
from bench.envelopes import LIFE_NS, Envelopes, close_frame, frame
from bench.target import canister_id, parse_target
from icwsgw.core.messages import parse_client_frame
from icwsgw.ic import cbor, ws
from icwsgw.ic.envelope import verify_envelope
from icwsgw.ic.identity import Ed25519Identity

GATEWAY = Ed25519Identity(bytes(32)).principal.raw


def unmask(data: bytes) -> tuple[int, bytes]:
    assert data[1] & 0x80
    size, start = data[1] & 0x7F, 2
    if size > 125:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    mask, body = data[start : start + 4], data[start + 4 :]
    assert len(body) == size
    return data[0] & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 65535, 65536, 70001])
def test_frames_are_masked(size: int) -> None:
    payload = bytes(at % 251 for at in range(size))
    assert unmask(frame(2, payload)) == (2, payload)


def test_a_close_frame_has_its_code() -> None:
    assert unmask(close_frame(4001)) == (8, (4001).to_bytes(2, "big"))


def test_the_calls_of_a_session_pass_a_replica_s_checks() -> None:
    envelopes = Envelopes(Ed25519Identity(b"\1" * 32), canister_id(3))
    frames = [envelopes.open(GATEWAY), envelopes.message(77, 300), envelopes.keep_alive(9)]
    calls = [parse_client_frame(unmask(each)[1]) for each in frames]
    for call in calls:
        request = verify_envelope(call.body, time.time_ns())
        assert request.sender == envelopes.identity.principal
        assert call.canister_id == canister_id(3).raw
    assert ws.decode_open_args(calls[0].arg) == (envelopes.client_nonce, GATEWAY)
    message = ws.decode_message_args(calls[1].arg)
    assert (message.sequence_num, message.client_nonce, message.is_service_message) == (
        1,
        envelopes.client_nonce,
        False,
    )
    assert (len(message.content), message.content[:8]) == (300, (77).to_bytes(8, "big"))
    kept = ws.decode_message_args(calls[2].arg)
    assert (kept.sequence_num, kept.is_service_message) == (2, True)
    assert ws.decode_service_message(kept.content) == ws.KeepAliveMessage(9)


def test_a_message_signed_in_advance_expires_as_if_it_were_signed_when_it_is_sent() -> None:
    envelopes = Envelopes(Ed25519Identity(b"\1" * 32), canister_id(3))
    ahead = 1_000 * 1_000_000_000
    before = time.time_ns()
    call = parse_client_frame(unmask(envelopes.message(77, 300, ahead))[1])
    assert before <= call.ingress_expiry - ahead - LIFE_NS <= time.time_ns()
    request = verify_envelope(call.body, time.time_ns() + ahead)
    assert before <= ws.decode_message_args(request.content["arg"]).timestamp - ahead <= time.time_ns()


def test_an_envelope_s_argument_is_what_the_general_encoder_makes() -> None:
    envelopes = Envelopes(Ed25519Identity(b"\1" * 32), canister_id(3))
    call = parse_client_frame(unmask(envelopes.message(1, 8))[1])
    assert ws.encode_message_args(ws.decode_message_args(call.arg)) == call.arg


@pytest.mark.parametrize("value", [0, 23, 24, 255, 256, 65536, 1 << 40])
def test_numbers_and_sizes_are_read_at_their_place(value: int) -> None:
    assert cbor_number(b"..." + cbor.dumps(value), 3) == value
    if value < 1 << 20:
        data = b"..." + cbor.dumps(bytes(value))
        assert cbor_blob(data, 3) == (len(data) - value, len(data))


def test_urls_of_gateways() -> None:
    target = parse_target("ws://127.0.0.1:8080/path")
    assert target.address == ("127.0.0.1", 8080)
    assert (target.path, target.loopback, target.context) == ("/path", True, None)
    assert parse_target("ws://127.0.0.1:8080/path?x=y").path == "/path?x=y"
    secure = parse_target("wss://gateway.example")
    assert secure.address == ("gateway.example", 443)
    assert secure.context is not None
    with pytest.raises(ValueError, match="not a WebSocket URL"):
        parse_target("http://127.0.0.1")
