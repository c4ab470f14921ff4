from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from icp_identity import Identity

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.cbor import UNDEFINED
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.request_id import IC_REQUEST_AUTH_DELEGATION_SEPARATOR, request_id
from icwsgw.ic.signatures import MAX_DELEGATIONS, MAX_TARGETS, verify_delegations, verify_signature
from tests.support.strategies import damaged, identities

Sign = Callable[[bytes], bytes]
NOW = 1_700_000_000_000_000_000
ALICE, BOB, CAROL = (Ed25519Identity(bytes([n]) * 32) for n in (1, 2, 3))


def _ecdsa(curve: ec.EllipticCurve, secret: int) -> tuple[bytes, Sign]:
    key = ec.derive_private_key(secret, curve)

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), sign


SIGNERS: dict[str, tuple[bytes, Sign]] = {
    "Ed25519": (ALICE.public_key_der, ALICE.sign),
    "P-256": _ecdsa(ec.SECP256R1(), 12345),
    "secp256k1": _ecdsa(ec.SECP256K1(), 12345),
}


@pytest.mark.parametrize("kind", SIGNERS)
@given(message=st.binary(max_size=100), bit=st.integers(0, 511), data=st.data())
def test_signatures(kind: str, message: bytes, bit: int, data: st.DataObject) -> None:
    key, sign = SIGNERS[kind]
    signature = sign(message)
    verify_signature(key, message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    other = data.draw(st.binary(max_size=100).filter(lambda text: text != message))
    for wrong_message, wrong_signature in ((message, bytes(flipped)), (other, signature), (message, bytes(64))):
        with pytest.raises(SignatureInvalid):
            verify_signature(key, wrong_message, wrong_signature)


@pytest.mark.parametrize("kind", ["ed25519", "secp256k1", "p256"])
def test_signatures_of_icp_py_core(kind: str) -> None:
    key, signature = Identity(privkey="5a" * 32, type=kind).sign(b"message")
    assert key is not None
    assert signature is not None
    verify_signature(key, b"message", bytes(signature))
    with pytest.raises(SignatureInvalid):
        verify_signature(key, b"another", bytes(signature))


@pytest.mark.parametrize("size", [0, 1, 63, 65, 96, 10_000])
@pytest.mark.parametrize("kind", SIGNERS)
def test_signatures_have_64_bytes(kind: str, size: int) -> None:
    with pytest.raises(SignatureInvalid):
        verify_signature(SIGNERS[kind][0], b"message", bytes(size))


@pytest.mark.parametrize("kind", SIGNERS)
@given(data=st.data())
def test_damaged_keys(kind: str, data: st.DataObject) -> None:
    key, sign = SIGNERS[kind]
    hurt = data.draw(damaged(key))
    if hurt != key:
        with pytest.raises(SignatureInvalid):
            verify_signature(hurt, b"message", sign(b"message"))


def _spki(key: Any) -> bytes:
    der: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(44), id="zeros"),
        pytest.param(ALICE.public_key_der[:43], id="too short"),
        pytest.param(ALICE.public_key_der + b"\x00", id="too long"),
        pytest.param(_spki(ec.derive_private_key(5, ec.SECP384R1())), id="P-384"),
        pytest.param(_spki(x25519.X25519PrivateKey.from_private_bytes(bytes(32))), id="X25519"),
        pytest.param(_spki(rsa.generate_private_key(65537, 1024)), id="RSA, 1024 bits"),
        pytest.param(_spki(rsa.generate_private_key(65537, 2048)), id="RSA, 2048 bits"),
        pytest.param(b"\x30" * 100_000, id="nested"),
        # OID 1.3.6.1.4.1.56387.1.2
        pytest.param(
            bytes.fromhex("303c300c060a2b0601040183b8430102032c000a000000000000000701") + bytes(33),
            id="canister signature",
        ),
    ],
)
def test_other_keys(key: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="not verified here"):
        verify_signature(key, b"message", bytes(64))


