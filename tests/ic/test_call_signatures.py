from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icp_agent.agent import sign_request as sign_with_icp_py_core
from icp_identity import Identity

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.call_signatures import CLOCK_GRACE_NS, Proof, check_call_signatures
from icwsgw.ic.envelope import call_content, sign_request, verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.network_limits import SECOND_NS
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import IC_REQUEST_AUTH_DELEGATION_SEPARATOR, IC_REQUEST_SEPARATOR, request_id
from tests.ic.test_signatures import ALICE, BOB, CAROL, NOW, SIGNERS, Sign, delegate

CANISTER = Principal.from_text("rrkah-fqaaa-aaaaa-aaaaq-cai")
EXPIRY = NOW + 240 * SECOND_NS
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "envelopes" / "envelopes.json").read_text())
CALLS = [vector for vector in VECTORS["envelopes"] if vector["kind"] == "call" and "anonymous" not in vector["name"]]

#: SubjectPublicKeyInfo with the IC's own algorithms: canister signatures (1.3.6.1.4.1.56387.1.2) and COSE (...1.1).
CANISTER_KEY = bytes.fromhex("3018300c060a2b0601040183b8430102030800") + bytes(7)
COSE_KEY = bytes.fromhex("305e300c060a2b0601040183b8430101034e00") + bytes(77)


def envelope(
    key: bytes = ALICE.public_key_der,
    sign: Sign = ALICE.sign,
    chain: list[Any] | None = None,
    sender: bytes | None = None,
    **fields: Any,
) -> dict[str, Any]:
    whose = Principal(sender) if sender is not None else Principal.self_authenticating(key)
    content = {**call_content(whose, CANISTER, "ws_open", b"DIDL\x00\x00", EXPIRY, b"nonce"), **fields}
    made = {"content": content, "sender_pubkey": key, "sender_sig": sign(IC_REQUEST_SEPARATOR + request_id(content))}
    return made if chain is None else {**made, "sender_delegation": chain}


def prove(fields: dict[str, Any], now_ns: int = NOW) -> Proof:
    return check_call_signatures(cbor.dumps_tagged(fields), now_ns).proof


def no_proof(bits: bytes) -> bytes:
    return bytes(64)


@pytest.mark.parametrize("vector", CALLS, ids=lambda vector: vector["name"])
def test_calls_of_javascript_agents_hold_and_damaged_ones_do_not(vector: dict[str, str]) -> None:
    now, body = int(VECTORS["now_ns"]), bytes.fromhex(vector["body"])
    assert check_call_signatures(body, now).proof is Proof.HOLDS
    signature = cbor.loads(body)["sender_sig"]
    with pytest.raises(SignatureInvalid):
        check_call_signatures(body.replace(signature, signature[:-1] + bytes([signature[-1] ^ 1])), now)


@pytest.mark.parametrize("kind", ["ed25519", "secp256k1", "p256"])
def test_calls_of_icp_py_core_hold(kind: str) -> None:
    identity = Identity(privkey="5a" * 32, type=kind)
    content = call_content(Principal(identity.sender().bytes), CANISTER, "ws_open", b"DIDL\x00\x00", EXPIRY, b"nonce")
    _, body = sign_with_icp_py_core(content, identity)
    assert check_call_signatures(bytes(body), NOW).proof is Proof.HOLDS


@pytest.mark.parametrize("kind", SIGNERS)
def test_each_kind_of_key(kind: str) -> None:
    key, sign = SIGNERS[kind]
    assert prove(envelope(key, sign)) is Proof.HOLDS
    with pytest.raises(SignatureInvalid, match="wrong"):
        prove(envelope(key, no_proof))
    link = {"pubkey": BOB.public_key_der, "expiration": NOW + 1}
    chain = [{"delegation": link, "signature": sign(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(link))}]
    assert prove(envelope(key, BOB.sign, chain)) is Proof.HOLDS
    chain[0]["signature"] = bytes(64)
    with pytest.raises(SignatureInvalid, match="wrong"):
        prove(envelope(key, BOB.sign, chain))


@pytest.mark.parametrize("key", [CANISTER_KEY, COSE_KEY, b"", bytes(300)], ids=["canister", "COSE", "empty", "long"])
def test_keys_of_other_kinds_are_for_the_replica_to_judge(key: bytes) -> None:
    assert prove(envelope(key, no_proof)) is Proof.UNKNOWN
    assert prove({**envelope(key, no_proof), "sender_sig": bytes(900)}) is Proof.UNKNOWN


