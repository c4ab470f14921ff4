"""A replica's verification of requests: passkeys, Internet Identity, what a canister says of a sender."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.certificate import build_certificate
from icwsgw.ic.envelope import call_content, verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.public_key import CANISTER_OID
from icwsgw.ic.request_id import (
    IC_REQUEST_AUTH_DELEGATION_SEPARATOR,
    IC_REQUEST_SEPARATOR,
    request_id,
)
from icwsgw.ic.verifier import SENDER_INFO_SEPARATOR, Verifier
from tests.support.signature_vectors import VECTORS

NOW = 1_700_000_000_000_000_000
SECRET = bls.secret_key(b"root".ljust(32))
ROOT = bls.der_wrap(bls.public_key(SECRET))
SIGNER, SEED = Principal(bytes(7) + b"\x07\1\1"), b"a person"
_KEY = b"\0\x0a" + SIGNER.raw + SEED
II_KEY = b"\x30" + bytes((len(_KEY) + 16,)) + b"\x30\x0c\x06\x0a" + CANISTER_OID + b"\x03" + bytes((len(_KEY),)) + _KEY
PERSON = Principal.self_authenticating(II_KEY)
SESSION = Ed25519Identity(b"s" * 32)
CANISTER = Principal(bytes(7) + b"\x09\1\1")
VERIFIER = Verifier(ROOT)


def canister_signature(*messages: bytes) -> bytes:
    """What Internet Identity signs: here of a canister of a network with one subnet."""
    tree = hashtree.from_mapping({b"sig": {sha256(SEED).digest(): {sha256(each).digest(): b"" for each in messages}}})
    state = hashtree.from_mapping(
        {b"canister": {SIGNER.raw: {b"certified_data": hashtree.reconstruct(tree)}}, b"time": b"\1"}
    )
    certificate = build_certificate(state, lambda message: bls.sign(SECRET, message))
    body = cbor.dumps({"certificate": certificate})
    return cbor.SELF_DESCRIBE + b"\xa2" + body[1:] + b"\x64tree" + hashtree.to_cbor(tree)


def envelope(content: dict[str, Any], *, extra: dict[str, Any] | None = None) -> bytes:
    delegation = {"pubkey": SESSION.public_key_der, "expiration": NOW + 10**12}
    link = canister_signature(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(delegation))
    return cbor.dumps_tagged(
        {
            "content": {**content, **(extra or {})},
            "sender_pubkey": II_KEY,
            "sender_sig": SESSION.sign(IC_REQUEST_SEPARATOR + request_id(content)),
            "sender_delegation": [{"delegation": delegation, "signature": link}],
        }
    )


def call(**more: Any) -> dict[str, Any]:
    return {**call_content(PERSON, CANISTER, "ws_open", b"", NOW + 10**11), **more}


def test_a_person_who_signed_in_through_a_canister() -> None:
    verified = verify_envelope(envelope(call()), NOW, verifier=VERIFIER)
    assert verified.sender == PERSON
    with pytest.raises(SignatureInvalid):
        verify_envelope(envelope(call()), NOW, verifier=Verifier(bls.der_wrap(bls.public_key(SECRET + 1))))
    with pytest.raises(SignatureInvalid):
        verify_envelope(envelope(call()), NOW)


def test_each_kind_of_key() -> None:
    known = VECTORS["webauthn"]
    key, signature = bytes.fromhex(known["public_key"]), bytes.fromhex(known["signature"])
    VERIFIER(key, b"hello", signature)
    with pytest.raises(SignatureInvalid):
        VERIFIER(key, b"hullo", signature)
    VERIFIER(II_KEY, b"x", canister_signature(b"x"))
    VERIFIER(SESSION.public_key_der, b"x", SESSION.sign(b"x"))
    with pytest.raises(SignatureInvalid, match="not verified here"):
        VERIFIER(b"\x30\x0d\x30\x05\x06\x03\x2b\x65\x71\x03\x04\0abc", b"x", bytes(64))
    with pytest.raises(SignatureInvalid, match="not in DER"):
        VERIFIER(b"nonsense", b"x", bytes(64))


def test_fields_that_a_replica_does_not_know_are_no_part_of_the_request_id() -> None:
    verified = verify_envelope(envelope(call(), extra={"colour": "red"}), NOW, verifier=VERIFIER)
    assert verified.request_id == request_id(call())
    # a sender that signs them is refused
    with pytest.raises(SignatureInvalid, match="wrong Ed25519"):
        verify_envelope(envelope(call(colour="red")), NOW, verifier=VERIFIER)


def sender_info(**changes: Any) -> dict[str, Any]:
    info = b"alice@example.org"
    made = {"info": info, "signer": SIGNER.raw, "sig": canister_signature(SENDER_INFO_SEPARATOR + info)}
    return {**made, **changes}


def test_sender_info_is_signed_by_the_canister_of_the_senders_key() -> None:
    content = call(sender_info=sender_info())
    verified = verify_envelope(envelope(content), NOW, verifier=VERIFIER)
    assert verified.request_id == request_id(content) != request_id(call())
    for wrong in ({"info": b"mallory"}, {"signer": CANISTER.raw}, {"sig": b""}):
        with pytest.raises(SignatureInvalid):
            verify_envelope(envelope(call(sender_info=sender_info(**wrong))), NOW, verifier=VERIFIER)
    for malformed in ({}, {"info": "text"}, 7):
        with pytest.raises(FormatError, match="sender_info"):
            VERIFIER.verify_sender_info(malformed, II_KEY)
    with pytest.raises(SignatureInvalid, match="anonymous"):
        VERIFIER.verify_sender_info(sender_info(), None)
    with pytest.raises(SignatureInvalid, match="no canister's"):
        VERIFIER.verify_sender_info(sender_info(), SESSION.public_key_der)