@pytest.mark.parametrize("kind", ["P-256", "secp256k1"])
def test_compressed_points_are_keys_too(kind: str) -> None:
    curve: ec.EllipticCurve = ec.SECP256R1() if kind == "P-256" else ec.SECP256K1()
    point = ec.derive_private_key(12345, curve).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    oid = "06082a8648ce3d030107" if kind == "P-256" else "06052b8104000a"
    algorithm = bytes.fromhex("06072a8648ce3d0201" + oid)
    body = b"\x30" + bytes([len(algorithm)]) + algorithm + b"\x03" + bytes([len(point) + 1]) + b"\x00" + point
    verify_signature(b"\x30" + bytes([len(body)]) + body, b"message", SIGNERS[kind][1](b"message"))


@pytest.mark.parametrize("form", [6, 7])
@pytest.mark.parametrize("scalar", [12345, 12346, 12347, 12348])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP256K1()], ids=lambda curve: str(curve.name))
def test_points_in_hybrid_form_are_no_keys(curve: ec.EllipticCurve, scalar: int, form: int) -> None:
    private = ec.derive_private_key(scalar, curve)
    key = _spki(private)
    r, s = decode_dss_signature(private.sign(b"message", ec.ECDSA(SHA256())))
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    verify_signature(key, b"message", signature)
    with pytest.raises(SignatureInvalid):
        verify_signature(key[:-65] + bytes([form]) + key[-64:], b"message", signature)


def delegate(signer: Ed25519Identity, to: bytes, expiration: int = NOW + 1, **fields: Any) -> dict[str, Any]:
    """Make one signed link of a chain."""
    delegation = {"pubkey": to, "expiration": expiration, **fields}
    return {
        "delegation": delegation,
        "signature": signer.sign(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(delegation)),
    }


def test_no_delegation() -> None:
    assert verify_delegations(ALICE.public_key_der, [], NOW) == (ALICE.public_key_der, None, False)


def test_a_chain_leads_to_its_last_key() -> None:
    chain = [delegate(ALICE, BOB.public_key_der), delegate(BOB, CAROL.public_key_der)]
    assert verify_delegations(ALICE.public_key_der, chain, NOW) == (CAROL.public_key_der, None, False)


def test_a_chain_of_ecdsa_keys() -> None:
    p256, sign = SIGNERS["P-256"]
    delegation = {"pubkey": ALICE.public_key_der, "expiration": NOW}
    signature = sign(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + request_id(delegation))
    signed = {"delegation": delegation, "signature": signature}
    assert verify_delegations(p256, [signed], NOW).public_key == ALICE.public_key_der


def test_targets_are_what_all_links_allow() -> None:
    chain = [
        delegate(ALICE, BOB.public_key_der, targets=[b"\x01", b"\x02"]),
        delegate(BOB, CAROL.public_key_der, targets=[b"\x02", b"\x03"]),
    ]
    assert verify_delegations(ALICE.public_key_der, chain[:1], NOW).targets == frozenset({b"\x01", b"\x02"})
    assert verify_delegations(ALICE.public_key_der, chain, NOW).targets == frozenset({b"\x02"})
    none = [delegate(ALICE, BOB.public_key_der, targets=[])]
    assert verify_delegations(ALICE.public_key_der, none, NOW).targets == frozenset()


@pytest.mark.parametrize(
    ("permissions", "queries_only"),
    [(("all", "all"), False), ((None, UNDEFINED), False), (("queries", "all"), True), (("all", "queries"), True)],
)
def test_permissions_only_shrink(permissions: tuple[Any, Any], queries_only: bool) -> None:
    chain = [
        delegate(ALICE, BOB.public_key_der, permissions=permissions[0]),
        delegate(BOB, CAROL.public_key_der, permissions=permissions[1], targets=UNDEFINED),
    ]
    assert verify_delegations(ALICE.public_key_der, chain, NOW).queries_only is queries_only


