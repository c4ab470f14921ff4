"""Targets of certified data: hash trees, certificates, delegations, keys, signatures of passkeys and canisters.

``signed_tree`` certifies the tree of the fuzzer, so that it also reaches the code after the check of a signature.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from ecdsa import der as ecdsa_der
from icp_certificate.certificate import Certificate as OtherCertificate

from icwsgw.errors import CertificateInvalid, FormatError, SignatureInvalid
from icwsgw.ic import cbor, delegations, hashtree
from icwsgw.ic.canister_signature import signer_of, verify_canister_signature
from icwsgw.ic.certificate import verify_certificate, verify_delegation
from icwsgw.ic.certificate_format import Delegation, build_certificate, decode_certificate
from icwsgw.ic.certified import certified_data, node_keys, request_status
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.public_key import CANISTER_OID, COSE_OID, algorithm
from icwsgw.ic.signatures import verify_signature
from icwsgw.ic.webauthn import verify_webauthn
from tests.fuzz.target import Target
from tests.support import certificates
from tests.support.signature_vectors import VECTORS

ALICE = Ed25519Identity(b"\x01" * 32)
NOW_NS = certificates.NOW


def _tree(data: bytes) -> None:
    """Compares digests with those of icp-py-core."""
    try:
        tree = hashtree.decode(data)
    except FormatError:
        return
    digest = hashtree.reconstruct(tree)
    assert digest == OtherCertificate({"tree": _lists(tree), "signature": b""}).root_hash()
    assert hashtree.decode(hashtree.encode(tree)) == tree
    for path in ([b"websocket", b"a"], [b"time"], []):
        witness = hashtree.witness(tree, [path])
        assert hashtree.reconstruct(witness) == digest
        with contextlib.suppress(FormatError):
            # if labels are out of order, a witness may omit those that show it
            for depth in range(len(path) + 1):
                hashtree.list_labels(tree, path[:depth])
            assert hashtree.lookup(witness, path) == hashtree.lookup(tree, path)


def _lists(tree: Any) -> Any:
    return [_lists(part) for part in tree] if isinstance(tree, tuple) else tree


def _certificate(data: bytes) -> None:
    with contextlib.suppress(FormatError, CertificateInvalid):
        certificate = decode_certificate(data)
        for look in (
            lambda: certified_data(certificate, certificates.CANISTER),
            lambda: request_status(certificate, b"\x01" * 32),
            lambda: node_keys(certificate, certificates.SUBNET),
            lambda: certificate.time_ns,
        ):
            with contextlib.suppress(FormatError, CertificateInvalid):
                look()
    with contextlib.suppress(FormatError, CertificateInvalid):
        verify_certificate(
            data, root_key_der=certificates.ROOT_KEY_DER, canister_id=certificates.CANISTER, now_ns=NOW_NS
        )
    _delegation(data)


def _delegation(data: bytes) -> None:
    """A certificate's delegation, found without decoding the rest, and another in its place."""
    other = certificates.delegate()
    try:
        found = delegations.delegation_of(data)
        changed = delegations.with_delegation(data, other) if found is not None else data
    except FormatError:
        return
    assert data.endswith(delegations.tail_of(data))
    if found is None:
        return
    assert delegations.delegation_of(changed) == other
    with contextlib.suppress(FormatError):
        delegations.read_delegation(found)
    with contextlib.suppress(FormatError):
        delegations.merged(found, other)


def _signed_tree(data: bytes) -> None:
    """Certifies the fuzzer's tree: as the root subnet's state, and as a delegation of the root to a subnet."""
    try:
        tree = hashtree.decode(data, max_nodes=200)
    except FormatError:
        return
    _certificate(build_certificate(tree, certificates.sign_as_root))
    delegation = Delegation(certificates.SUBNET.raw, build_certificate(tree, certificates.sign_as_root))
    with contextlib.suppress(FormatError, CertificateInvalid):
        verify_delegation(delegation, root_key_der=certificates.ROOT_KEY_DER, now_ns=NOW_NS)
    _certificate(build_certificate(certificates.state(), certificates.sign_as_subnet, delegation))