def test_behind_a_key_of_another_kind_the_session_key_is_checked_too() -> None:
    link = {"pubkey": BOB.public_key_der, "expiration": NOW + 1}
    chain = [{"delegation": link, "signature": bytes(900)}]
    assert prove(envelope(CANISTER_KEY, BOB.sign, chain)) is Proof.UNKNOWN
    with pytest.raises(SignatureInvalid, match="wrong Ed25519"):
        prove(envelope(CANISTER_KEY, no_proof, chain))
    # and each further link
    chain.append(delegate(CAROL, ALICE.public_key_der))
    with pytest.raises(SignatureInvalid, match="wrong Ed25519"):
        prove(envelope(CANISTER_KEY, ALICE.sign, chain))


@pytest.mark.parametrize(
    ("chain", "signer", "words"),
    [
        ([delegate(ALICE, BOB.public_key_der, NOW - CLOCK_GRACE_NS - 1)], BOB, "expired"),
        ([delegate(ALICE, BOB.public_key_der, targets=[b"other"])], BOB, "targets"),
        ([delegate(ALICE, BOB.public_key_der), delegate(BOB, ALICE.public_key_der)], ALICE, "cycle"),
        ([delegate(BOB, CAROL.public_key_der)], CAROL, "wrong"),
        ([{"delegation": {}, "signature": b""}], ALICE, "public key"),
        ([{"delegation": {"pubkey": b"k"}, "signature": b""}], ALICE, "expiration"),
        ([{}], ALICE, "fields"),
        ([7], ALICE, "fields"),
        ({}, ALICE, "list"),
    ],
)
def test_what_no_replica_takes_is_refused(chain: Any, signer: Ed25519Identity, words: str) -> None:
    with pytest.raises(SignatureInvalid, match=words):
        prove(envelope(sign=signer.sign, chain=chain))


def test_too_many_links_are_refused() -> None:
    signers = [ALICE, *(Ed25519Identity(bytes([n]) * 32) for n in range(50, 71))]
    chain = [delegate(one, other.public_key_der) for one, other in pairwise(signers)]
    assert prove(envelope(sign=signers[20].sign, chain=chain[:20])) is Proof.HOLDS
    with pytest.raises(SignatureInvalid, match="more than 20"):
        prove(envelope(sign=signers[21].sign, chain=chain))


def test_a_delegation_that_has_just_expired_is_for_the_replica_to_judge() -> None:
    assert prove(envelope(sign=BOB.sign, chain=[delegate(ALICE, BOB.public_key_der, NOW - 1)])) is Proof.HOLDS


def test_a_sender_of_another_key_and_no_signature_are_refused() -> None:
    with pytest.raises(SignatureInvalid, match="principal of sender_pubkey"):
        prove(envelope(sender=BOB.principal.raw))
    for name in ("sender_sig", "sender_pubkey"):
        fields = envelope()
        del fields[name]
        with pytest.raises(SignatureInvalid, match="not signed"):
            prove(fields)


def test_fields_that_are_not_known_are_for_the_replica_to_judge() -> None:
    assert prove(envelope(sign=no_proof, something_new=1)) is Proof.UNKNOWN
    chain = [delegate(ALICE, BOB.public_key_der, something_new=1)]
    assert prove(envelope(sign=no_proof, chain=chain)) is Proof.UNKNOWN
    body = cbor.dumps_tagged(envelope(sign=no_proof, sender_info=15))
    assert (
        check_call_signatures(body.replace(b"\x6bsender_info\x0f", b"\x6bsender_info\xf5"), NOW).proof is Proof.UNKNOWN
    ), "no hash"


@settings(max_examples=300)
@given(st.data())
def test_it_never_refuses_what_the_devnets_replica_takes(data: st.DataObject) -> None:
    body = bytearray(sign_request(ALICE, envelope()["content"]).body)
    for _ in range(data.draw(st.integers(0, 2))):
        body[data.draw(st.integers(3, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        verified = verify_envelope(bytes(body), NOW)
    except (FormatError, SignatureInvalid):
        return
    if verified.content["request_type"] == "call" and not verified.sender.is_anonymous:
        assert check_call_signatures(bytes(body), NOW).proof in (Proof.HOLDS, Proof.UNKNOWN)