def test_a_link_may_not_have_expired() -> None:
    verify_delegations(ALICE.public_key_der, [delegate(ALICE, BOB.public_key_der, NOW)], NOW)
    with pytest.raises(SignatureInvalid, match="expired"):
        verify_delegations(ALICE.public_key_der, [delegate(ALICE, BOB.public_key_der, NOW - 1)], NOW)


def test_links_that_do_not_fit() -> None:
    wrong_signer = [delegate(BOB, CAROL.public_key_der)]
    swapped = [delegate(BOB, CAROL.public_key_der), delegate(ALICE, BOB.public_key_der)]
    changed = delegate(ALICE, BOB.public_key_der)
    changed["delegation"]["expiration"] += 1
    for chain in (wrong_signer, swapped, [changed]):
        with pytest.raises(SignatureInvalid, match="signature"):
            verify_delegations(ALICE.public_key_der, chain, NOW)


def test_cycles() -> None:
    for chain in (
        [delegate(ALICE, ALICE.public_key_der)],
        [delegate(ALICE, BOB.public_key_der), delegate(BOB, ALICE.public_key_der)],
        [delegate(ALICE, BOB.public_key_der), delegate(BOB, BOB.public_key_der)],
    ):
        with pytest.raises(SignatureInvalid, match="cycle"):
            verify_delegations(ALICE.public_key_der, chain, NOW)


def test_length_is_bounded() -> None:
    keys = [Ed25519Identity(bytes([0x40 + n]) * 32) for n in range(MAX_DELEGATIONS + 2)]
    chain = [delegate(keys[n], keys[n + 1].public_key_der) for n in range(MAX_DELEGATIONS + 1)]
    longest = verify_delegations(keys[0].public_key_der, chain[:-1], NOW)
    assert longest.public_key == keys[MAX_DELEGATIONS].public_key_der
    with pytest.raises(SignatureInvalid, match="more than 20"):
        verify_delegations(keys[0].public_key_der, chain, NOW)


def test_targets_are_bounded() -> None:
    targets = [number.to_bytes(2, "big") for number in range(MAX_TARGETS + 1)]
    verify_delegations(ALICE.public_key_der, [delegate(ALICE, BOB.public_key_der, targets=targets[:MAX_TARGETS])], NOW)
    with pytest.raises(SignatureInvalid, match="targets"):
        verify_delegations(ALICE.public_key_der, [delegate(ALICE, BOB.public_key_der, targets=targets)], NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"pubkey": "text"},
        {"pubkey": None},
        {"expiration": -1},
        {"expiration": 2**64},
        {"expiration": "2100"},
        {"expiration": None},
        {"permissions": "some"},
        {"permissions": 1},
        {"targets": b"\x01"},
        {"targets": ["text"]},
        {"targets": [bytes(30)]},
        {"targets": {}},
    ],
)
def test_fields_of_other_types(change: dict[str, Any]) -> None:
    link = delegate(ALICE, BOB.public_key_der)
    link["delegation"].update(change)
    with pytest.raises(FormatError):
        verify_delegations(ALICE.public_key_der, [link], NOW)


@pytest.mark.parametrize(
    "link", [None, 1, [], {}, {"delegation": {}}, {"signature": b""}, {"delegation": [], "signature": b""}]
)
def test_links_of_other_types(link: Any) -> None:
    with pytest.raises(FormatError):
        verify_delegations(ALICE.public_key_der, [link], NOW)


@given(st.data(), identities())
def test_damaged_chains(data: st.DataObject, first: Ed25519Identity) -> None:
    chain = [delegate(first, BOB.public_key_der, targets=[b"\x01"]), delegate(BOB, CAROL.public_key_der)]
    encoded = cbor.dumps(chain)
    hurt = data.draw(damaged(encoded))
    try:
        links = cbor.loads(hurt)
        result = verify_delegations(first.public_key_der, links if isinstance(links, list) else [links], NOW)
    except (FormatError, SignatureInvalid):
        return
    # What still verifies is the chain itself or a beginning of it.
    assert result.public_key in (first.public_key_der, BOB.public_key_der, CAROL.public_key_der)
    assert links == chain[: len(links)]