def _keys(data: bytes) -> None:
    """Compares the parser of DER with those of cryptography and ecdsa."""
    with contextlib.suppress(SignatureInvalid, FormatError):
        verify_signature(data, b"message", b"\x01" * 64)
    with contextlib.suppress(SignatureInvalid, FormatError):
        verify_signature(ALICE.public_key_der, b"message", data)
    with contextlib.suppress(FormatError):
        Ed25519Identity.from_pkcs8_der(data)
    try:
        ours = algorithm(data)
    except SignatureInvalid:
        ours = None
    assert ours == _by_ecdsa(data)
    try:
        key = load_der_public_key(data)
    except Exception:
        # invalid keys raise various exceptions: ValueError, UnsupportedAlgorithm, OverflowError
        return
    assert ours is not None
    again = algorithm(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert again[0] == ours[0]


def _by_ecdsa(data: bytes) -> tuple[bytes, bytes] | None:
    """Return algorithm and key as the ecdsa package reads them."""
    try:
        outer, rest = ecdsa_der.remove_sequence(data)
        named, behind = ecdsa_der.remove_sequence(outer)
        bits, more = ecdsa_der.remove_bitstring(behind, 0)
        if rest or more or named[:1] != b"\x06":
            return None
        size, used = ecdsa_der.read_length(named[1:])
        oid = named[1 + used : 1 + used + size]
    except (ecdsa_der.UnexpectedDER, IndexError, ValueError):
        return None
    # ecdsa accepts truncated data
    whole = len(oid) == size and ecdsa_der.encode_bitstring(bits, 0) == behind
    return (oid, bits) if whole and bits else None


def _webauthn(data: bytes) -> None:
    """The fuzzer's bytes as signature, as key, and as client data inside of a signature."""
    own = VECTORS["webauthn"]
    key = algorithm(bytes.fromhex(own["public_key"]))[1]
    message = bytes.fromhex(own["message"])
    inside = cbor.dumps_tagged({"authenticator_data": b"", "client_data_json": data, "signature": b"x" * 70})
    for cose, signature in ((key, data), (data, bytes.fromhex(own["signature"])), (key, inside)):
        with contextlib.suppress(SignatureInvalid):
            verify_webauthn(cose, message, signature)


def _canister_signature(data: bytes) -> None:
    own = VECTORS["local_canister"]
    oid, key = algorithm(bytes.fromhex(own["public_key"]))
    assert oid == CANISTER_OID
    with contextlib.suppress(SignatureInvalid):
        verify_canister_signature(key, bytes.fromhex(own["message"]), data, bytes.fromhex(own["root_key"]))
    with contextlib.suppress(SignatureInvalid):
        canister, seed = signer_of(data)
        assert data == bytes((len(canister.raw),)) + canister.raw + seed


def tree_sample() -> bytes:
    return hashtree.encode(
        hashtree.from_mapping({b"websocket": {b"a": b"1", b"b": b"2", b"c": b"3"}, b"time": b"\x01"})
    )


def certificate_samples() -> list[bytes]:
    tree = certificates.state(
        canister={certificates.CANISTER.raw: {b"certified_data": bytes(32)}},
        request_status={b"\x01" * 32: {b"status": b"replied", b"reply": b"DIDL\x00\x00"}},
    )
    return [
        build_certificate(tree, certificates.sign_as_root),
        build_certificate(tree, certificates.sign_as_subnet, certificates.delegate()),
        build_certificate(tree, certificates.sign_as_subnet, certificates.delegate(sharded=False)),
    ]


def _tree_samples() -> list[bytes]:
    """Return trees of certificates: of canisters, of requests, and of a subnet's delegation."""
    word = decode_certificate(certificates.delegate().certificate).tree
    flat = decode_certificate(certificates.delegate(sharded=False).certificate).tree
    requests = {b"\x01" * 32: {b"status": b"rejected", b"reject_code": b"\x04", b"reject_message": b"no"}}
    state = certificates.state(
        canister={certificates.CANISTER.raw: {b"certified_data": bytes(32)}}, request_status=requests
    )
    return [hashtree.encode(tree) for tree in (word, flat, state)]


def _key_samples() -> list[bytes]:
    others = [bytes.fromhex(VECTORS[name]["public_key"]) for name in ("webauthn", "internet_identity")]
    p256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + bytes(64)
    return [ALICE.public_key_der, ALICE.to_pkcs8_der(), bytes(64), certificates.ROOT_KEY_DER, p256, *others]


def _webauthn_samples() -> list[bytes]:
    key = algorithm(bytes.fromhex(VECTORS["webauthn"]["public_key"]))[1]
    client_data = json.dumps({"type": "webauthn.get", "challenge": "eHg", "origin": "https://x"}).encode()
    return [bytes.fromhex(VECTORS["webauthn"]["signature"]), key, client_data]


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    return {
        "tree": Target(_tree, [tree_sample()]),
        "certificate": Target(_certificate, certificate_samples(), (b"delegation", b"tree", b"signature")),
        "signed_tree": Target(_signed_tree, _tree_samples(), (b"certified_data", b"canister_ranges", b"public_key")),
        "keys": Target(_keys, _key_samples(), (COSE_OID, CANISTER_OID)),
        "webauthn": Target(_webauthn, _webauthn_samples(), (b"challenge", b"webauthn.get", b"authenticator_data")),
        "canister_signature": Target(
            _canister_signature,
            [bytes.fromhex(VECTORS["local_canister"]["signature"]), b"\x01\x05seed"],
            (b"certificate", b"tree", b"sig"),
        ),
    }
