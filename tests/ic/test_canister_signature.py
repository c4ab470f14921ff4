from __future__ import annotations

from hashlib import sha256

import pytest

from icwsgw.errors import SignatureInvalid
from icwsgw.ic import bls, cbor, hashtree
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.canister_signature import signer_of, verify_canister_signature
from icwsgw.ic.certificate import DelegationCache, build_certificate
from icwsgw.ic.principal import Principal
from icwsgw.ic.public_key import algorithm
from icwsgw.ic.request_id import IC_REQUEST_AUTH_DELEGATION_SEPARATOR, request_id
from tests.support.signature_vectors import VECTORS

II, LOCAL = VECTORS["internet_identity"], VECTORS["local_canister"]
II_KEY = algorithm(bytes.fromhex(II["public_key"]))[1]
II_SIGNATURE = bytes.fromhex(II["signature"])
II_MESSAGE = IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(
    {"pubkey": bytes.fromhex(II["delegated_key"]), "expiration": int(II["expiration"], 16)}
)
LOCAL_KEY = algorithm(bytes.fromhex(LOCAL["public_key"]))[1]
LOCAL_ROOT = bls.der_wrap(bytes.fromhex(LOCAL["root_key"]))


def test_internet_identity_on_the_mainnet() -> None:
    assert signer_of(II_KEY)[0] == Principal.from_text(II["canister"])
    cache = DelegationCache()
    for _ in range(2):
        verify_canister_signature(II_KEY, II_MESSAGE, II_SIGNATURE, MAINNET_ROOT_KEY_DER, cache)
    assert len(cache) == 1


def test_a_canister_of_a_local_network() -> None:
    message, signature = bytes.fromhex(LOCAL["message"]), bytes.fromhex(LOCAL["signature"])
    verify_canister_signature(LOCAL_KEY, message, signature, LOCAL_ROOT)


def test_another_message_seed_network_or_canister_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="has not signed this"):
        verify_canister_signature(II_KEY, II_MESSAGE + b"\0", II_SIGNATURE, MAINNET_ROOT_KEY_DER)
    with pytest.raises(SignatureInvalid, match="has not signed this"):
        verify_canister_signature(II_KEY[:-1] + b"\0", II_MESSAGE, II_SIGNATURE, MAINNET_ROOT_KEY_DER)
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify_canister_signature(II_KEY, II_MESSAGE, II_SIGNATURE, LOCAL_ROOT)
    other = b"\x0a" + bytes.fromhex("00000000006000280101") + II_KEY[11:]
    with pytest.raises(SignatureInvalid):
        verify_canister_signature(other, II_MESSAGE, II_SIGNATURE, MAINNET_ROOT_KEY_DER)


def test_a_changed_signature_is_refused() -> None:
    for at in range(0, len(II_SIGNATURE), 61):
        changed = II_SIGNATURE[:at] + bytes((II_SIGNATURE[at] ^ 1,)) + II_SIGNATURE[at + 1 :]
        with pytest.raises(SignatureInvalid):
            verify_canister_signature(II_KEY, II_MESSAGE, changed, MAINNET_ROOT_KEY_DER)
    for body in (b"", b"\xff", II_SIGNATURE[3:], cbor.dumps_tagged([]), cbor.dumps_tagged({"certificate": b""})):
        with pytest.raises(SignatureInvalid, match="canister signature"):
            verify_canister_signature(II_KEY, II_MESSAGE, body, MAINNET_ROOT_KEY_DER)


def test_a_tree_that_only_hides_the_place_is_no_signature() -> None:
    secret = bls.secret_key(b"x" * 32)
    canister, seed = Principal(bytes(8) + b"\1\1"), b"seed"
    whole = hashtree.from_mapping({b"sig": {sha256(seed).digest(): {sha256(b"message").digest(): b""}}})
    state = hashtree.from_mapping(
        {b"canister": {canister.raw: {b"certified_data": hashtree.reconstruct(whole)}}, b"time": b"\1"}
    )
    certificate = build_certificate(state, lambda message: bls.sign(secret, message))
    root = bls.der_wrap(bls.public_key(secret))
    key = b"\x0a" + canister.raw + seed

    def signature(tree: hashtree.Tree) -> bytes:
        body = cbor.dumps({"certificate": certificate})
        return cbor.SELF_DESCRIBE + b"\xa2" + body[1:] + b"\x64tree" + hashtree.to_cbor(tree)

    verify_canister_signature(key, b"message", signature(whole), root)
    hidden = hashtree.witness(whole, [])
    with pytest.raises(SignatureInvalid, match="has not signed this"):
        verify_canister_signature(key, b"message", signature(hidden), root)


@pytest.mark.parametrize("key", [b"", b"\x0a", b"\x0a" + bytes(9), b"\x1e" + bytes(30)])
def test_keys_that_are_none(key: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        signer_of(key)
