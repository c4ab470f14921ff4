from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from icwsgw.errors import SignatureInvalid
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.public_key import CANISTER_OID, COSE_OID, algorithm
from tests.support.signature_vectors import VECTORS


def test_the_ics_own_kinds() -> None:
    assert algorithm(bytes.fromhex(VECTORS["webauthn"]["public_key"]))[0] == COSE_OID
    oid, key = algorithm(bytes.fromhex(VECTORS["internet_identity"]["public_key"]))
    assert oid == CANISTER_OID
    assert key[:11] == b"\x0a" + bytes.fromhex("00000000006000270101")


def test_what_others_write() -> None:
    """Keys as the cryptography library writes them, one with lengths in the long form and parameters."""
    p256 = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = p256.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert algorithm(p256.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))[1] == point
    big = rsa.generate_private_key(65537, 2048).public_key()
    oid, key = algorithm(big.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert oid == bytes.fromhex("2a864886f70d010101")
    assert key == big.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    ed25519 = Ed25519Identity(bytes(32)).public_key_der
    assert algorithm(ed25519) == (bytes.fromhex("2b6570"), ed25519[12:])


def test_anything_else_is_refused_whatever_is_cut_or_changed() -> None:
    der = bytes.fromhex(VECTORS["webauthn"]["public_key"])
    for end in range(len(der)):
        with pytest.raises(SignatureInvalid):
            algorithm(der[:end])
    with pytest.raises(SignatureInvalid):
        algorithm(der + b"\0")
    for at in range(len(der)):
        for value in (0, 0x7F, 0x80, 0x81, 0x84, 0xFF):
            changed = der[:at] + bytes((value,)) + der[at + 1 :]
            try:
                oid, key = algorithm(changed)
            except SignatureInvalid:
                continue
            # Only what stands in the two values may be anything, or it is a key of another kind.
            assert oid != COSE_OID or len(key) == 77
