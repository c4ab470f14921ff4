"""Reads the algorithm of a public key from its DER (interface spec, section "Signatures").

A SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) gives its algorithm as an object identifier. The IC defines two: for COSE
keys (WebAuthn) and for canister signatures.
"""

from __future__ import annotations

from typing import Final

from icwsgw.errors import SignatureInvalid

#: 1.3.6.1.4.1.56387.1.1: the key is a COSE key.
COSE_OID: Final = bytes.fromhex("2b0601040183b8430101")
#: 1.3.6.1.4.1.56387.1.2: the key is a canister id and a seed.
CANISTER_OID: Final = bytes.fromhex("2b0601040183b8430102")

_SEQUENCE: Final = 0x30
_OBJECT_ID: Final = 0x06
_BIT_STRING: Final = 0x03


def algorithm(der: bytes) -> tuple[bytes, bytes]:
    """Return the object identifier of a key's algorithm (without tag and length) and the bytes of the key.

    :param der: SubjectPublicKeyInfo
    :raises SignatureInvalid: not a SubjectPublicKeyInfo, or followed by further bytes
    """
    outer = _content(der, 0, _SEQUENCE, len(der))
    named = _content(der, outer[0], _SEQUENCE)
    oid = _content(der, named[0], _OBJECT_ID)
    key = _content(der, named[1], _BIT_STRING, outer[1])
    if oid[1] > named[1] or key[0] == key[1] or der[key[0]] != 0:
        raise _wrong()
    return der[oid[0] : oid[1]], der[key[0] + 1 : key[1]]


def _content(der: bytes, at: int, tag: int, end: int | None = None) -> tuple[int, int]:
    """Return the offsets where the content of an element begins and ends.

    :param end: the offset where it must end; None: any
    :raises SignatureInvalid: malformed, or another tag or end
    """
    if len(der) < at + 2 or der[at] != tag:
        raise _wrong()
    size = der[at + 1]
    start = at + 2
    if size > 0x80:
        octets = size & 0x7F
        size = int.from_bytes(der[start : start + octets], "big")
        start += octets
        if octets > 2 or size < 0x80:
            raise _wrong()
    stop = start + size
    if (size == 0x80 and start == at + 2) or stop > len(der) or (end is not None and stop != end):
        raise _wrong()
    return start, stop


def _wrong() -> SignatureInvalid:
    return SignatureInvalid("a public key that is not in DER")
