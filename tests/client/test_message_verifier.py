"""Verification, against messages of a canister with the Rust CDK on a real replica (tests/vectors/messages)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.client.client_errors import MessageInvalid
from icwsgw.client.message_verifier import (
    CertifiedMessage,
    MessageVerifier,
    parse_certified,
    parse_content,
)
from icwsgw.ic import cbor
from icwsgw.ic.certificate import decode_certificate
from icwsgw.ic.principal import Principal
from tests.memory.world import ECHO_ID, World

REAL = json.loads((Path(__file__).parents[1] / "vectors" / "messages" / "messages.json").read_text())
CANISTER = Principal.from_text(REAL["canister"])
ROOT_KEY = bytes.fromhex(REAL["root_keys"][0])


def real(name: str) -> CertifiedMessage:
    entry = next(entry for entry in REAL["messages"] if entry["name"] == name)
    return CertifiedMessage(entry["key"], *(bytes.fromhex(entry[part]) for part in ("content", "cert", "tree")))


def time_of(message: CertifiedMessage) -> int:
    return decode_certificate(message.cert).time_ns


@pytest.mark.parametrize("name", ["VALID_OPEN_MESSAGE", "VALID_ACK_MESSAGE", "VALID_CLOSE_MESSAGE"])
def test_messages_of_a_real_canister(name: str) -> None:
    message = real(name)
    MessageVerifier(CANISTER, ROOT_KEY).verify(message, time_of(message))
    content = parse_content(message.content)
    assert content.is_service_message
    assert message.key.startswith(tuple("abcdefghijklmnopqrstuvwxyz"))


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("another content", {"content": b"x"}, "another content"),
    ("another key", {"key": "wrong-key"}, "not certified"),
    ("another message's tree", {"tree": real("VALID_OPEN_MESSAGE").tree}, "not the one it certified"),
    ("a tree that is none", {"tree": b"\x00"}, "not certified"),
    ("a certificate that is none", {"cert": b"\x00"}, "certificate is invalid"),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_what_does_not_verify(change: dict[str, Any], words: str) -> None:
    message = real("VALID_ACK_MESSAGE")
    with pytest.raises(MessageInvalid, match=words):
        MessageVerifier(CANISTER, ROOT_KEY).verify(message._replace(**change), time_of(message))


def test_the_root_key_the_canister_and_the_time_matter() -> None:
    message = real("VALID_ACK_MESSAGE")
    now = time_of(message)
    other = bytes.fromhex(REAL["root_keys"][1])
    with pytest.raises(MessageInvalid) as wrong:
        MessageVerifier(CANISTER, other).verify(message, now)
    assert "root key" in wrong.value.hint
    with pytest.raises(MessageInvalid):
        MessageVerifier(Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai"), ROOT_KEY).verify(message, now)
    for late in (301, -301):
        with pytest.raises(MessageInvalid, match="certificate is invalid") as old:
            MessageVerifier(CANISTER, ROOT_KEY).verify(message, now + late * 10**9)
        assert "clock" in old.value.hint


def test_a_certificate_is_verified_once_but_grows_old() -> None:
    message = real("VALID_ACK_MESSAGE")
    verifier, now = MessageVerifier(CANISTER, ROOT_KEY), time_of(message)
    for _ in range(3):
        verifier.verify(message, now)
    assert verifier.signatures == 1
    with pytest.raises(MessageInvalid, match="another content"):
        verifier.verify(message._replace(content=b""), now)
    with pytest.raises(MessageInvalid, match=r"301 s old"):
        verifier.verify(message, now + 301 * 10**9)


@pytest.mark.parametrize("delegation", ["legacy", "sharded"])
def test_both_forms_of_a_delegation(delegation: str) -> None:
    world = World(delegation=delegation)
    seen: list[bytes] = []
    client = world.client()
    handle = client.handle

    def seeing(payload: bytes, now_ns: int) -> list[bytes]:
        seen.append(payload)
        return handle(payload, now_ns)

    client.handle = seeing
    world.until(lambda: client.opened)
    message = parse_certified(seen[1])
    assert decode_certificate(message.cert).delegation is not None
    MessageVerifier(ECHO_ID, world.replica.root_key_der).verify(message, world.now_ns())


def test_what_is_no_message() -> None:
    whole = {"key": "k", "content": b"", "cert": b"", "tree": b""}
    assert parse_certified(cbor.dumps(whole)) == ("k", b"", b"", b"")
    for change in ({"key": b"k"}, {"content": "c"}, {"cert": None}, {"tree": 1}):
        with pytest.raises(MessageInvalid, match="lacks"):
            parse_certified(cbor.dumps({**whole, **change}))
    for payload in (b"", b"\xff", cbor.dumps([1]), cbor.dumps(1)):
        with pytest.raises(MessageInvalid):
            parse_certified(payload)


def test_what_is_no_content() -> None:
    key = {"client_principal": b"\x01", "client_nonce": 5}
    whole = {
        "client_key": key,
        "sequence_num": 1,
        "timestamp": 2,
        "is_service_message": False,
        "content": b"c",
    }
    assert parse_content(cbor.dumps(whole)) == (b"\x01", 5, 1, 2, False, b"c")
    changes: list[dict[str, Any]] = [
        {"client_key": None},
        {"client_key": {"client_principal": "a", "client_nonce": 5}},
        {"client_key": {"client_principal": b"\x01"}},
        {"sequence_num": True},
        {"timestamp": "2"},
        {"is_service_message": 1},
        {"content": "c"},
    ]
    for change in changes:
        with pytest.raises(MessageInvalid, match="not a WebsocketMessage"):
            parse_content(cbor.dumps({**whole, **change}))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for parse in (parse_certified, parse_content):
        try:
            parse(data)
        except MessageInvalid:
            continue
