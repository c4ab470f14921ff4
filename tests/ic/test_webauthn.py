from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from icwsgw.errors import SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.public_key import algorithm
from icwsgw.ic.webauthn import verify_webauthn
from tests.support.signature_vectors import VECTORS

KNOWN = VECTORS["webauthn"]
KEY = algorithm(bytes.fromhex(KNOWN["public_key"]))[1]
SIGNATURE = bytes.fromhex(KNOWN["signature"])
W3C = {name: bytes.fromhex(value) for name, value in VECTORS["w3c"].items() if name != "source"}


def signed(**changes: Any) -> bytes:
    names = ("authenticator_data", "client_data_json", "signature")
    return cbor.dumps_tagged({**{name: W3C[name] for name in names}, **changes})


def test_a_replicas_vector() -> None:
    verify_webauthn(KEY, b"hello", SIGNATURE)


def test_the_specifications_vector() -> None:
    verify_webauthn(W3C["cose_key"], W3C["challenge"], signed())
    # some write the client data as text
    verify_webauthn(W3C["cose_key"], W3C["challenge"], signed(client_data_json=W3C["client_data_json"].decode()))


def test_another_message_key_or_signature_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="something else"):
        verify_webauthn(KEY, b"hullo", SIGNATURE)
    with pytest.raises(SignatureInvalid, match="wrong WebAuthn"):
        verify_webauthn(W3C["cose_key"], b"hello", SIGNATURE)
    for at in range(len(SIGNATURE)):
        with pytest.raises(SignatureInvalid):
            verify_webauthn(KEY, b"hello", SIGNATURE[:at] + bytes((SIGNATURE[at] ^ 1,)) + SIGNATURE[at + 1 :])


def client_data(**fields: Any) -> bytes:
    challenge = urlsafe_b64encode(W3C["challenge"]).rstrip(b"=").decode()
    return json.dumps({"type": "webauthn.get", "challenge": challenge, **fields}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"client_data_json": client_data(type="webauthn.create")},
        {"client_data_json": client_data(challenge=None)},
        {"client_data_json": client_data(challenge="a")},
        {"client_data_json": client_data()},
        {"client_data_json": b"[]"},
        {"client_data_json": b"\xff"},
        {"client_data_json": b"[" * 100_000},
        {"client_data_json": 1},
        {"authenticator_data": None},
        {"signature": b""},
    ],
)
def test_what_the_authenticator_did_not_sign_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verify_webauthn(W3C["cose_key"], W3C["challenge"], signed(**changes))


def test_without_the_tag_it_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="malformed"):
        verify_webauthn(W3C["cose_key"], W3C["challenge"], signed()[3:])


def numbers(public: rsa.RSAPublicKey) -> tuple[bytes, bytes]:
    n, e = public.public_numbers().n, public.public_numbers().e
    return n.to_bytes((n.bit_length() + 7) // 8, "big"), e.to_bytes(3, "big")


def test_rs256() -> None:
    private = rsa.generate_private_key(65537, 2048)
    n, e = numbers(private.public_key())
    data, client = W3C["authenticator_data"], client_data()
    signature = private.sign(data + sha256(client).digest(), padding.PKCS1v15(), SHA256())
    whole = signed(client_data_json=client, signature=signature)
    verify_webauthn(cbor2.dumps({1: 3, 3: -257, -1: n, -2: e}), W3C["challenge"], whole)
    with pytest.raises(SignatureInvalid, match="wrong WebAuthn"):
        verify_webauthn(cbor2.dumps({1: 3, 3: -257, -1: n, -2: e}), W3C["challenge"], whole[:-1] + b"\0")
    with pytest.raises(SignatureInvalid, match="not known"):
        verify_webauthn(cbor2.dumps({1: 3, 3: -37, -1: n, -2: e}), W3C["challenge"], whole)
    with pytest.raises(SignatureInvalid, match="not known"):
        verify_webauthn(cbor2.dumps({1: 3, 3: -257, -1: n[:100], -2: e}), W3C["challenge"], whole)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"\xff",
        cbor2.dumps([]),
        cbor2.dumps({1: 2, 3: -7}),
        cbor2.dumps({1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)}),
        cbor2.dumps({1: 2, 3: -7, -1: 1, -2: "x", -3: 7}),
        cbor2.dumps({1: 2, 3: -8, -1: 6, -2: bytes(32)}),
        W3C["cose_key"] + b"\0",
        bytes(1025),
    ],
)
def test_keys_that_are_none(key: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="COSE key"):
        verify_webauthn(key, W3C["challenge"], signed())
